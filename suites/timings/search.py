"""Exact search by the flat scan, over 2 200 vectors; the result cache is off."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from titanstore import EmbeddingStore, Hit

from . import prepared

repeat = prepared.REPEAT  # asv reads it here
_K = 10
_QUERIES = 8


class _Queries:
    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.readable(result_cache_entries=0)
        step = len(prepared.document_keys()) // _QUERIES
        self.rows = [number * step for number in range(_QUERIES)]
        self.queries = np.ascontiguousarray(prepared.document_vectors()[self.rows])
        self.answers: list[list[Hit]] = []

    def teardown(self) -> None:
        for row, hits in zip(self.rows, self.answers, strict=False):
            _check(row, hits)


class Search(_Queries):
    """`store.search` of one query for the 10 nearest."""

    core = True

    def time_search(self) -> None:
        self.answers = [self.store.search(self.queries[0], k=_K)]


class SearchMany(_Queries):
    """`store.search_many` of 8 queries for the 10 nearest of each."""

    core = True

    def time_search_8(self) -> None:
        self.answers = self.store.search_many(self.queries, k=_K)


class SearchRepeated(_Queries):
    """`store.search` of a query that the result cache answers."""

    def setup(self) -> None:
        super().setup()
        self.store = prepared.readable(result_cache_entries=16)
        self.store.search(self.queries[0], k=_K)

    def time_search(self) -> None:
        self.answers = [self.store.search(self.queries[0], k=_K)]


class Quantise:
    """8 queries cut into the int8 parts that a scan multiplies codes with."""

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        (self.quantise,) = prepared.needed("search.quantise", "quantise")
        self.queries = np.ascontiguousarray(prepared.document_vectors()[:_QUERIES])
        self.answer = None

    def time_quantise_8(self) -> None:
        self.answer = self.quantise(self.queries)

    def teardown(self) -> None:
        if self.answer is None:
            return
        high, low = np.split(self.answer.parts.astype(np.int64), 2)
        seen = (256 * high + low) * self.answer.units[:, None]
        rest = np.sqrt(((self.queries - seen) ** 2).sum(axis=1))
        assert np.allclose(rest, self.answer.rests, rtol=1e-6)
        assert rest.max() < 1e-3


@cache
def _neighbours(row: int) -> tuple[list[str], NDArray[np.float64]]:
    """Keys and distances that float64 arithmetic finds."""
    vectors = prepared.document_vectors().astype(np.float64)
    lengths = np.sqrt((vectors**2).sum(axis=1))
    distances = 1 - vectors @ vectors[row] / (lengths * lengths[row])
    order = np.argsort(distances, kind="stable")[:_K]
    keys = prepared.document_keys()
    return [keys[place] for place in order], distances[order]


def _check(row: int, hits: list[Hit]) -> None:
    keys, distances = _neighbours(row)
    if [hit.key for hit in hits] != keys:
        raise AssertionError(f"query {row}: other neighbours than exact search finds")
    # its order of adding is another one
    assert np.allclose([hit.distance for hit in hits], distances, atol=1e-12)
