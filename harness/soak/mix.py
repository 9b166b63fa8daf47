"""Which operation comes next: a function of seed, number, and what the ledger says. Pure.

How many operations there are a second is in `RATES`: 2.3 in all, 198 720 a day, whether the day
passes or is simulated. So few, because a day must be simulated in 15 minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from harness.soak.ledger import Ledger, Words
from harness.soak.space import Document, Space
from harness.soak.values import ABSENT

__all__ = ["KILLS_EVERY_S", "MIXES", "RATES", "Operation", "Roles", "draw"]

KILLS_EVERY_S = 120.0  # on average; half of them are of the writing process
_WRITES = {
    "put": 0.42,
    "update": 0.385,
    "delete": 0.10,
    "snapshot": 0.08,
    "rollback": 0.01,
    "maintain": 0.005,
}
_VERSIONS_MANY = 120  # then it is time to maintain, whatever was drawn
_PUT_MOST, _CHANGED_MOST = 8, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Operations a second of each kind of process."""

    writer: float = 0.4
    reader: float = 0.5  # of each of two
    searcher: float = 0.1
    resident: float = 0.8

    @property
    def killed_lane(self) -> float:
        """Operations a second on the store whose processes are killed."""
        return self.writer + 2 * self.reader + self.searcher

    @property
    def every(self) -> float:
        """Operations a second in all."""
        return self.killed_lane + self.resident


RATES = Roles()


def _scaled(share: float, mix: Mapping[str, float]) -> dict[str, float]:
    total = sum(mix.values())
    return {name: share * weight / total for name, weight in mix.items()}


MIXES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "writer": _scaled(1.0, _WRITES),
        # what writer, readers and searcher do together, in one process
        "killed": {
            **_scaled(RATES.writer, _WRITES),
            "get": 2 * RATES.reader,
            "search": RATES.searcher,
        },
        "reads": {"get": 1.0},  # for trials: what grows then is not the store's work
        "resident": {**_scaled(0.2, _WRITES), "get": 0.5, "search": 0.1},
    }
)
"""Shares of the operations of each kind of process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call of the store.

    Attributes
    ----------
    kind
        "get", "search", "put", "update", "delete", "snapshot", "rollback" or "maintain".
    keys
        Those that are read, deleted, put, or that the document holds afterwards.
    changed
        Those of `keys` that get a new vector.
    version
        To go back to.
    """

    kind: str
    keys: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    document: Document | None = None
    version: int = 0
    seed: list[int] = field(default_factory=list)


def draw(space: Space, ledger: Ledger, mix: str, seed: int, number: int) -> Operation:
    """The operation of that number. The first ones fill the documents, one after the other."""
    entropy = [seed, number, len(mix)]
    rng = np.random.default_rng(entropy)
    if number < len(space.every_document):
        document = space.every_document[number]
        keys = tuple(document.keys)
        return Operation(kind="update", keys=keys, changed=keys, document=document)
    kind = _pick(MIXES[mix], rng.random())
    if kind == "get":
        return Operation(kind=kind, keys=(int(rng.integers(len(space))),))
    if kind == "search":
        return Operation(kind=kind, seed=entropy)
    versions = ledger.versions()
    if len(versions) > _VERSIONS_MANY:
        return Operation(kind="maintain")
    if kind == "rollback":
        if not versions:
            return Operation(kind="snapshot")
        return Operation(kind=kind, version=versions[int(rng.integers(len(versions)))])
    if kind in ("snapshot", "maintain"):
        return Operation(kind=kind)
    return _change(kind, rng, space, ledger.stamps())


def _pick(weights: Mapping[str, float], place: float) -> str:
    """The kind at a place from 0 to 1 when all lie side by side, each as wide as its share."""
    left = place * sum(weights.values())
    for kind, weight in weights.items():
        left -= weight
        if left < 0:
            return kind
    return next(iter(weights))


def _change(kind: str, rng: np.random.Generator, space: Space, stamps: Words) -> Operation:
    if kind == "update":
        document = space.every_document[int(rng.integers(len(space.every_document)))]
        there = [key for key in document.keys if stamps[key] != ABSENT]
        gone = [key for key in document.keys if stamps[key] == ABSENT]
        keep = [key for key in there if rng.random() > 0.02]
        back = [key for key in gone if rng.random() < 0.5]
        size = min(len(keep), 1 + int(rng.integers(_CHANGED_MOST)))
        changed = rng.choice(keep, size, replace=False).tolist() if keep else []
        return Operation(
            kind=kind,
            keys=tuple(sorted([*keep, *back])),
            changed=tuple(sorted([*changed, *back])),
            document=document,
        )
    there = np.flatnonzero(stamps != ABSENT).tolist()
    if kind == "delete":
        size = min(len(there), 1 + int(rng.integers(_CHANGED_MOST)))
        keys = tuple(sorted(rng.choice(there, size, replace=False).tolist())) if there else ()
        return Operation(kind=kind, keys=keys)
    # a key of a document is put only while it is in it: put alone would leave it without one
    free = sorted({*there, *space.loose})
    pick = free if rng.random() < 0.6 else list(space.loose)
    wide = space.dimension(int(rng.choice(pick)))
    pick = [key for key in pick if space.dimension(key) == wide]
    size = min(len(pick), 1 + int(rng.integers(_PUT_MOST)))
    keys = tuple(sorted(rng.choice(pick, size, replace=False).tolist()))
    return Operation(kind="put", keys=keys, changed=keys)
