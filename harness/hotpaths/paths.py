"""The paths a profile follows, each a loop on a store in a process of its own.

`python -m harness.hotpaths.paths JOB.json` is what the sampler starts; a plain run goes through
harness.worker. Only what lies beneath `follow` is the path: opening and imports are not.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.population import Population, load_population
from harness.subjects.reference import ReferenceSubject
from harness.worker import end_with

__all__ = ["BATCH", "PATHS", "SETTINGS", "follow", "sample"]

PATHS = {
    "get": "a read that the hot tier serves",
    "decode": "a read from the mapped segment, both tiers off",
    "put": "22 new vectors, durable",
    "search": "the 10 nearest, another query each time",
    "update": "one file changed, 1 to 3 of its chunks, durable; maintenance every 64th",
}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "decode": {"memory_bytes_max": 0, "hot_bytes_max": 0, "warm_bytes_max": 0, "prefetch": False}
}
BATCH = {"get": 20_000, "decode": 200, "put": 1, "search": 10, "update": 1}
"""Calls between two looks at the clock: long enough that the look costs nothing."""

_MAINTAIN_EVERY = 64
_HOT_DOCUMENTS = 4
_PUT = 22


def follow(calls: Callable[[int], None], batch: int, seconds: float) -> tuple[int, float]:
    """Call until so many seconds are over; returns calls made and seconds taken."""
    begin = time.perf_counter()
    made = 0
    while (taken := time.perf_counter() - begin) < seconds:
        calls(batch)
        made += batch
    return made, taken


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Follow one path; the value is seconds a call."""
    population = load_population(Path(job["population"]))
    subject = ReferenceSubject(Path(job["store"]), job["settings"], create=False)
    try:
        calls = _PREPARED[job["path"]](subject, population, np.random.default_rng(job["seed"]))
        calls(BATCH[job["path"]])  # what is loaded or made on first use
        made, taken = follow(calls, BATCH[job["path"]], job["seconds"])
    finally:
        subject.close()
    return {"values": [taken / made], "facts": {"calls": made, "seconds": taken}}


def _get(
    subject: ReferenceSubject, population: Population, rng: np.random.Generator
) -> Callable[[int], None]:
    count = _HOT_DOCUMENTS * population.chunks_per_document
    chosen = [population.keys[place] for place in rng.integers(count, size=BATCH["get"])]
    get = subject.get
    for key in population.keys[:count]:
        get(key)
    subject.wait_for_prefetch()

    def calls(_: int) -> None:
        for key in chosen:
            get(key)

    return calls


def _decode(
    subject: ReferenceSubject, population: Population, rng: np.random.Generator
) -> Callable[[int], None]:
    get = subject.get

    def calls(count: int) -> None:
        for place in rng.integers(len(population.keys), size=count):
            get(population.keys[place])

    return calls


def _put(
    subject: ReferenceSubject, population: Population, rng: np.random.Generator
) -> Callable[[int], None]:
    vectors = np.asarray(population.vectors())
    turn = 0

    def calls(count: int) -> None:
        nonlocal turn
        for _ in range(count):
            turn += 1
            keys = [_key(turn, at) for at in range(_PUT)]
            subject.put_many(keys, vectors[rng.integers(len(vectors), size=_PUT)])

    return calls


def _search(
    subject: ReferenceSubject, population: Population, rng: np.random.Generator
) -> Callable[[int], None]:
    vectors = np.asarray(population.vectors())

    def calls(count: int) -> None:
        for _ in range(count):
            first, second = rng.integers(len(vectors), size=2)
            noise = rng.standard_normal(vectors.shape[1], dtype=np.float32)
            subject.search(vectors[first] + vectors[second] + np.float32(1e-3) * noise)

    return calls


def _update(
    subject: ReferenceSubject, population: Population, rng: np.random.Generator
) -> Callable[[int], None]:
    vectors = np.asarray(population.vectors())
    chunks = population.chunks_per_document
    contents = [
        [(population.keys[row], vectors[row]) for row in range(first, first + chunks)]
        for first in range(0, len(population.documents) * chunks, chunks)
    ]
    turn = 0

    def calls(count: int) -> None:
        nonlocal turn
        for _ in range(count):
            turn += 1
            document = int(rng.integers(len(contents)))
            content = contents[document]
            changed = int(rng.integers(1, 4))
            first = int(rng.integers(chunks - changed + 1))
            for at in range(first, first + changed):
                content[at] = (_key(turn, at), vectors[int(rng.integers(len(vectors)))])
            subject.update_document(population.documents[document], content)
            if turn % _MAINTAIN_EVERY == 0:
                subject.maintain()

    return calls


_PREPARED = {"get": _get, "decode": _decode, "put": _put, "search": _search, "update": _update}


def _key(turn: int, place: int) -> str:
    return hashlib.blake2b(f"{turn} {place}".encode(), digest_size=16).hexdigest()


def _main() -> None:
    end_with(os.getppid())  # the sampler, which leads the process group that the harness ends
    sample(json.loads(Path(sys.argv[1]).read_text()))


if __name__ == "__main__":
    _main()
