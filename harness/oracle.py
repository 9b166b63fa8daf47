"""The truth of a search: exact distances and their order, by code that shares nothing with a store.

Definition, the one that the store documents: every value is float32 widened to float64; a sum is
the float64 nearest to the exact sum of its terms (`math.fsum`), so that it depends on no order.

    dot     1 - sum(x * q)                        terms exact: 24 x 24 bits fit in 53
    cosine  1 - sum(x * q) / (sqrt(sum(x * x)) * sqrt(sum(q * q))); 1 if either is all zeros
    l2      sum((x - q) * (x - q)), each difference and each square rounded to float64

Results are in order of (distance, key). A vector with NaN or an infinity is never a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.subject import Vectors

__all__ = ["METRICS", "Found", "Oracle", "cosine_similarity", "distance"]

METRICS = ("cosine", "dot", "l2")
_EPSILON = 2.0**-52
_BLOCK = 256  # queries at a time: bounds the memory of their scores


class Found(NamedTuple):
    """One result."""

    key: str
    distance: float


def _sum(terms: NDArray[np.float64]) -> float:
    return math.fsum(terms.tolist())


def cosine_similarity(a: Vectors, b: Vectors) -> float:
    """Cosine of two float32 vectors by the definition above; 0 if either is all zeros."""
    x, q = a.astype(np.float64), b.astype(np.float64)
    size = math.sqrt(_sum(x * x)) * math.sqrt(_sum(q * q))
    return _sum(x * q) / size if size else 0.0


def distance(a: Vectors, b: Vectors, metric: str) -> float:
    """Distance of two float32 vectors by the definition above; ValueError for another metric."""
    match metric:
        case "cosine":
            return 1.0 - cosine_similarity(a, b)
        case "dot":
            return 1.0 - _sum(a.astype(np.float64) * b.astype(np.float64))
        case "l2":
            difference = a.astype(np.float64) - b.astype(np.float64)
            return _sum(difference * difference)
    raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")


class Oracle:
    """Exact search over vectors of one dimension, held as float64.

    A float64 scan with a proven error bound chooses who can be among the nearest; their distances
    alone are computed by the definition. Cost: one matrix product, then some 0.1 ms a candidate.
    """

    def __init__(self, keys: Sequence[str], vectors: Vectors) -> None:
        if len(keys) != len(vectors) or vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"{len(keys)} keys for {vectors.dtype} of shape {vectors.shape}")
        finite = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        self._keys = [keys[row] for row in finite.tolist()]
        self._vectors = np.ascontiguousarray(vectors[finite])
        self._wide = self._vectors.astype(np.float64)
        self._squares = np.einsum("ij,ij->i", self._wide, self._wide)
        self._norms = np.sqrt(self._squares)
        # n roundings of a sum, one of a product, and those of roots, quotient and difference
        self._slack = 2 * (vectors.shape[1] + 16) * _EPSILON
        self._exact_squares: dict[int, float] = {}

    def search(self, query: Vectors, k: int, metric: str = "cosine") -> list[Found]:
        """The k nearest of one query; fewer if there are no more."""
        return self.search_many(query[None, :], k, metric)[0]

    def search_many(self, queries: Vectors, k: int, metric: str = "cosine") -> list[list[Found]]:
        """The k nearest of each query of shape (count, dimension), float32 and finite."""
        if metric not in METRICS:
            raise ValueError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
        found = []
        for first in range(0, len(queries), _BLOCK):
            block = queries[first : first + _BLOCK]
            products = block.astype(np.float64) @ self._wide.T
            for query, row in zip(block, products, strict=True):
                found.append(self._nearest(query, row, k, metric))
        return found

    def _nearest(
        self, query: Vectors, products: NDArray[np.float64], k: int, metric: str
    ) -> list[Found]:
        if not self._keys:
            return []
        square = float(np.square(query.astype(np.float64)).sum())
        near, error = self._approximate(products, square, metric)
        # whoever may be nearer than the k-th of the upper bounds may be among the k nearest
        bound = np.partition(near + error, min(k, near.size) - 1)[min(k, near.size) - 1]
        rows = np.flatnonzero(near - error <= bound).tolist()
        found = [Found(self._keys[row], self._distance(row, query, metric)) for row in rows]
        return sorted(found, key=lambda one: (one.distance, one.key))[:k]

    def _approximate(
        self, products: NDArray[np.float64], square: float, metric: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distances of all rows in plain float64, and how far each may be from the true one."""
        sizes = self._norms * math.sqrt(square)
        match metric:
            case "cosine":
                safe = np.where(sizes > 0, sizes, 1.0)
                return 1.0 - products / safe, np.full(len(products), 4 * self._slack)
            case "dot":
                return 1.0 - products, self._slack * (sizes + 1.0)
        sums = self._squares + square
        return sums - 2 * products, 4 * self._slack * sums

    def _distance(self, row: int, query: Vectors, metric: str) -> float:
        if metric != "cosine":
            return distance(self._vectors[row], query, metric)
        if row not in self._exact_squares:
            self._exact_squares[row] = _sum(self._wide[row] * self._wide[row])
        wide = query.astype(np.float64)
        size = math.sqrt(self._exact_squares[row]) * math.sqrt(_sum(wide * wide))
        return 1.0 - _sum(self._wide[row] * wide) / size if size else 1.0
