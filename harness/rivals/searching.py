"""In a fresh process: the time of searches of one subject at one size, and how much they find."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import call_times_s, without_gc
from harness.oracle import Oracle
from harness.rivals.catalogue import OURS, SEARCHERS, open_searcher
from harness.rivals.inputs import key_of
from harness.subject import SearchSubject
from harness.subjects.reference import ReferenceSubject
from harness.workload.queries import make_queries

__all__ = ["sample"]

_K = 10
_WARM_UP = 10
_CHECKED = 20
_SECONDS = 0.5


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Median of single queries and recall@10 against exact search, in `facts`."""
    count = job["count"]
    rows = np.asarray(np.load(job["rows"], mmap_mode="r")[:count])
    keys = [key_of(number) for number in range(count)]
    queries = list(
        make_queries(rows, job["queries"] + _WARM_UP, np.random.default_rng(job["seed"]))
    )
    subject: SearchSubject
    if job["subject"] in SEARCHERS:
        subject = open_searcher(job["subject"], Path(job["scratch"]), keys, rows)
    else:  # the result cache off: a query that comes again is no search
        settings = {"result_cache_entries": 0}
        subject = ReferenceSubject(Path(job["store"]), settings, read_only=True)
    try:
        warm = call_times_s(subject.search, queries[:_WARM_UP])
        fitting = int(max(20, min(job["queries"], _SECONDS / float(np.median(warm)))))
        with without_gc():
            times = call_times_s(subject.search, queries[_WARM_UP : _WARM_UP + fitting])
        facts: dict[str, Any] = {"metrics": {f"search_{count}_s": float(np.median(times))}}
        facts["p99_s"] = float(np.quantile(times, 0.99))
        if job["is_checked"]:
            truth = Oracle(keys, rows).search_many(np.stack(queries[:_CHECKED]), _K)
            hits = 0
            for query, wanted in zip(queries[:_CHECKED], truth, strict=True):
                found = {key for key, _ in subject.search(query, _K)}
                hits += len(found & {one.key for one in wanted})
            facts["recall"] = hits / (_K * _CHECKED)
            if job["subject"] == OURS and hits < _K * _CHECKED:
                raise AssertionError(f"{_K * _CHECKED - hits} of the nearest were not found")
    finally:
        subject.close()
    return {"values": [], "facts": facts}
