"""Room for what one search works out, in pages of its own.

malloc keeps, for as long as the process lives, about as much as the largest search once needed;
these pages go back to the system with the search. So what a process adds does not depend on how
many rows a search has looked at (reports/decisions/0019). The kernel gives all pages at once: page
by page, as they are touched, takes twice as long.
"""

from __future__ import annotations

import mmap

import numpy as np

from titanstore.search.quantise import score_values
from titanstore.sums import Wide

__all__ = ["Room"]

_DECODED_VALUES = 10_240  # at a time: all that is surely near a query of 1 024 dimensions
_BATCH_DECODED_VALUES = 16_384  # for many queries; with 20 bytes each, within the caches
_BESIDE = 128  # results that a query's scores are put beside; more of them take other memory


class Room:
    """Arrays for one search.

    Parameters
    ----------
    dimension, queries, rows
        Of the vectors; how many queries are looked at together, and rows at a time.

    Attributes
    ----------
    rows
        How many vectors are decoded at a time.
    terms, work, vectors
        float64, float64 and float32, shape (rows, dimension).
    scores
        float64, one dimension: what `flat.score_rows` wants for a block.
    """

    def __init__(self, dimension: int, queries: int, rows: int) -> None:
        values = _DECODED_VALUES if queries == 1 else _BATCH_DECODED_VALUES
        self.rows = max(1, values // dimension)
        shape = (self.rows, dimension)
        values = self.rows * dimension
        scores = score_values(queries, rows)
        beside = queries * (rows + _BESIDE)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        pages = mmap.mmap(-1, 20 * values + 8 * (scores + beside), flags=flags)
        wide = np.frombuffer(pages, np.float64, 2 * values + scores + beside)
        self.terms = wide[:values].reshape(shape)
        self.work = wide[values : 2 * values].reshape(shape)
        self.scores: Wide = wide[2 * values :][:scores]
        self._beside = wide[2 * values + scores :]
        self.vectors = np.frombuffer(pages, np.float32, -1, 8 * wide.size).reshape(shape)

    def beside(self, one: Wide, other: Wide) -> Wide:
        """Two arrays of as many rows side by side, for the moment."""
        shape = (len(one), one.shape[1] + other.shape[1])
        size = shape[0] * shape[1]
        if size > self._beside.size:
            return np.concatenate([one, other], axis=1)
        return np.concatenate([one, other], axis=1, out=self._beside[:size].reshape(shape))
