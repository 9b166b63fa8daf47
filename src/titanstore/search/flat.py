"""The exact scan: every code is looked at, every vector that could be among the nearest is decoded.

The intervals of `quantise.intervals` hold the distances, so a row whose lower bound lies above the
k-th smallest upper bound cannot belong to the result. What is left, some 15 to 60 rows, is decoded
and scored in float64, whose own error is bounded the same way; what could still be among the k
nearest is scored exactly. The result is that of an exhaustive search, ties included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

from titanstore.codec.choose import decode_frames
from titanstore.errors import CorruptionError
from titanstore.search.distance import Metric, Wide, distances, plain_bounds
from titanstore.search.quantise import Queries, Rows, intervals
from titanstore.search.scope import Scope
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader

# numkong's packed product reads the rows once for all queries, and is several times faster than
# one product a query; beyond the caches its order of access loses: 12 ms against 2 * 3.3 at 100 MB.
_PACKED_BYTES_MAX = 24_000_000
_CELLS_MAX = 500_000  # scores held at a time: 8 bytes each, in some four arrays
_FINALISTS_MAX = 256  # results worked out at a time: some 2 decoded vectors each are held
_ROWLESS_AT_ONCE = 256


class Found(NamedTuple):
    """One near vector, not yet verified to be current."""

    distance: float
    key: str
    address: Address


class _Decoded(NamedTuple):
    """A record that was read, and found whole and finite."""

    key: str
    vector: NDArray[np.float64]  # widened


class FlatScan:
    """Scans one scope for queries of one dimension. Made for one search, by one thread."""

    def __init__(self, reader: SegmentReader, scope: Scope, metric: Metric) -> None:
        self._reader = reader
        self._scope = scope
        self._metric: Metric = metric
        self._decoded: dict[Address, _Decoded] = {}
        # what rows led to that cannot be read; of no consequence unless they are current
        self.broken: dict[Address, CorruptionError] = {}

    def nearest(
        self, queries: Queries, k: int, more: Sequence[Sequence[Address]] = ()
    ) -> list[list[Found]]:
        """The k nearest to each query in order of (distance, key); fewer if there are fewer.

        `more` are records that are looked at as well, for each query.
        """
        total = sum(len(mask) for _, mask in self._scope.planes)
        step = max(1, min(_CELLS_MAX // max(1, total), _FINALISTS_MAX // k))
        found: list[list[Found]] = []
        for first in range(0, len(queries.vectors), step):
            part = queries.some(slice(first, first + step))
            near = [list(each) for each in more[first : first + step]]
            found += self._nearest(part, k, near or [[] for _ in part.vectors])
            self._decoded.clear()
        return found

    def _nearest(self, queries: Queries, k: int, near: list[list[Address]]) -> list[list[Found]]:
        places = range(len(near))
        for first in range(0, len(self._scope.rowless), _ROWLESS_AT_ONCE):
            chunk = self._scope.rowless[first : first + _ROWLESS_AT_ONCE]
            near, _ = self._narrow(queries, k, [[*each, *chunk] for each in near])
            self._keep_decoded(near)
        ids, lower, upper = self._bounds(queries)
        if ids.size:
            at_most = np.partition(upper, k - 1)[:, k - 1] if ids.size > k else upper.max(axis=1)
            open_ids = [np.flatnonzero(lower[place] <= at_most[place]) for place in places]
            # those that are surely near first: their distances rule out many of the others
            sure = [_smallest(upper[place], open_ids[place], k) for place in places]
            near = [near[place] + self._addresses(ids[sure[place]]) for place in places]
            near, limits = self._narrow(queries, k, near)
            for place in places:
                rest = np.setdiff1d(open_ids[place], sure[place], assume_unique=True)
                rest = rest[lower[place, rest] <= limits[place]]
                near[place] += self._addresses(ids[rest])
        near, _ = self._narrow(queries, k, near)
        return self._exact(queries, near, k)

    # -- by codes --------------------------------------------------------------------------

    def _bounds(self, queries: Queries) -> tuple[NDArray[np.intp], Wide, Wide]:
        """Rows that count, numbered through all planes, and bounds of their distances.

        Shapes (rows,), (queries, rows), (queries, rows).
        """
        parts = []
        base = 0
        for plane, mask in self._scope.planes:
            rows = np.flatnonzero(mask)
            if rows.size:
                lower, upper = score_rows(plane.rows, queries, self._metric)
                if rows.size < mask.size:
                    lower, upper = lower[:, rows], upper[:, rows]
                parts.append((rows + base, lower, upper))
            base += mask.size
        if len(parts) == 1:
            return parts[0]
        if not parts:
            nothing = np.empty((len(queries.vectors), 0))
            return np.empty(0, np.intp), nothing, nothing
        ids, lower, upper = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
        return ids, lower, upper

    def _addresses(self, ids: NDArray[np.intp]) -> list[Address]:
        """Where the records of rows are, given their numbers through all planes."""
        found = []
        base = 0
        for plane, mask in self._scope.planes:
            rows = ids[(ids >= base) & (ids < base + mask.size)] - base
            found += [Address(plane.number, at) for at in plane.rows["offset"][rows].tolist()]
            base += mask.size
        return found

    # -- by vectors ------------------------------------------------------------------------

    def _narrow(
        self, queries: Queries, k: int, near: Sequence[Sequence[Address]]
    ) -> tuple[list[list[Address]], list[float]]:
        """For each query, of these records those that could be among its k nearest, by plain
        float64 arithmetic; and a bound that the distance of the k-th does not pass."""
        self._decode([at for each in near for at in each], queries.vectors.shape[1])
        kept: list[list[Address]] = []
        limits: list[float] = []
        for place, each in enumerate(near):
            whole = [at for at in dict.fromkeys(each) if at in self._decoded]
            limit = np.inf
            if len(whole) >= k:
                vectors = np.stack([self._decoded[at].vector for at in whole])
                query, square = queries.wide[place], float(queries.squares[place])
                lower, upper = plain_bounds(self._metric, vectors, query, square)
                limit = float(np.partition(upper, k - 1)[k - 1])
                whole = [whole[index] for index in np.flatnonzero(lower <= limit).tolist()]
            kept.append(whole)
            limits.append(limit)
        return kept, limits

    def _keep_decoded(self, near: Sequence[Sequence[Address]]) -> None:
        """Let go of all decoded vectors but these."""
        self._decoded = {at: self._decoded[at] for each in near for at in each}

    def _exact(
        self, queries: Queries, finalists: Sequence[Sequence[Address]], k: int
    ) -> list[list[Found]]:
        """The finalists of each query in order, at most k of them."""
        counts = [len(each) for each in finalists]
        if not sum(counts):
            return [[] for _ in finalists]
        flat = [self._decoded[at] for each in finalists for at in each]
        vectors = np.stack([each.vector for each in flat])
        of_query = np.repeat(np.arange(len(counts)), counts)
        exact = iter(distances(self._metric, vectors, queries.wide, of_query).tolist())
        found = []
        for each in finalists:
            nearest = [Found(next(exact), self._decoded[at].key, at) for at in each]
            found.append(sorted(nearest)[:k])
        return found

    def _decode(self, addresses: Sequence[Address], dimension: int) -> None:
        """Decode records into `_decoded`; those that cannot be read go to `broken`."""
        records: list[tuple[Address, Record]] = []
        for at in dict.fromkeys(addresses):
            if at in self._decoded:
                continue
            try:
                record = self._reader.record(at)
            except CorruptionError as error:
                self.broken[at] = error
                continue
            if record.header.dimension == dimension:
                records.append((at, record))
        if not records:
            return
        vectors = np.empty((len(records), dimension), np.float32)
        try:
            frames = [record.frame for _, record in records]
            decode_frames(frames, vectors, [record.header for _, record in records])
        except CorruptionError as error:
            if len(records) == 1:
                key = records[0][1].key.text
                self.broken[records[0][0]] = CorruptionError(f"key {key!r}: {error}", error.kind)
                return
            for at, _ in records:
                self._decode([at], dimension)
            return
        finite = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        vectors[~finite] = 0  # widening a signalling NaN would warn
        wide = vectors.astype(np.float64)
        for (at, record), vector, is_finite in zip(records, wide, finite, strict=True):
            if is_finite:
                self._decoded[at] = _Decoded(record.key.text, vector)


def _smallest(values: Wide, chosen: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """The `count` of the chosen places that have the smallest values."""
    if chosen.size <= count:
        return chosen
    return chosen[np.argpartition(values[chosen], count - 1)[:count]]


def score_rows(rows: NDArray[Any], queries: Queries, metric: Metric) -> tuple[Wide, Wide]:
    """Bounds of the distances between queries and rows of a plane, each (queries, rows).

    Rows that are not searchable have NaN.
    """
    count = len(queries.vectors)
    codes = rows["codes"]
    if count == 1 and codes.nbytes > _PACKED_BYTES_MAX:
        dots = np.asarray(numkong.cdist(queries.parts, codes, metric="dot"), np.float64)
    else:
        packed = numkong.dots_packed(codes, numkong.dots_pack(queries.parts))
        dots = np.asarray(packed).T.astype(np.float64, order="C")
    return intervals(metric, queries, dots[:count], dots[count:], Rows.of(rows))
