"""numpy's own product of a float32 matrix and a query: search without any library for it.

Rows are normalised once, when they are taken. The best k are chosen by argpartition.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.subject import Vectors

__all__ = ["NumpyFlatSubject"]


class NumpyFlatSubject:
    """A matrix in memory. One thread of ours; BLAS takes as many as it likes."""

    name = "numpy-float32"

    def __init__(self, keys: Sequence[str], vectors: Vectors) -> None:
        self._keys = list(keys)
        self._rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def search(self, query: Vectors, k: int = 10) -> list[tuple[str, float]]:
        """The k nearest by cosine, in float32."""
        scores = self._rows @ (query / np.linalg.norm(query))
        chosen = np.argpartition(scores, -k)[-k:]
        ordered = chosen[np.argsort(-scores[chosen])].tolist()
        return [(self._keys[row], 1.0 - float(scores[row])) for row in ordered]

    def close(self) -> None:
        """Nothing is open."""
