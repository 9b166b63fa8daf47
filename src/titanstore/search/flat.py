"""The exact scan: every code is looked at, every vector that could be among the nearest is decoded.

The intervals of `quantise.intervals` hold the distances, so a row whose lower bound lies above the
k-th smallest upper bound cannot belong to the result. Codes are looked at in blocks, and of each
only the rows are kept that the blocks so far do not rule out: no array is as long as the store has
rows, and malloc keeps what the longest one took (reports/decisions/0019). Of what is left, the rows
that are surely near are decoded first: their exact distances rule out most of the others. The
result is that of an exhaustive search, ties included.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

from titanstore.codec.choose import decode_frames, decode_parsed
from titanstore.errors import CorruptionError, NewerFormatError, StoreError
from titanstore.search.distance import Metric, distances
from titanstore.search.quantise import Queries, Rows, intervals
from titanstore.search.scope import Scope
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader
from titanstore.sums import Wide

# Scores worked out at a time: arrays of 128 kB and less, which malloc takes from its heap
_BLOCK_CELLS = 16_384
_BLOCK_ROWS_MIN = 256  # for many queries at once
_QUERIES_MAX = 64  # looked at together: as many as such a block has cells for
_HELD_MAX = 60_000  # results held at a time, of those queries together
# a store of a later release is not opened, so a single frame that claims to be of one is damaged
_UNREADABLE = (CorruptionError, NewerFormatError)
_ROWLESS_AT_ONCE = 256
_BLOCK_VALUES = 10_240  # decoded at a time: all that is surely near a query of 1 024 dimensions
_BATCH_BLOCK_VALUES = 16_384  # the same for many queries; with 20 bytes each, within the caches


class Found(NamedTuple):
    """One near vector, not yet verified to be current."""

    distance: float
    key: str
    address: Address


class _Open(NamedTuple):
    """Rows that may be among the nearest, with bounds of their distances."""

    rows: NDArray[np.intp]
    lower: Wide
    upper: Wide


class _Room:
    """Room for a few decoded vectors and what is worked out from them, in pages of its own.

    malloc keeps, for as long as the process lives, about as much as the largest search once needed;
    these pages go back to the system with the search. The kernel gives them all at once: page by
    page, as they are touched, takes twice as long.
    """

    def __init__(self, dimension: int, queries: int) -> None:
        values = _BLOCK_VALUES if queries == 1 else _BATCH_BLOCK_VALUES
        self.rows = max(1, values // dimension)
        values = self.rows * dimension
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        pages = mmap.mmap(-1, 20 * values, flags=flags)
        wide = np.frombuffer(pages, np.float64, 2 * values).reshape(2, self.rows, dimension)
        self.terms, self.work = wide
        self.vectors = np.frombuffer(pages, np.float32, -1, 16 * values).reshape(wide.shape[1:])


class FlatScan:
    """Scans one scope for queries of one dimension. Made for one search, by one thread."""

    def __init__(
        self, reader: SegmentReader, scope: Scope, metric: Metric, queries: Queries
    ) -> None:
        self._queries = queries
        self._reader = reader
        self._scope = scope
        self._metric: Metric = metric
        # what rows led to that cannot be read; of no consequence unless they are current
        self.broken: dict[Address, StoreError] = {}

    def nearest(self, k: int, more: Sequence[Sequence[Address]] = ()) -> list[list[Found]]:
        """The k nearest to each query in order of (distance, key); fewer if there are fewer.

        `more` are records that are looked at as well, for each query.
        """
        count, dimension = self._queries.vectors.shape
        step = max(1, _HELD_MAX // max(1, min(len(self._scope.rowless), _ROWLESS_AT_ONCE)))
        step = min(step, _QUERIES_MAX)
        self._room = _Room(dimension, count)
        try:
            if count <= step:
                return self._nearest(self._queries, k, more)
            slices = [slice(first, first + step) for first in range(0, count, step)]
            turns = (self._nearest(self._queries.some(part), k, more[part]) for part in slices)
            return [found for turn in turns for found in turn]
        finally:
            del self._room  # an error in `broken`, once raised, holds this object for a while

    def _nearest(
        self, queries: Queries, k: int, more: Sequence[Sequence[Address]]
    ) -> list[list[Found]]:
        places = range(len(queries.vectors))
        near: list[dict[Address, Found]] = [{} for _ in places]
        for first in range(0, len(self._scope.rowless), _ROWLESS_AT_ONCE):
            chunk = self._scope.rowless[first : first + _ROWLESS_AT_ONCE]
            self._measure(queries, [chunk for _ in places], near)
            near = [{each.address: each for each in sorted(one.values())[:k]} for one in near]
        at_most, open_rows = self._candidates(queries, k)
        # those that are surely near first: their distances rule out many of the others
        sure = [self._addresses(one.rows[one.upper <= at_most[place]]) for place, one in open_rows]
        self._measure(queries, [[*a, *b] for a, b in zip_longest(sure, more, fillvalue=())], near)
        limits = [
            min(at_most[place], sorted(near[place].values())[k - 1].distance)
            if len(near[place]) >= k
            else at_most[place]
            for place in places
        ]
        rest = [
            self._addresses(one.rows[(one.lower <= limits[place]) & (one.upper > at_most[place])])
            for place, one in open_rows
        ]
        self._measure(queries, rest, near)
        return [sorted(one.values())[:k] for one in near]

    # -- by codes --------------------------------------------------------------------------

    def _candidates(self, queries: Queries, k: int) -> tuple[Wide, list[tuple[int, _Open]]]:
        """The k-th smallest upper bound of each query, and the rows that it does not rule out.

        Rows are numbered through all planes and ascend. Infinity where there are fewer than k.
        """
        count = len(queries.vectors)
        k = min(k, 1 + sum(mask.size for _, mask in self._scope.planes))
        nearest = np.full((count, k), np.inf)  # upper bounds, the largest of each query last
        parts: list[tuple[NDArray[np.intp], _Open]] = []
        size = max(_BLOCK_ROWS_MIN, _BLOCK_CELLS // count)
        base = 0
        for plane, mask in self._scope.planes:
            for first in range(0, mask.size, size):
                block = slice(first, first + size)
                lower, upper = score_rows(plane.rows[block], queries, self._metric)
                if not mask[block].all():
                    for each in (lower, upper):
                        each[:, ~mask[block]] = np.nan  # less than nothing, and sorted last
                seen = np.concatenate([nearest, upper], axis=1)
                seen.partition(k - 1, axis=1)
                nearest = seen[:, :k].copy()
                places, rows = np.nonzero(lower <= nearest[:, k - 1 :])
                if places.size:
                    bounds = lower[places, rows], upper[places, rows]
                    parts.append((places, _Open(rows + (base + first), *bounds)))
            base += mask.size
        at_most = nearest[:, k - 1].copy()
        if not parts:
            return at_most, []
        of = np.concatenate([places for places, _ in parts])
        every = _Open(
            np.concatenate([one.rows for _, one in parts]),
            np.concatenate([one.lower for _, one in parts]),
            np.concatenate([one.upper for _, one in parts]),
        )
        is_open = every.lower <= at_most[of]
        return at_most, [
            (place, _Open(*(each[is_open & (of == place)] for each in every)))
            for place in range(count)
        ]

    def _addresses(self, rows: NDArray[np.intp]) -> list[Address]:
        """Where the records of rows are that are numbered through all planes and ascend."""
        found: list[Address] = []
        base = 0
        for plane, mask in self._scope.planes:
            own = rows[len(found) :]
            own = own[: np.searchsorted(own, base + mask.size)] - base
            found += [Address(plane.number, at) for at in plane.rows["offset"][own].tolist()]
            base += mask.size
        return found

    # -- by vectors ------------------------------------------------------------------------

    def _measure(
        self,
        queries: Queries,
        wanted: Sequence[Iterable[Address]],
        near: Sequence[dict[Address, Found]],
    ) -> None:
        """Put the distances of records from the queries that want them into `near`.

        Records that cannot be read go to `broken`; those of other dimensions are left out.
        """
        askers: dict[Address, list[int]] = {}
        for place, addresses in enumerate(wanted):
            for at in addresses:
                if at not in near[place]:
                    askers.setdefault(at, []).append(place)
        waiting = sorted(askers)
        for first in range(0, len(waiting), self._room.rows):
            known, vectors = self._decoded(waiting[first : first + self._room.rows])
            pairs = [(row, place) for row, (at, _) in enumerate(known) for place in askers[at]]
            exact = self._distances(vectors, queries, pairs)
            for (row, place), distance in zip(pairs, exact, strict=True):
                at, key = known[row]
                near[place][at] = Found(distance, key, at)

    def _distances(
        self,
        vectors: NDArray[np.float32],
        queries: Queries,
        pairs: Sequence[tuple[int, int]],
    ) -> list[float]:
        """Of each pair of a row of `vectors` and a query."""
        room = (self._room.terms, self._room.work)
        if len(queries.vectors) == 1:
            exact = distances(self._metric, vectors, queries.wide[0], queries.squares, room)
            return list(exact.tolist())
        found: list[float] = []
        for first in range(0, len(pairs), self._room.rows):
            part = pairs[first : first + self._room.rows]
            rows, places = ([pair[side] for pair in part] for side in (0, 1))
            exact = distances(
                self._metric, vectors[rows], queries.wide[places], queries.squares[places], room
            )
            found += exact.tolist()
        return found

    def _decoded(
        self, addresses: Sequence[Address]
    ) -> tuple[list[tuple[Address, str]], NDArray[np.float32]]:
        """Address and key of each record that can be read, and their vectors, in the room."""
        room = self._room.vectors
        records: list[tuple[Address, Record]] = []
        for at in addresses:
            try:
                record = self._reader.record(at)
            except _UNREADABLE as error:
                self.broken[at] = error
                continue
            if record.header.dimension == room.shape[1]:
                records.append((at, record))
        vectors = room[: len(records)]
        try:
            decode_frames(
                [record.frame for _, record in records],
                vectors,
                [record.header for _, record in records],
            )
        except _UNREADABLE:
            is_good = [self._decode_one(row, *each) for row, each in enumerate(records)]
        else:
            is_good = np.logical_and.reduce(np.isfinite(vectors), axis=1).tolist()
        if not all(is_good):
            vectors = vectors[is_good]
            records = [each for each, good in zip(records, is_good, strict=True) if good]
        return [(at, record.key.text) for at, record in records], vectors

    def _decode_one(self, row: int, at: Address, record: Record) -> bool:
        """Decode a record into a row of the room; False if it cannot be, or is not finite."""
        vector = self._room.vectors[row]
        try:
            decode_parsed(record.frame, record.header, vector)
        except _UNREADABLE as error:
            self.broken[at] = type(error)(f"key {record.key.text!r}: {error}", error.kind)
            return False
        return bool(np.isfinite(vector).all())


def score_rows(rows: NDArray[Any], queries: Queries, metric: Metric) -> tuple[Wide, Wide]:
    """Bounds of the distances between queries and rows of a plane, each (queries, rows).

    Rows that are not searchable have NaN.
    """
    count = len(queries.vectors)
    codes = rows["codes"]
    if count == 1:
        # reads row by row, as the hardware prefetches; the packed product, for both parts in one
        # go, is faster only where the codes lie in the second-level cache: 0.32 against 0.46 ms for
        # 10 000 rows there, 0.92 against 0.57 elsewhere
        dots = np.asarray(numkong.cdist(queries.parts, codes, metric="dot"), np.float64)
    else:
        packed = numkong.dots_packed(codes, numkong.dots_pack(queries.parts))
        dots = np.asarray(packed).T.astype(np.float64, order="C")
    # what a damaged row says of itself may be any number: its vector has the say, not a warning
    with np.errstate(all="ignore"):
        return intervals(metric, queries, dots[:count], dots[count:], Rows.of(rows))
