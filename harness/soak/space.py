"""Which keys and documents a soak works on; fixed for its life, so that a key is a number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["DIMENSION", "DIMENSION_WIDE", "Document", "Space"]

DIMENSION, DIMENSION_WIDE = 1024, 1536  # Titan v2's and v1's
_CHUNKS, _CHUNKS_WIDE = 22, 15  # of a source file, as in SPEC section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document and the numbers of its keys, in its order."""

    name: str
    keys: range


@dataclass(frozen=True, kw_only=True)
class Space:
    """Documents of 22 chunks, wide ones of 15, and keys that belong to no document.

    A key belongs to one document for ever: which documents there are then follows from which
    keys there are.
    """

    documents: int = 24
    wide_documents: int = 8
    loose_keys: int = 56

    def __post_init__(self) -> None:
        if min(self.documents, self.wide_documents, self.loose_keys) < 1:
            raise ValueError(f"at least one of each, got {self}")

    def __len__(self) -> int:
        return self.documents * _CHUNKS + self.wide_documents * _CHUNKS_WIDE + self.loose_keys

    @cached_property
    def every_document(self) -> tuple[Document, ...]:
        """All documents, wide ones last."""
        wide_from = self.documents * _CHUNKS
        return tuple(
            Document(name=f"file {at:03d}.py", keys=range(at * _CHUNKS, (at + 1) * _CHUNKS))
            for at in range(self.documents)
        ) + tuple(
            Document(
                name=f"wide {at:03d}.py",
                keys=range(wide_from + at * _CHUNKS_WIDE, wide_from + (at + 1) * _CHUNKS_WIDE),
            )
            for at in range(self.wide_documents)
        )

    @cached_property
    def loose(self) -> range:
        """Numbers of the keys without a document."""
        return range(len(self) - self.loose_keys, len(self))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every key's text, by its number."""
        chunks = {
            key: f"{document.name}#{place}"
            for document in self.every_document
            for place, key in enumerate(document.keys)
        }
        return tuple(chunks.get(key, f"loose {key}") for key in range(len(self)))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each key by its text."""
        return {name: number for number, name in enumerate(self.names)}

    def dimension(self, key: int) -> int:
        """How many values the vectors of a key have."""
        wide_from = self.documents * _CHUNKS
        is_wide = wide_from <= key < wide_from + self.wide_documents * _CHUNKS_WIDE
        return DIMENSION_WIDE if is_wide else DIMENSION
