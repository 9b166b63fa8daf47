"""Allocations by module and by call site, and their growth, from the standard tracemalloc.

The plan's wanted package `tracemalloc-ext` does not exist; this is what it stands for. Never in a
process that is timed or whose memory is judged: tracing slows allocation twenty times over and
takes memory itself.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Growth", "Held", "bytes_by_module", "growth_of", "held_by_site", "module_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is live of one call site: bytes in so many blocks."""

    size: int
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One call site between two moments.

    Attributes
    ----------
    site
        "titanstore.tiers.hot:97", or "other".
    size, blocks
        More bytes and blocks live than before; negative if fewer.
    held
        Bytes live at the later moment.
    """

    site: str
    size: int
    blocks: int
    held: int


def bytes_by_module(snapshot: tracemalloc.Snapshot, packages: tuple[str, ...]) -> dict[str, int]:
    """Live bytes by module, for the packages named; everything else under "other".

    A block belongs to the innermost frame of the traceback that lies in one of the packages.
    """
    found: Counter[str] = Counter()
    for trace in snapshot.traces:
        found[_site(trace.traceback, packages).partition(":")[0]] += trace.size
    return dict(found.most_common())


def held_by_site(snapshot: tracemalloc.Snapshot, packages: tuple[str, ...]) -> dict[str, Held]:
    """Live bytes and blocks by module and line, attributed as `bytes_by_module` does."""
    sizes: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    for trace in snapshot.traces:
        site = _site(trace.traceback, packages)
        sizes[site] += trace.size
        blocks[site] += 1
    return {site: Held(size=size, blocks=blocks[site]) for site, size in sizes.most_common()}


def growth_of(before: Mapping[str, Held], after: Mapping[str, Held]) -> list[Growth]:
    """Every site whose live bytes or blocks changed, the one that grew most first."""
    nothing = Held(size=0, blocks=0)
    found = []
    for site in before.keys() | after.keys():
        old, new = before.get(site, nothing), after.get(site, nothing)
        if old != new:
            grown = Growth(
                site=site,
                size=new.size - old.size,
                blocks=new.blocks - old.blocks,
                held=new.size,
            )
            found.append(grown)
    return sorted(found, key=lambda one: (-one.size, one.site))


def _site(traceback: tracemalloc.Traceback, packages: tuple[str, ...]) -> str:
    for frame in reversed(traceback):
        name = module_of(frame.filename, packages)
        if name:
            return f"{name}:{frame.lineno}"
    return "other"


def module_of(filename: str, packages: tuple[str, ...]) -> str:
    """Dotted name of a source file's module, if it lies in one of the packages; else ""."""
    parts = Path(filename).with_suffix("").parts
    place = next((at for at, part in enumerate(parts) if part in packages), None)
    return "" if place is None else ".".join(parts[place:])
