"""What a store of N vectors holds: synthetic vectors on Titan's number grid, each other than all.

Two thousand rows are drawn once; every vector is one of them with its values turned round, mirrored
or negated. So any of ten million can be named, made and compared alone, and none is kept.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fixtures.vectors import bfloat16
from harness.subject import Vectors

__all__ = ["CHUNKS", "EDITED", "EDITED_CHUNKS", "POOL", "Content", "documents_of", "key_of"]

POOL = 2_000  # rows that are drawn
CHUNKS = 100  # vectors of a document; POOL is a whole number of documents
EDITED, EDITED_CHUNKS = 10, 20  # documents that are updated: as many and as large at every N


def key_of(number: int) -> str:
    """The key of a vector, spread over all keys as digests are."""
    return hashlib.blake2b(b"%d" % number, digest_size=16).hexdigest()


def documents_of(vectors: int) -> list[tuple[str, int, int]]:
    """Name, first vector and vector after the last of each document of a store of N vectors."""
    fixed = EDITED * EDITED_CHUNKS
    edited = [
        (f"edited {number}", first, first + EDITED_CHUNKS)
        for number, first in enumerate(range(0, fixed, EDITED_CHUNKS))
    ]
    kept = [
        (f"document {number}", first, min(first + CHUNKS, vectors))
        for number, first in enumerate(range(fixed, vectors, CHUNKS))
    ]
    return edited + kept


class Content:
    """Vectors by number. `distinct` is how many there are before they begin anew."""

    def __init__(self, dimension: int, seed: int) -> None:
        self._pool = bfloat16(np.random.default_rng(seed), POOL, dimension)
        self._dimension = dimension
        self.distinct = 4 * dimension * POOL

    def rows(self, first: int, last: int) -> Vectors:
        """Vectors `first` up to `last`, shape (last - first, dimension), freshly allocated."""
        return np.stack([self.row(number) for number in range(first, last)])

    def row(self, number: int) -> Vectors:
        """One vector, shape (dimension,)."""
        turn, place = divmod(number, POOL)
        form, by = divmod(turn, self._dimension)
        row = np.roll(self._pool[place], by)
        if form & 1:
            row = row[::-1]
        return np.negative(row) if form & 2 else np.ascontiguousarray(row)
