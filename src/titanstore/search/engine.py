"""A search from the query to verified results: scope, scan, check against the catalog, repeat.

Nothing is locked. The scope is that of one transaction of the catalog; what was found is verified
in another one that begins after the scan. When a result turns out stale, or a value changed
meanwhile (the generation tells), the search is done again, after some times by what the catalog
says instead of the marks. So a result is one that the store had at one moment during the call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.codec.frame import DIMENSION_MAX
from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError, ErrorKind, InvalidInputError, StoreError
from titanstore.keys import stored_key
from titanstore.metrics import Counters
from titanstore.search.distance import Metric
from titanstore.search.flat import FlatScan, Found
from titanstore.search.mirror import LanceMirror
from titanstore.search.quantise import Queries, quantise
from titanstore.search.results import ResultCache
from titanstore.search.scope import Scope, dimensions, look, missing_rows
from titanstore.segments.layout import Address
from titanstore.segments.reader import SegmentReader
from titanstore.types import Hit

_TRIES_BY_MARKS = 4  # each fails only if a write was acknowledged during it
_TRIES_MAX = 50  # as a file is missing: each could only be in vain if a compaction took one away


class SearchEngine:
    """Searches of one open store. Any thread may use it.

    Parameters
    ----------
    generation
        Gives the number that every process raises when a stored value changes or goes.
    """

    def __init__(
        self,
        config: StoreConfig,
        catalog: Catalog,
        reader: SegmentReader,
        counters: Counters,
        mirror: LanceMirror,
        generation: Callable[[], int],
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._reader = reader
        self._counters = counters
        self._mirror = mirror
        self._generation = generation
        self._results = ResultCache(config.result_cache_entries, catalog, reader, generation)

    @property
    def result_bytes(self) -> int:
        """Bytes of the results that are kept."""
        return self._results.nbytes

    def search(
        self, queries: NDArray[np.float32], k: int, metric: str, prefix: str | None
    ) -> list[list[Hit]]:
        """The k nearest to each query of shape (count, dimension).

        Raises
        ------
        InvalidInputError
            BAD_K, BAD_METRIC, SEARCH_OFF, NON_FINITE, WRONG_DIMENSION, KEY_NOT_TEXT (the prefix).
        CorruptionError
            A vector that may belong to the result cannot be read, or a row would hide others.
        """
        wanted = self._checked_metric(k, metric)
        k = int(k)  # a narrow integer of numpy's would overflow where it is multiplied
        _check_prefix(prefix)
        if not len(queries):
            return []
        self._check_queries(queries)
        self._counters.searches += len(queries)
        hits: list[list[Hit] | None] = [
            self._results.get(query, k, wanted, prefix) for query in queries
        ]
        open_places = [place for place, found in enumerate(hits) if found is None]
        self._counters.result_hits += len(queries) - len(open_places)
        if open_places:
            answers = self._answer(quantise(queries[open_places]), k, wanted, prefix)
            for place, answer in zip(open_places, answers, strict=True):
                hits[place] = answer
        return [found for found in hits if found is not None]

    def _checked_metric(self, k: int, metric: str) -> Metric:
        if not self._config.search:
            raise InvalidInputError(
                "the setting search is off: switch it on, and let maintain() add the codes of what "
                "was stored meanwhile",
                ErrorKind.SEARCH_OFF,
            )
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise InvalidInputError(f"k: {k!r}, wanted a number from 1 on", ErrorKind.BAD_K)
        for known in get_args(Metric):
            if metric == known:
                return known  # type: ignore[no-any-return]  # one of the Literal's own values
        raise InvalidInputError(
            f"metric: {metric!r}, wanted {', '.join(get_args(Metric))}", ErrorKind.BAD_METRIC
        )

    def _check_queries(self, queries: NDArray[np.float32]) -> None:
        if not np.isfinite(queries).all():
            raise InvalidInputError("a query holds NaN or infinity", ErrorKind.NON_FINITE)
        dimension = queries.shape[1]
        wanted = self._config.dimension
        if wanted is not None and wanted != dimension:
            raise _wrong_dimension(dimension, {wanted})

    def _answer(
        self, queries: Queries, k: int, metric: Metric, prefix: str | None
    ) -> list[list[Hit]]:
        dimension = queries.vectors.shape[1]
        stale: set[Address] = set()
        revivals = -1
        tries_by_marks = _TRIES_BY_MARKS
        for attempt in itertools.count():
            self._counters.search_retries += attempt > 0
            generation = self._generation()
            change = self._catalog.last_change()
            try:
                scope = look(
                    self._catalog,
                    self._reader,
                    dimension,
                    prefix,
                    by_catalog=attempt >= tries_by_marks,
                )
            except CorruptionError as error:
                if error.kind is not ErrorKind.MISSING_SEGMENT or attempt >= _TRIES_MAX:
                    raise
                continue
            if scope.revivals != revivals:  # what was stale a moment ago may be current again
                stale, revivals = set(), scope.revivals
            scope.without(stale)
            scan = FlatScan(self._reader, scope, metric, queries)
            near: list[list[Address]] = []
            if attempt < tries_by_marks:
                near = self._by_index(queries, k, metric, prefix, scope)
            near = [[at for at in each if at not in stale] for each in near]
            found = scan.nearest(k, near)
            gone = self._not_current(found, scan.broken, scope)
            if gone is None:
                continue
            if attempt < tries_by_marks:
                is_of_one_moment = not gone and generation == self._generation()
            else:
                is_of_one_moment = not scan.broken
            if is_of_one_moment:
                if not scope.is_short or attempt >= tries_by_marks:
                    break
                self._refuse_missing_rows()
                tries_by_marks = 0  # all rows are there, so marks are lost: `check` lists them
            stale |= gone
        hits = [[Hit(each.key, each.distance) for each in nearest] for nearest in found]
        if not scope.has_rows and not any(found):
            self._refuse_other_dimension(dimension)
            return hits  # not kept: the first vector, of whatever dimension, alters it
        for query, nearest in zip(queries.vectors, found, strict=True):
            self._results.put(query, k, metric, prefix, nearest, scope, change)
        return hits

    def _by_index(
        self, queries: Queries, k: int, metric: Metric, prefix: str | None, scope: Scope
    ) -> list[list[Address]]:
        """What a Lance table proposes for each query, and only later rows left in the scope.

        Nothing where the store is small, or narrowed to documents, or the table cannot answer.
        """
        rows = sum(int(np.count_nonzero(mask)) for _, mask in scope.planes)
        if prefix is not None or scope.rowless or not self._mirror.is_wanted(rows):
            return []
        answer = self._mirror.near(queries.vectors, k, metric)
        if answer is None:
            return []
        watermark, near = answer
        for plane, mask in scope.planes:
            positions = (plane.number << 32) + plane.rows["offset"].astype(np.int64)
            mask &= positions >= watermark
        return near

    def _refuse_missing_rows(self) -> None:
        damage = missing_rows(self._catalog, self._reader)
        if damage is not None:
            raise damage

    def _refuse_other_dimension(self, dimension: int) -> None:
        """Raise unless the store is empty or has a vector of the query's dimension."""
        known = dimensions(self._catalog, self._reader)
        if known and dimension not in known:
            raise _wrong_dimension(dimension, known)

    def _not_current(
        self,
        found: Sequence[Sequence[Found]],
        broken: dict[Address, StoreError],
        scope: Scope,
    ) -> set[Address] | None:
        """Addresses among the results that the catalog does not lead to; None: look again."""
        distinct = list({each.address: each for nearest in found for each in nearest}.values())
        fingerprints = [stored_key(each.key).fingerprint() for each in distinct]
        with self._catalog.reading() as view:
            if not scope.is_whole(view):
                return None
            places = view.lookup_many(fingerprints)
            current = view.offsets_of({at.segment for at in broken}) if broken else {}
        for at, error in broken.items():
            if at.offset in current[at.segment]:
                raise error
        gone = {
            each.address
            for each, addresses in zip(distinct, places, strict=True)
            if each.address not in addresses
        }
        return gone | set(broken)


