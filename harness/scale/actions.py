"""What is done with a store of N vectors, each action in a process of its own.

A store that grew is the same store for every action but the last: reads, then a few updates, then
the integrity walk, then most of it is deleted and compacted.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import call_times_s, without_gc
from harness.probes.looks import Looks
from harness.probes.memory import counted_bytes
from harness.probes.resources import bytes_by_room
from harness.scale.content import EDITED, EDITED_CHUNKS, Content, documents_of, key_of
from harness.scale.peak import AnonymousPeak
from harness.subjects.reference import LOADED_ON_USE, ReferenceSubject

__all__ = ["ACTIONS", "DELETED_OF_5", "sample"]

DELETED_OF_5 = 3  # of five documents three go, so that each segment is mostly dead
_COMPARED = 200  # vectors
_PUTS_KEPT = 50
_NO_TIERS = {"hot_bytes_max": 0, "warm_bytes_max": 0, "prefetch": False}
_UNSYNCED = {"durability": "power_cut_may_lose_store"}

Found = dict[str, list[float]]


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the actions of a job; what each found is in the facts under its name."""
    for name in LOADED_ON_USE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    found: dict[str, Any] = {}
    for action in job["actions"]:
        found |= ACTIONS[action](job)
    return {"values": [], "facts": found}


def _open(
    job: Mapping[str, Any], changed: Mapping[str, object] | None = None, *, read_only: bool = False
) -> ReferenceSubject:
    settings = {**job["settings"], **(changed or {})}
    return ReferenceSubject(Path(job["store"]), settings, read_only=read_only, create=False)


def _some(job: Mapping[str, Any], count: int) -> list[int]:
    """Numbers of vectors that no update touches."""
    first = EDITED * EDITED_CHUNKS
    drawn = np.random.default_rng(job["seed"]).integers(first, job["vectors"], count)
    return [int(one) for one in drawn]


def make(job: Mapping[str, Any]) -> Found:
    """Store the documents `first` up to `last`, one write each, without waiting for the disk.

    Times are those of the last documents of the store.
    """
    content = Content(job["dimension"], job["content_seed"])
    subject = ReferenceSubject(Path(job["store"]), {**job["settings"], **_UNSYNCED})
    times = []
    documents = documents_of(job["vectors"])
    for name, first, last in documents[job["first"] : job["last"]]:
        keys, rows = [key_of(number) for number in range(first, last)], content.rows(first, last)
        begin = time.perf_counter()
        subject.put_document(name, keys, rows)
        times.append((time.perf_counter() - begin) / len(keys))
    subject.close()
    return {"put_s": times[-_PUTS_KEPT:]} if job["last"] >= len(documents) else {}


def read(job: Mapping[str, Any]) -> dict[str, Any]:
    """Open for reading, and get random keys from the mapped files: no tier, no prefetch."""
    numbers = _some(job, job["gets"])
    keys = [key_of(number) for number in numbers]
    with without_gc():
        begin = time.perf_counter()
        subject = _open(job, _NO_TIERS, read_only=True)
        opened = time.perf_counter() - begin
        for key in keys[:_COMPARED]:  # what is imported and mapped on first use
            subject.get(key)
        before = resource.getrusage(resource.RUSAGE_SELF)
        times = call_times_s(subject.get, keys[_COMPARED:])
        after = resource.getrusage(resource.RUSAGE_SELF)
    _compare(job, subject, numbers)
    space = subject.space()
    subject.close()
    timed = len(times)
    return {
        "open_s": [opened],
        "get_s": [round(one, 9) for one in times],
        "get_major_faults": [(after.ru_majflt - before.ru_majflt) / timed],
        "get_minor_faults": [(after.ru_minflt - before.ru_minflt) / timed],
        "space": space,
        "rooms": bytes_by_room(Path(job["store"])),
    }


