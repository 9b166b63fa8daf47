"""Whose the bytes are: what the store says of its tiers, what memray names, what the kernel adds.

Pure. The kernel's figure is of plain processes less their controls; the tiers' statement is of the
same processes; live allocations are of a process under memray, whose own memory counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.probes.memory import PAGE_TYPES

__all__ = [
    "Account",
    "Entry",
    "account_of",
    "added_by",
    "before_store",
    "mean_added",
    "page_type_growth",
]

_ITEM_BYTES = 4  # float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the account: so many bytes, by whose word."""

    name: str
    size: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one session added, and whose it is.

    Attributes
    ----------
    total
        Bytes by the kernel.
    entries
        They add up to the total; the last is what nobody names.
    by_mapping
        The same total by kind of mapping.
    """

    total: float
    entries: tuple[Entry, ...]
    by_mapping: Mapping[str, float]

    @property
    def tiers_share(self) -> float:
        """Share of the total that the tiers state."""
        stated = sum(entry.size for entry in self.entries if entry.source == "the store")
        return stated / self.total if self.total else 0.0

    @property
    def unnamed_share(self) -> float:
        """Share of the total that neither the store nor memray names."""
        return self.entries[-1].size / self.total if self.total else 0.0


def mean_added(
    processes: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]
) -> float:
    """Mean of the processes less mean of the controls, in bytes."""
    return fmean(one["added"] for one in processes) - fmean(one["added"] for one in controls)


def added_by(
    what: str, processes: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The same by "by_type" or "by_mapping" of the processes' facts."""
    return {
        name: fmean(one["facts"][what][name] for one in processes)
        - fmean(one["facts"][what][name] for one in controls)
        for name in processes[0]["facts"][what]
    }


def account_of(session: Mapping[str, Any], recorded: Mapping[str, Any], dimension: int) -> Account:
    """The account of one session.

    Parameters
    ----------
    session
        "processes" and "controls", each with "added" in bytes and "facts".
    recorded
        Summary of the process under memray, with its "tiers".
    dimension
        Of the vectors: how many bytes a decoded row has.
    """
    processes, controls = session["processes"], session["controls"]
    total = mean_added(processes, controls)
    tiers = {
        name: fmean(one["facts"]["tiers"][name] for one in processes)
        for name in processes[0]["facts"]["tiers"]
    }
    rows = tiers["hot_rows"] * dimension * _ITEM_BYTES
    kept = tiers["hot_bytes"] - rows
    own = recorded["tiers"]
    # its rows lie in mappings of their own; their bookkeeping and all frames are on the heap
    stated = own["hot_bytes"] - own["hot_rows"] * dimension * _ITEM_BYTES + own["warm_bytes"]
    beyond = recorded["held"] - stated
    named = rows + kept + tiers["warm_bytes"] + beyond
    return Account(
        total=total,
        entries=(
            Entry(name="hot tier: decoded rows", size=rows, source="the store"),
            Entry(name="hot tier: bookkeeping of rows", size=kept, source="the store"),
            Entry(name="warm tier: frames", size=tiers["warm_bytes"], source="the store"),
            Entry(name="other live allocations", size=beyond, source="memray"),
            Entry(
                name="none of these: free parts of the heap, stacks, pages of libraries, LMDB's",
                size=total - named,
                source="the kernel, less all above",
            ),
        ),
        by_mapping=added_by("by_mapping", processes, controls),
    )


def before_store(process: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by page type that a session's process had just before it opened the store."""
    total, added = process["facts"]["process_total"], process["facts"]["by_type"]
    return {name: total[name] - added[name] for name in total}


def page_type_growth(
    timeline: Sequence[Mapping[str, Any]], before: Mapping[str, int]
) -> dict[str, list[float]]:
    """Bytes by page type over those before, never below 0: what a stack can be drawn of.

    `before` is the session's own look: the first one from outside may come when the store has
    filled its tiers.
    """
    return {
        name: [max(0.0, float(one["by_type"][name] - before[name])) for one in timeline]
        for name in PAGE_TYPES
    }
