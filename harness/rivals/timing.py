"""In a fresh process: the times of one subject in one round.

Every subject has the same operations on the same vectors, in an order of the round's own. Nothing
is compared inside a timed part; what was read is compared bit for bit after it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import batch_mean_s, call_times_s, timer_floor_s, without_gc
from harness.measures.disk import drop_pages, timed_gets
from harness.rivals.catalogue import open_store
from harness.rivals.inputs import CHUNKS, key_of
from harness.subject import Subject, Vectors

__all__ = ["sample"]

_HOT_KEYS = 64  # 393 kB of 1536 values: every cache that is meant for it has room
_HOT_BATCHES = 7
_HOT_BATCH_S = 0.02
_HOT_BATCH = (20, 20_000)
_WARM_S, _WARM_BLOCK = 0.5, 100
_MANY_READ, _MANY_PUT = 500, 110
_CHECKED = 100


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by name, in `facts`."""
    found = _Timed(job).all()
    return {"values": [], "facts": {"metrics": found, "timer_floor_s": timer_floor_s()}}


class _Timed:
    """The timed operations, each asked for by its measure."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._asked = set(job["measures"])
        self._rng = np.random.default_rng(job["seed"])
        self._rows: Vectors = np.load(job["rows"], mmap_mode="r")
        self._keys = [key_of(number) for number in range(job["count"])]
        self._store = Path(job["store"])
        self._found: dict[str, float] = {}

    def all(self) -> dict[str, float]:
        if "cold" in self._asked:
            drop_pages(self._store)
        subject = open_store(self._job["subject"], self._store)
        try:
            if "cold" in self._asked:
                self._cold(subject)
            if self._asked & {"hot", "warm", "batch"}:
                self._read(subject)
            self._check(subject)
        finally:
            subject.close()
        if self._asked & {"put", "batch"}:
            self._write()
        return self._found

    def _cold(self, subject: Subject) -> None:
        """One a document: a neighbour's read would have brought it in."""
        documents = self._rng.permutation(len(self._keys) // CHUNKS)[: self._job["cold_gets"]]
        chosen = documents * CHUNKS + self._rng.integers(0, CHUNKS, len(documents))
        with without_gc():
            times = call_times_s(subject.get, [self._keys[place] for place in chosen.tolist()])
        self._found["get_cold_s"] = float(np.median(times))

    def _read(self, subject: Subject) -> None:
        for path in self._store.rglob("*"):  # the pages are in the cache now
            if path.is_file():
                path.read_bytes()
        if "warm" in self._asked:
            times = self._warm(subject)
            self._found["get_warm_s"] = float(np.median(times))
            self._found["get_warm_s_p99"] = float(np.quantile(times, 0.99))
        if "hot" in self._asked:
            self._found["get_hot_s"] = self._hot(subject)
        if "batch" in self._asked:
            times = []
            for _ in range(3):
                order = self._rng.permutation(len(self._keys))[:_MANY_READ]
                chosen = [self._keys[place] for place in order.tolist()]
                begin = time.perf_counter()
                subject.get_many(chosen)
                times.append((time.perf_counter() - begin) / len(chosen))
            self._found["get_many_s"] = min(times)

    def _warm(self, subject: Subject) -> list[float]:
        """Single gets in random order, fewer of a slow subject."""
        order = self._rng.permutation(len(self._keys)).tolist()
        keys = [self._keys[place] for place in order[: self._job["warm_gets"]]]
        times: list[float] = []
        begin = time.perf_counter()
        while keys and time.perf_counter() - begin < _WARM_S:
            some, _ = timed_gets(subject, keys[:_WARM_BLOCK])
            times += some
            keys = keys[_WARM_BLOCK:]
        return times

    def _hot(self, subject: Subject) -> float:
        chosen = self._keys[:_HOT_KEYS]
        for key in chosen * 3:
            subject.get(key)
        once = float(np.median(call_times_s(subject.get, chosen)))
        low, high = _HOT_BATCH
        count = int(min(high, max(low, _HOT_BATCH_S / once)))
        means = []
        for _ in range(_HOT_BATCHES):
            # strings made afresh: their hashes are not known yet, as in a program that makes keys
            order = self._rng.integers(0, _HOT_KEYS, count).tolist()
            keys = [chosen[place].encode().decode() for place in order]
            with without_gc():
                means.append(batch_mean_s(subject.get, keys))
        return float(np.median(means))

    def _check(self, subject: Subject) -> None:
        order = self._rng.permutation(len(self._keys))[:_CHECKED].tolist()
        one_by_one = np.stack([subject.get(self._keys[place]) for place in order])
        together = subject.get_many([self._keys[place] for place in order])
        wanted = np.asarray(self._rows[order]).view(np.uint32)
        for seen in (one_by_one, together):
            if not np.array_equal(seen.view(np.uint32), wanted):
                raise AssertionError("a vector came back with other bits: its times do not count")

    def _write(self) -> None:
        """Into a store of its own, begun with a document so that files and tables are there."""
        scratch = Path(self._job["scratch"])
        shutil.rmtree(scratch, ignore_errors=True)
        subject = open_store(self._job["subject"], scratch)
        puts = self._job["puts"]
        rows = np.asarray(self._rows[: CHUNKS + puts + _MANY_PUT])
        keys = [key_of(number) for number in range(len(rows))]
        try:
            subject.put_many(keys[:CHUNKS], rows[:CHUNKS])
            if "put" in self._asked:
                times = []
                for place in range(CHUNKS, CHUNKS + puts):
                    begin = time.perf_counter()
                    subject.put_many(keys[place : place + 1], rows[place : place + 1])
                    times.append(time.perf_counter() - begin)
                self._found["put_s"] = float(np.median(times))
            if "batch" in self._asked:
                many = keys[CHUNKS + puts :], rows[CHUNKS + puts :]
                begin = time.perf_counter()
                subject.put_many(*many)
                self._found["put_many_s"] = (time.perf_counter() - begin) / len(many[0])
            stored = subject.get_many(keys[:CHUNKS])
            if not np.array_equal(stored.view(np.uint32), rows[:CHUNKS].view(np.uint32)):
                raise AssertionError("a vector that was put came back with other bits")
        finally:
            subject.close()
            shutil.rmtree(scratch, ignore_errors=True)