def _check_prefix(prefix: object) -> None:
    if prefix is None:
        return
    if not isinstance(prefix, str):
        raise InvalidInputError(
            f"document_prefix is a str, got {type(prefix).__name__}", ErrorKind.KEY_NOT_TEXT
        )
    try:
        prefix.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"document_prefix must be encodable as UTF-8: {error}", ErrorKind.KEY_NOT_TEXT
        ) from error


def _wrong_dimension(dimension: int, known: set[int]) -> InvalidInputError:
    shown = ", ".join(map(str, sorted(known)))
    return InvalidInputError(
        f"a query of dimension {dimension}; vectors of the store have {shown}",
        ErrorKind.WRONG_DIMENSION,
    )


def _wrong_dtype(seen: object) -> InvalidInputError:
    return InvalidInputError(
        f"a query is a numpy float32 array, got {seen}; convert it where you can see the "
        "rounding: numpy.asarray(x, numpy.float32)",
        ErrorKind.WRONG_DTYPE,
    )


def checked_queries(queries: object) -> NDArray[np.float32]:
    """Queries as a C-contiguous float32 array of shape (count, dimension).

    Raises
    ------
    InvalidInputError
        WRONG_DTYPE, WRONG_SHAPE.
    """
    if isinstance(queries, (list, tuple)):
        rows = list(queries)
        if all(isinstance(row, np.ndarray) for row in rows):
            shapes = {row.shape for row in rows}
            if len(shapes) > 1:
                raise InvalidInputError(
                    f"queries of different shapes: {sorted(shapes)}", ErrorKind.WRONG_SHAPE
                )
            for row in rows:
                if row.dtype != np.float32:  # stacking would widen float16
                    raise _wrong_dtype(row.dtype)
            queries = np.stack(rows) if rows else np.empty((0, 1), np.float32)
    if not isinstance(queries, np.ndarray):
        raise _wrong_dtype(type(queries).__name__)
    if queries.dtype != np.float32:
        raise _wrong_dtype(queries.dtype)
    if queries.ndim != 2 or not 0 < queries.shape[1] <= DIMENSION_MAX:
        raise InvalidInputError(
            f"queries have shape (count, dimension), got {queries.shape}", ErrorKind.WRONG_SHAPE
        )
    return np.ascontiguousarray(queries).view(np.ndarray)
