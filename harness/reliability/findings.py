"""What a part of the campaign tried on one scenario, counted, with every fault it found."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

__all__ = ["Fault", "Findings", "sampled"]

Point = TypeVar("Point")


@dataclass(frozen=True, slots=True)
class Fault:
    """One point that did not end as it must, and how to come back to it."""

    point: str
    what: list[str]


@dataclass(slots=True)
class Findings:
    """Counts by kind of point.

    Attributes
    ----------
    known
        Points that there are.
    tried
        Those that were tried, by kind.
    outcomes
        How the tried ones ended, by word.
    """

    part: str
    scenario: str
    seed: int
    known: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def add(self, kind: str, outcome: str, point: str, what: Sequence[str]) -> None:
        """Count one point; it is a fault if there is anything to say about it."""
        self.tried[kind] += 1
        self.outcomes["fault" if what else outcome] += 1
        if what:
            self.faults.append(Fault(point, list(what)))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "tried": dict(self.tried), "outcomes": dict(self.outcomes)}


def sampled(points: Sequence[Point], most: int | None, rng: random.Random) -> list[Point]:
    """All points, or `most` of them drawn by `rng`, in their order."""
    if most is None or most >= len(points):
        return list(points)
    return [points[at] for at in sorted(rng.sample(range(len(points)), most))]
