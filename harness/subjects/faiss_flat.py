"""faiss' exhaustive index of float32 rows, IndexFlatIP over normalised ones, as its wiki has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.subject import Vectors

__all__ = ["FaissFlatSubject"]


class FaissFlatSubject:
    """An index in memory. One thread of ours; faiss takes as many as it likes."""

    name = "faiss-flat"

    def __init__(self, keys: Sequence[str], vectors: Vectors) -> None:
        import faiss  # a rival's package is loaded only when it is measured

        self._keys = list(keys)
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def search(self, query: Vectors, k: int = 10) -> list[tuple[str, float]]:
        """The k nearest by cosine, in float32."""
        unit = query / np.linalg.norm(query)
        scores, rows = self._index.search(unit[None, :], k)
        return [
            (self._keys[row], 1.0 - score)
            for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        ]

    def close(self) -> None:
        """Nothing is open."""
