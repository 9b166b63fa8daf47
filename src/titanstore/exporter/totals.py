"""Counters and latencies of all processes of a store, as totals that never go backwards. Pure.

A process's counters end with it. Were its numbers simply missing from the next sum, the sum would
fall, and `rate()` would take that for a restart and count all the others' numbers again. So what
a process did is kept after its end.

Totals begin at 0 when the exporter does: of processes that were there before it, only what they do
from then on counts. A restarted exporter therefore looks to Prometheus like any restarted counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from titanstore.exporter.families import COUNTERS
from titanstore.figures.latencies import BUCKETS
from titanstore.figures.layout import Figures

_REMEMBERED_MAX = 1024  # ended processes, kept apart in case that one was only not to be read once


@dataclass(slots=True)
class _Share:
    """What one process did since it counts; numbers only grow."""

    base: Figures | None  # as it was before that
    counters: dict[str, int] = field(default_factory=dict)
    latencies: dict[str, list[int]] = field(default_factory=dict)

    def raise_to(self, now: Figures) -> None:
        base = self.base
        for name in COUNTERS:
            value = now.values.get(name, 0) - (base.values.get(name, 0) if base else 0)
            self.counters[name] = max(value, self.counters.get(name, 0))
        for name, counts in now.latencies.items():
            old: Sequence[int] = base.latencies.get(name, ()) if base else ()
            before = self.latencies.setdefault(name, [0] * BUCKETS)
            for place, count in enumerate(counts):
                since = count - (old[place] if old else 0)
                before[place] = max(since, before[place])

    def add(self, other: _Share) -> None:
        for name, value in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + value
        for name, counts in other.latencies.items():
            own = self.latencies.setdefault(name, [0] * BUCKETS)
            for place, count in enumerate(counts):
                own[place] += count


class Totals:
    """Adds up looks at the figures of a store. One thread at a time.

    A process that begins and ends between two looks is never seen, and what one did after the last
    look at it is lost: it is for the caller to look often enough.
    """

    def __init__(self) -> None:
        self._has_begun = False
        self._shares: dict[str, _Share] = {}  # the one not seen for longest comes first
        self._folded = _Share(None)

    def take(self, found: Mapping[str, Figures]) -> None:
        """Count what living processes publish, by names that no other process ever has."""
        for name, figures in found.items():
            share = self._shares.pop(name, None)
            if share is None:
                share = _Share(None if self._has_begun else figures)
            self._shares[name] = share
            share.raise_to(figures)
        self._has_begun = True
        for name in [name for name in self._shares if name not in found][:-_REMEMBERED_MAX]:
            self._folded.add(self._shares.pop(name))

    def _sum(self) -> _Share:
        whole = _Share(None, counters=dict.fromkeys(COUNTERS, 0))
        for share in (self._folded, *self._shares.values()):
            whole.add(share)
        return whole

    def counters(self) -> dict[str, int]:
        """Every counter of `titanstore.metrics.Counters` by name."""
        return self._sum().counters

    def latencies(self) -> dict[str, list[int]]:
        """By operation: how many calls in each bucket (`titanstore.figures.latencies`)."""
        return self._sum().latencies
