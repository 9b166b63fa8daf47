"""What a comparison is asked for, and how much of everything that means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.rivals.catalogue import SEARCHERS, STORES
from harness.rivals.metrics import MEASURES

__all__ = ["FULL", "QUICK", "SMOKE", "TIMED", "RivalOptions", "Sizes"]

TIMED = ("put", "hot", "warm", "cold", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything.

    Attributes
    ----------
    rounds
        Each is one fresh process a subject, in an order of its own.
    sized
        Vectors of each recorded set whose bytes are counted; None: all.
    vectors
        That are stored, read, and the smaller size of search.
    searched
        Sizes of search.
    """

    name: str
    rounds: int
    sized: int | None = None
    vectors: int = 2_200
    searched: tuple[int, ...] = (2_200, 10_000)
    queries: int = 300
    warm_gets: int = 600
    cold_gets: int = 40
    puts: int = 25
    kills: int = 3
    flips: int = 12


# 5 is the fewest rounds with a bound at 95 %: one of 2**5 orders of signs
FULL = Sizes(name="full", rounds=5)
QUICK = Sizes(name="quick", rounds=2, kills=2, flips=6)
SMOKE = Sizes(
    name="smoke",
    rounds=1,
    sized=10,
    vectors=110,
    searched=(110,),
    queries=20,
    warm_gets=50,
    cold_gets=5,
    puts=2,
    kills=1,
    flips=2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalOptions:
    """What a comparison is asked for; `subjects` empty: all."""

    reports: Path
    recorded: Path | None
    sizes: Sizes = FULL
    subjects: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seed: int = 20_261_129
    command: tuple[str, ...] = ("harness", "rivals")

    def __post_init__(self) -> None:
        unknown = set(self.subjects) - {*STORES, *SEARCHERS} | set(self.only) - set(MEASURES)
        if unknown:
            raise UsageError(f"no subject or measure {', '.join(sorted(unknown))}")

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured, in the order of the table."""
        return tuple(one for one in MEASURES if not self.only or one in self.only)

    @property
    def timed(self) -> tuple[str, ...]:
        """What one process of a round times; all of it if none of it was asked for by name.

        Calls with the same ones share their parts, whatever else they ask for.
        """
        asked = tuple(one for one in TIMED if one in self.only)
        return asked or TIMED