def use(job: Mapping[str, Any]) -> Found:
    """What a process adds to its anonymous memory by reads, searches and updates; their times."""
    content = Content(job["dimension"], job["seed"])
    numbers = _some(job, job["gets"] // 4)
    queries = content.rows(0, job["searches"] + 1)
    updates = [_update(job, content, turn) for turn in range(job["updates"])]
    looks = Looks("before", "after")
    gc.collect()
    looks.take("before")
    subject = _open(job)
    for number in numbers:
        subject.get(key_of(number))
    searches = call_times_s(subject.search, list(queries))[1:]
    changed = call_times_s(lambda one: subject.update_document(*one), updates)
    subject.wait_for_prefetch()
    gc.collect()
    looks.take("after")
    _compare(job, subject, numbers)
    for key, row in updates[-1][1]:
        _same(subject.get(key), row, key)
    subject.close()
    before, after = (looks.read(name, store=job["store"]) for name in ("before", "after"))
    added = counted_bytes(after.by_type) - counted_bytes(before.by_type)
    return {"memory_b": [added], "search_s": searches, "update_s": changed}


def _update(job: Mapping[str, Any], content: Content, turn: int) -> tuple[str, list[Any]]:
    """A document and its new chunks, all of them other than before."""
    chunks = [
        (f"{job['seed']:x}-{turn:x}-{place:x}", content.row(turn + place))
        for place in range(EDITED_CHUNKS)
    ]
    return f"edited {turn % EDITED}", chunks


def begin(job: Mapping[str, Any]) -> Found:
    """The first open for writing after a boot, whose marks are made anew from the catalog."""
    for path in Path(job["store"]).rglob("*.marks"):
        path.unlink()
    with AnonymousPeak() as peak:
        start = _clocks()
        subject = _open(job)
        took = _since(start, "first_open")
    subject.close()
    return {**took, "first_open_b": [peak.added]}


def check(job: Mapping[str, Any]) -> Found:
    """The integrity walk over everything."""
    with AnonymousPeak() as peak:
        subject = _open(job, read_only=True)
        start = _clocks()
        problems = subject.problems()
        took = _since(start, "check")
    if problems:
        raise AssertionError(f"{len(problems)} problems, the first: {problems[0]}")
    subject.close()
    return {**took, "check_b": [peak.added]}


def delete(job: Mapping[str, Any]) -> Found:
    """Three of five documents go; of those that stay, none is touched."""
    subject = _open(job, _UNSYNCED)
    for place, (name, _, _) in enumerate(documents_of(job["vectors"])):
        if _is_deleted(place):
            subject.update_document(name, [])
    subject.close()
    return {}


def _is_deleted(place: int) -> bool:
    return place % 5 < DELETED_OF_5


def compact(job: Mapping[str, Any]) -> Found:
    """Maintenance that rewrites every segment; what is left is compared."""
    with AnonymousPeak() as peak:
        subject = _open(job)
        start = _clocks()
        subject.maintain()
        took = _since(start, "compact")
    dead = subject.space()["dead"]
    kept = [one for place, one in enumerate(documents_of(job["vectors"])) if not _is_deleted(place)]
    numbers = [first for name, first, _ in kept if not name.startswith("edited")][-_COMPARED:]
    _compare(job, subject, numbers)
    left = len(subject)
    subject.close()
    return {**took, "compact_b": [peak.added], "left": [left], "dead_b": [dead]}


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(start: tuple[float, float], name: str) -> Found:
    """Seconds by the clock and of the processor: the second are right on a busy machine too."""
    (clock, processor), (began, before) = _clocks(), start
    return {f"{name}_s": [clock - began], f"{name}_cpu_s": [processor - before]}


def _compare(job: Mapping[str, Any], subject: ReferenceSubject, numbers: list[int]) -> None:
    content = Content(job["dimension"], job["content_seed"])
    for number in numbers[:_COMPARED]:
        _same(subject.get(key_of(number)), content.row(number), str(number))


def _same(seen: Any, wanted: Any, name: str) -> None:
    if not np.array_equal(seen.view(np.uint32), wanted.view(np.uint32)):
        raise AssertionError(f"vector {name} differs: figures of wrong answers do not count")


ACTIONS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    one.__name__: one for one in (make, read, use, begin, check, delete, compact)
}
