"""latency.hot: `store.get` of resident rows, keys made afresh, in random order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import batch_mean_s, call_times_s, timer_floor_s, without_gc
from harness.measurement import Measurement, Rival
from harness.measures.base import Context
from harness.population import Population, load_population
from harness.subject import Subject
from harness.subjects import open_baseline
from harness.subjects.reference import ReferenceSubject

__all__ = ["measure", "sample"]

_WORKING_SET_SHARE = 0.8  # of the hot tier: its rows are certainly resident
_ROW_OVERHEAD_BYTES = 1_000  # not less than what the tier adds to a row when it counts
_SINGLE_CALLS = 20_000
_BLOCK = 20


def measure(context: Context) -> list[Measurement]:
    """One measurement; a plain dictionary under an LRU beside it.

    A hot get hands out the resident row, so the dimension plays no part and one corpus is enough.
    """
    name = "files-1024"
    return [_of(context, name, context.populations[name])]


def _of(context: Context, name: str, population: Population) -> Measurement:
    job = {
        "population": str(population.folder),
        "store": str(context.stores[name]),
        "settings": dict(context.settings),
        "batches": context.sizes.hot_batches,
        "gets": context.sizes.hot_batch_gets,
    }

    def take() -> dict[str, Any]:
        jobs = [
            {**job, "seed": context.seed + place, "subject": "titanstore"}
            for place in range(context.sizes.processes)
        ]
        processes = context.workers("hot", jobs)
        fewer = {**job, "batches": max(20, context.sizes.hot_batches // 10)}
        current = context.workers("hot", [{**fewer, "seed": context.seed, "subject": "current"}])
        tails = [process.facts["single_call"] for process in processes]
        return {
            "processes": processes,
            "beside": [Rival(subject="current", processes=current)],
            "context": {
                "timer_floor_s": processes[0].facts["timer_floor_s"],
                "single_call": {
                    name: float(np.median([tail[name] for tail in tails])) for name in tails[0]
                },
                "working_set_vectors": processes[0].facts["working_set"],
                "metrics": "on",
            },
        }

    return context.measured(
        f"latency.hot-{name}",
        unit="s",
        evidence=population.evidence,
        population={**population.facts(), "gets per batch": context.sizes.hot_batch_gets},
        take=take,
    )


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are seconds per get, one for each batch."""
    population = load_population(Path(job["population"]))
    rng = np.random.default_rng(job["seed"])
    count = min(len(population.keys), _resident_rows(job["settings"], population.dimension))
    digests = [bytes.fromhex(key) for key in population.keys[:count]]
    subject = _open(job, population, count)
    values = []
    before = subject.counters()["hot_hits"] if isinstance(subject, ReferenceSubject) else 0
    with without_gc():
        for _ in range(job["batches"]):
            order = rng.integers(0, count, job["gets"]).tolist()
            keys = [digests[place].hex() for place in order]  # strings made afresh: no kept hash
            values.append(batch_mean_s(subject.get, keys))
        order = rng.integers(0, count, _SINGLE_CALLS).tolist()
        singles = np.array(call_times_s(subject.get, [digests[place].hex() for place in order]))
    gets = before + job["batches"] * job["gets"] + _SINGLE_CALLS
    _check(subject, population, count, hot_hits=gets)
    subject.close()
    cuts = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
    return {
        "values": values,
        "block": _BLOCK,
        "facts": {
            "timer_floor_s": timer_floor_s(),
            "single_call": {name: float(np.quantile(singles, cut)) for name, cut in cuts.items()},
            "working_set": count,
        },
    }


def _resident_rows(settings: Mapping[str, Any], dimension: int) -> int:
    tier_bytes = min(settings["hot_bytes_max"], settings["memory_bytes_max"])
    return int(_WORKING_SET_SHARE * tier_bytes) // (4 * dimension + _ROW_OVERHEAD_BYTES)


def _open(job: Mapping[str, Any], population: Population, count: int) -> Subject:
    keys = population.keys[:count]
    if job["subject"] != "titanstore":
        subject = open_baseline(job["subject"], Path(job["store"]))
        subject.put_many(keys, np.asarray(population.vectors()[:count]))
        return subject
    store = ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
    for _ in range(2):
        for key in keys:
            store.get(key)
        store.wait_for_prefetch()
    return store


def _check(subject: Subject, population: Population, count: int, *, hot_hits: int) -> None:
    """Outside the timed part: right values, and every get was served by the hot tier."""
    if isinstance(subject, ReferenceSubject):
        missed = hot_hits - subject.counters()["hot_hits"]
        if missed:
            raise AssertionError(f"{missed} gets were not hot: not a measure of the tier")
    vectors = population.vectors()
    for place in range(count):
        seen = subject.get(population.keys[place])
        if not np.array_equal(seen.view(np.uint32), vectors[place].view(np.uint32)):
            raise AssertionError(f"row {place} differs: timings of wrong answers do not count")
