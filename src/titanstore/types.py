"""What calls of a store return besides vectors: plain values, safe to keep and to pickle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Origin = Literal["snapshot", "rollback", "before-rollback"]


class Hit(NamedTuple):
    """One result of a search."""

    key: str
    distance: float  # cosine, dot or squared l2, as LanceDB has them; smaller is nearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A state of a store that can be read and gone back to.

    Attributes
    ----------
    number
        1, 2, 3, ...; never used twice in a store.
    created_s
        Unix time, seconds.
    vectors, documents
        How many it holds.
    tags
        Names that keep it from retention, sorted.
    origin
        "snapshot", or what a rollback took: "before-rollback" the state that it left, "rollback"
        the state that it made.
    """

    number: int
    label: str | None
    created_s: float
    vectors: int
    documents: int
    tags: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What must happen to one state of a store to make it another. Each tuple is sorted.

    Attributes
    ----------
    added, replaced, removed
        Keys; replaced ones have a vector of other bits.
    documents_changed
        Documents that came, went, or hold other keys, another order or another vector.
    """

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    documents_changed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Is anything different?"""
        return bool(self.added or self.replaced or self.removed or self.documents_changed)
