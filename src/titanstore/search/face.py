"""What `EmbeddingStore` offers of search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.search.engine import SearchEngine, checked_queries
from titanstore.types import Hit


class SearchableStore(ABC):
    """The part of a store that finds near vectors."""

    @abstractmethod
    def _engine(self) -> SearchEngine:
        """The search engine of this process, ready to be used."""

    @abstractmethod
    def _searched(self, started_ns: int) -> None:
        """Note the latency of a call that began at `time.perf_counter_ns()`."""

    def search(
        self,
        query: Vector,
        k: int = 10,
        *,
        metric: str = "cosine",
        document_prefix: str | None = None,
    ) -> list[Hit]:
        """The k vectors nearest to a query: exactly those, in order of (distance, key).

        Parameters
        ----------
        query
            float32, shape (dimension,), finite.
        k
            1 or more; where the store has fewer vectors, all of them are returned.
        metric
            "cosine": 1 - cosine similarity, 1 where a vector is zero. "dot": 1 - x.q. "l2": the
            squared Euclidean distance. Each sum is the float64 nearest to its true value, so a
            distance does not depend on machine or order.
        document_prefix
            Only vectors of documents whose names begin with this.

        Returns
        -------
        list of Hit
            Vectors of other dimensions and those with NaN or infinity are never among them; empty
            for an empty store. What was replaced or removed before the call is never returned,
            what was acknowledged before it is found.

        Raises
        ------
        InvalidInputError
            WRONG_DTYPE, WRONG_SHAPE, WRONG_DIMENSION, NON_FINITE, BAD_K, BAD_METRIC, SEARCH_OFF.
        CorruptionError
            A vector that may belong to the result cannot be read. BAD_PLANE: what is kept of one
            for search is damaged, and would hide others.
        ClosedError, StorageError

        Notes
        -----
        With a LanceDB index (settings `search_index`, `lance_vectors_min`) the distances are exact
        and the choice of neighbours is approximate.
        """
        if not isinstance(query, np.ndarray) or query.ndim != 1:
            seen = query.shape if isinstance(query, np.ndarray) else type(query).__name__
            raise InvalidInputError(
                f"a query is a numpy float32 array of shape (dimension,), got {seen}; for many at "
                "once there is search_many",
                ErrorKind.WRONG_SHAPE if isinstance(query, np.ndarray) else ErrorKind.WRONG_DTYPE,
            )
        return self.search_many(query[None], k, metric=metric, document_prefix=document_prefix)[0]

    def search_many(
        self,
        queries: NDArray[np.float32] | Sequence[Vector],
        k: int = 10,
        *,
        metric: str = "cosine",
        document_prefix: str | None = None,
    ) -> list[list[Hit]]:
        """`search` for each query, shape (count, dimension); the codes are read once for many."""
        started = perf_counter_ns()
        engine = self._engine()
        found = engine.search(checked_queries(queries), k, metric, document_prefix)
        self._searched(started)
        return found
