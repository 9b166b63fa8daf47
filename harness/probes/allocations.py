"""Allocations by module, from the standard tracemalloc.

The plan's wanted package `tracemalloc-ext` does not exist; this is the part of what it stands for
that the gate needs. Never in a process that is timed or whose memory is judged: tracing slows
allocation twenty times over and takes memory itself.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

__all__ = ["bytes_by_module"]


def bytes_by_module(snapshot: tracemalloc.Snapshot, packages: tuple[str, ...]) -> dict[str, int]:
    """Live bytes by module, for the packages named; everything else under "other".

    A block belongs to the innermost frame of the traceback that lies in one of the packages.
    """
    found: Counter[str] = Counter()
    for trace in snapshot.traces:
        name = "other"
        for frame in reversed(trace.traceback):
            parts = Path(frame.filename).with_suffix("").parts
            place = next((at for at, part in enumerate(parts) if part in packages), None)
            if place is not None:
                name = ".".join(parts[place:])
                break
        found[name] += trace.size
    return dict(found.most_common())
