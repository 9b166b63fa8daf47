"""One session in a process of its own: plain, as a control, under tracemalloc, or under memray.

A plain process has no instrument on; only its figures are ever called the store's memory. What the
traced ones say is where bytes come from, never how many there are.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import struct
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.measures.replay import Replay
from harness.population import load_population
from harness.probes.allocations import bytes_by_module, growth_of, held_by_site
from harness.probes.looks import Looks
from harness.probes.memory import counted_bytes, reset_peak_resident
from harness.probes.resources import bytes_by_room, resources
from harness.subjects.reference import LOADED_ON_USE, ReferenceSubject

__all__ = ["ENDED", "PACKAGES", "PROGRESS", "sample"]

PACKAGES = ("titanstore", "lmdb", "numpy", "zstandard", "numkong")
PROGRESS = struct.Struct("<q")
ENDED = -1
_FRAMES = 8
_GROWTH_FROM = 0.5  # of a traced session: the tiers are full by then
_LEAK_PIECE = 1_024


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """The value is what the process added between just before the store and the session's end."""
    for name in LOADED_ON_USE:
        with contextlib.suppress(ImportError):  # other releases of a package have other modules
            importlib.import_module(name)
    population = load_population(Path(job["population"]))
    replay = Replay(Path(job["trace"]), population)
    looks = Looks("before", "after")
    mode = job["mode"]
    with _Told(Path(job["progress"]), int(job.get("leak_bytes", 0))) as told:
        if mode == "memray":
            return _under_memray(job, replay, told)
        traced = _Traced(len(replay)) if mode == "traced" else None
        gc.collect()
        reset_peak_resident()
        looks.take("before")
        if traced is not None:
            tracemalloc.start(_FRAMES)
        told.done(0)  # whoever watches has a first look before the store is there
        subject = None if mode == "control" else _open(job)
        on_visit = told.done if traced is None else traced.watching(told.done)
        searches = 0
        if subject is None:
            replay.run_without(on_visit)
        else:
            searches = replay.run(subject, on_visit)
            subject.wait_for_prefetch()
        gc.collect()
        facts: dict[str, Any] = {"operations": len(replay), "searches": searches}
        if traced is not None:
            facts |= traced.end()
        looks.take("after")
        told.end()
        if subject is not None:
            facts |= _facts(subject, job)
            subject.close()
    before, after = (looks.read(name, store=job["store"]) for name in ("before", "after"))
    facts |= {
        "by_type": _difference(after.by_type, before.by_type),
        "by_mapping": _difference(after.by_mapping, before.by_mapping),
        "peak_resident": after.peak_resident,
        "process_total": after.by_type,
    }
    added = counted_bytes(after.by_type) - counted_bytes(before.by_type)
    return {"values": [added], "facts": facts}


def _open(job: Mapping[str, Any]) -> ReferenceSubject:
    return ReferenceSubject(Path(job["store"]), job["settings"], create=False)


def _facts(subject: ReferenceSubject, job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tiers": subject.resident(),
        "counters": subject.counters(),
        "resources": resources(),
        "rooms": bytes_by_room(Path(job["store"])),
    }


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}


class _Told:
    """Tells who watches how many accesses are done; holds what a leak put in for a proof holds."""

    def __init__(self, path: Path, leak_bytes: int) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        self._leak_bytes = leak_bytes
        self._leaked: list[bytearray] = []

    def done(self, operations: int) -> None:
        """So many accesses are done. No mapping: a shared page would count as the process's."""
        os.pwrite(self._handle, PROGRESS.pack(operations), 0)
        while len(self._leaked) * 1_000 * _LEAK_PIECE < operations * self._leak_bytes:
            self._leaked.append(bytearray(b"\x5a" * _LEAK_PIECE))

    def end(self) -> None:
        """The session is over: what is seen from now on is not its."""
        os.pwrite(self._handle, PROGRESS.pack(ENDED), 0)

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


class _Traced:
    """Live bytes by call site half-way and at the end."""

    def __init__(self, operations: int) -> None:
        self._from = int(_GROWTH_FROM * operations)
        self._operations = operations
        self._begun = 0
        self._before: Any = None

    def watching(self, done: Callable[[int], None]) -> Callable[[int], None]:
        """Tells `done`, and looks when the second half begins."""

        def on_visit(operations: int) -> None:
            done(operations)
            if self._before is None and operations >= self._from:
                self._begun = operations
                gc.collect()
                self._before = held_by_site(tracemalloc.take_snapshot(), PACKAGES)

        return on_visit

    def end(self) -> dict[str, Any]:
        """Growth by site since then, and live bytes by module; ends the tracing."""
        snapshot = tracemalloc.take_snapshot()
        tracemalloc.stop()
        grown = growth_of(self._before or {}, held_by_site(snapshot, PACKAGES))
        return {
            "growth": [asdict(one) for one in grown],
            "growth_operations": self._operations - self._begun,
            "by_module": bytes_by_module(snapshot, PACKAGES),
        }


def _under_memray(job: Mapping[str, Any], replay: Replay, told: _Told) -> dict[str, Any]:
    """Every allocation between opening and just before closing, C's included, into a file."""
    from memray import Tracker

    with Tracker(Path(job["recording"]), trace_python_allocators=True):
        subject = _open(job)
        searches = replay.run(subject, told.done)
        subject.wait_for_prefetch()
        gc.collect()
        facts = {"tiers": subject.resident()}
    subject.close()
    return {
        "values": [0.0],
        "facts": {**facts, "operations": len(replay), "searches": searches},
    }
