"""What the store takes, and in the same process what the bare machine takes for the same.

Each part gives two figures in the same unit: the store's, and that of the work that nobody can
leave out. Their quotient is how far the store is from possible; 1 would be perfect.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.clock import batch_mean_s, call_times_s, without_gc
from harness.population import Population, load_population
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject

__all__ = ["PARTS", "sample"]

Pair = tuple[float, float]

_NO_TIERS = {"hot_bytes_max": 0, "warm_bytes_max": 0, "prefetch": False, "search_index": "flat"}
_HOT_ROWS = 100  # they fit into the hot tier of the default settings
_COPY_BYTES_MIN = 2**27  # more than any cache: a copy that stays in one is not memory's


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: for each part the store's figure and the machine's, in seconds."""
    population = load_population(Path(job["population"]))
    found: dict[str, Pair] = {}
    with without_gc():
        for name, part in PARTS.items():
            found[name] = part(job, population)
    return {"values": [], "facts": {name: list(pair) for name, pair in found.items()}}


def decode(job: Mapping[str, Any], population: Population) -> Pair:
    """`get_many` of many vectors with tiers off, and copying as many bytes as it returns."""
    count = min(job["decoded"], len(population.keys))
    keys = list(population.keys[:count])
    subject = _open(job, read_only=True, **_NO_TIERS)
    rows = subject.get_many(keys)
    _same(rows, np.asarray(population.vectors()[:count]))
    ours = median(_elapsed(lambda: subject.get_many(keys)) for _ in range(job["turns"]))
    subject.close()
    return ours, _copy_s(rows.nbytes, job["turns"])


def _copy_s(size: int, turns: int) -> float:
    """Seconds in which memory copies so many bytes, from and to places that no cache holds."""
    places = max(2, _COPY_BYTES_MIN // size)
    source = np.ones((places, size // 8), np.uint64)
    target = np.zeros_like(source)
    times = []
    for turn in range(turns):
        at = turn % places
        times.append(_elapsed(partial(np.copyto, target[at], source[at])))
    return median(times)


def hot(job: Mapping[str, Any], population: Population) -> Pair:
    """A get of a hot row, and `dict.__getitem__`: fresh key strings, whose hash is not known."""
    chosen = population.keys[:_HOT_ROWS]
    subject = _open(job, read_only=True, prefetch=False)
    rows = {key: subject.get(key) for key in chosen}
    for _ in range(3):
        for key in chosen:
            subject.get(key)
    times: tuple[list[float], list[float]] = ([], [])
    before = subject.counters()["hot_hits"]
    for _ in range(job["hot_turns"]):  # short ones: a long one would hardly go uninterrupted
        for call, found in zip((subject.get, rows.__getitem__), times, strict=True):
            keys = [key.encode().decode() for key in chosen]
            found.append(batch_mean_s(call, keys))
    if subject.counters()["hot_hits"] - before != len(chosen) * job["hot_turns"]:
        raise AssertionError("not every timed get was hot")
    subject.close()
    return median(times[0]), median(times[1])


def search(job: Mapping[str, Any], population: Population) -> Pair:
    """The exact 10 nearest, and reading every byte of the planes once."""
    subject = _open(job, read_only=True, **{**_NO_TIERS, "result_cache_entries": 0})
    every = population.vectors()
    queries = [np.asarray(every[place]) for place in range(job["turns"] + 1)]
    (nearest, _), *_ = subject.search(queries[0])
    if not np.array_equal(subject.get(nearest), queries[0]):
        raise AssertionError("the nearest of a stored vector is another one")
    ours = median(call_times_s(subject.search, queries[1:]))
    subject.close()
    # numpy reads these words as fast as memory gives them; the largest of 64 bits took it 1.3 times
    # as long (15.5 MB, 16.7 and 13.0 GB/s), which flattered the store
    planes = [
        np.memmap(path, np.uint32, "r", shape=(path.stat().st_size // 4,))
        for path in Path(job["store"]).rglob("*.plane")
    ]
    if not planes:
        raise AssertionError("the store has no planes")
    times = [_elapsed(lambda: [plane.max() for plane in planes]) for _ in range(job["turns"] + 1)]
    return ours, median(times[1:])


def append(job: Mapping[str, Any], population: Population) -> Pair:
    """A durable put of one vector, and appending as many bytes to a file with fdatasync."""
    subject = _open(job)
    row = np.array(population.vectors()[0])
    size = subject.vector_bytes()
    subject.put_many([f"before {job['seed']}"], row[None, :])
    size = subject.vector_bytes() - size
    beside = Path(job["store"]).with_name(f"beside-{job['seed']}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    times: tuple[list[float], list[float]] = ([], [])
    try:
        for turn in range(job["appends"]):
            changed = np.roll(row, turn + 1)[None, :]
            key = [f"{job['seed']} {turn}"]
            times[0].append(_elapsed(partial(subject.put_many, key, changed)))
            data = os.urandom(size)
            times[1].append(_elapsed(partial(_append, descriptor, data)))
    finally:
        os.close(descriptor)
        beside.unlink()
    _same(subject.get(key[0])[None, :], changed)
    subject.close()
    return median(times[0]), median(times[1])


def _append(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)
    os.fdatasync(descriptor)


def _open(
    job: Mapping[str, Any], *, read_only: bool = False, **changed: object
) -> ReferenceSubject:
    settings = {**job["settings"], **changed}
    return ReferenceSubject(Path(job["store"]), settings, read_only=read_only, create=False)


def _elapsed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _same(seen: Vectors, wanted: Vectors) -> None:
    if not np.array_equal(seen.view(np.uint32), wanted.view(np.uint32)):
        raise AssertionError("a vector differs: figures of wrong answers do not count")


PARTS: Mapping[str, Callable[[Mapping[str, Any], Population], Pair]] = {
    one.__name__: one for one in (decode, hot, search, append)
}
