"""What the harness can drive: ours, a rival, or a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DocumentSubject", "SearchSubject", "Subject", "SubjectFactory", "Vectors"]

Vectors = NDArray[np.float32]


class Subject(Protocol):
    """A store that the suites can drive.

    `get` is an attribute, so that a subject may hand out its own bound method and a measurement
    counts no call of ours.
    """

    get: Callable[[str], Vectors]  # float32 (dimension,); KeyError when absent

    @property
    def name(self) -> str:
        """Stable id in every result, e.g. "sqlite-blob"."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """Of durable, documents, rollback, search, shared: what is missing is not slow."""
        ...

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Store vectors of shape (count, dimension); durable when it returns, if it can be."""
        ...

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """Shape (len(keys), dimension)."""
        ...

    def stored_bytes(self) -> int:
        """Bytes on the disk, or in memory for a subject that has no disk."""
        ...

    def close(self) -> None:
        """Give everything back; idempotent."""
        ...


@runtime_checkable
class SearchSubject(Protocol):
    """A subject that finds what is near."""

    def search(self, query: Vectors, k: int = 10) -> Sequence[tuple[str, float]]:
        """The k nearest by cosine, as (key, distance)."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class DocumentSubject(Subject, Protocol):
    """A subject that knows which keys belong together."""

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vectors]]) -> None:
        """Make `chunks` the content of a document."""
        ...


SubjectFactory = Callable[[Path], Subject]
