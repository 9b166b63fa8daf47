"""usearch's exact search over a float32 matrix, its documented replacement of a flat index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.subject import Vectors

__all__ = ["UsearchExactSubject"]


class UsearchExactSubject:
    """A matrix in memory. One thread of ours; usearch takes as many as it likes."""

    name = "usearch-exact"

    def __init__(self, keys: Sequence[str], vectors: Vectors) -> None:
        # a rival's package is loaded only when it is measured
        from usearch.index import MetricKind, search

        self._search, self._metric = search, MetricKind.Cos
        self._keys = list(keys)
        self._rows = np.ascontiguousarray(vectors)

    def search(self, query: Vectors, k: int = 10) -> list[tuple[str, float]]:
        """The k nearest by cosine, in float32."""
        found = self._search(self._rows, query, k, self._metric, exact=True)
        rows, distances = found.keys.ravel().tolist(), found.distances.ravel().tolist()
        return [(self._keys[row], distance) for row, distance in zip(rows, distances, strict=True)]

    def close(self) -> None:
        """Nothing is open."""
