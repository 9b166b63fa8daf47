"""The exact scan: every code is looked at, every vector that could be among the nearest is decoded.

The intervals of `quantise.intervals` hold the distances, so a row whose lower bound lies above the
k-th smallest upper bound cannot belong to the result. What is left, some 15 to 60 rows, is decoded
and scored in float64, whose own error is bounded the same way; what could still be among the k
nearest is scored exactly. The result is that of an exhaustive search, ties included.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

from titanstore.codec.choose import decode_frames
from titanstore.errors import CorruptionError
from titanstore.search.distance import Metric, distances, plain_bounds
from titanstore.search.quantise import Queries, Rows, intervals
from titanstore.search.scope import Scope
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader
from titanstore.sums import Wide

# numkong's packed product reads the rows once for all queries, and is several times faster than
# one product a query; beyond the caches its order of access loses: 12 ms against 2 * 3.3 at 100 MB.
_PACKED_BYTES_MAX = 24_000_000
_CELLS_MAX = 500_000  # scores held at a time: 8 bytes each, in some four arrays
_FINALISTS_MAX = 256  # results worked out at a time: some 2 decoded vectors each are held
_ROWLESS_AT_ONCE = 256
_ROOM_BYTES = 300_000
_DECODED_BYTES = 16_000  # vectors decoded at a time; larger blocks leave larger holes in the heap


class Found(NamedTuple):
    """One near vector, not yet verified to be current."""

    distance: float
    key: str
    address: Address


class _Decoded(NamedTuple):
    """A record that was read, and found whole and finite."""

    key: str
    vector: NDArray[np.float32]


class _Room:
    """Room for a few widened vectors and what is worked out from them, in pages of its own.

    malloc keeps, for as long as the process lives, about as much as the largest search once needed;
    these pages go back to the system with the search.
    """

    def __init__(self, dimension: int) -> None:
        self.rows = max(1, _ROOM_BYTES // (24 * dimension))
        pages = mmap.mmap(-1, 24 * self.rows * dimension)
        self._arrays = np.frombuffer(pages, np.float64).reshape(3, self.rows, dimension)

    def widened(self, vectors: Sequence[NDArray[np.float32]]) -> Iterator[Wide]:
        """Vectors as float64, a few at a time; the next ones take the same place."""
        for first in range(0, len(vectors), self.rows):
            part = vectors[first : first + self.rows]
            yield np.stack(part, out=self._arrays[0, : len(part)])

    def beside(self, block: Wide) -> tuple[Wide, Wide]:
        """Two more arrays of the shape of a block that `widened` gave."""
        return self._arrays[1, : len(block)], self._arrays[2, : len(block)]


class Shortlist:
    """Records that were decoded for one query, with bounds of their distances.

    Attributes
    ----------
    query
        Widened.
    limit
        A bound that the distance of the k-th nearest does not pass; infinity below k records.
    """

    def __init__(self, queries: Queries, place: int, metric: Metric, k: int, room: _Room) -> None:
        self._room = room
        self.query = queries.wide[place]
        self.limit = np.inf
        self._square = float(queries.squares[place])
        self._metric: Metric = metric
        self._k = k
        self._bounds: dict[Address, tuple[float, float]] = {}

    def add(self, addresses: Sequence[Address], vectors: Sequence[NDArray[np.float32]]) -> None:
        """Look at more records."""
        known = iter(addresses)
        for block in self._room.widened(vectors):
            lower, upper = plain_bounds(self._metric, block, self.query, self._square)
            self._bounds.update(
                (next(known), bounds) for bounds in zip(lower.tolist(), upper.tolist(), strict=True)
            )
        if len(self._bounds) >= self._k:
            self.limit = sorted(upper for _, upper in self._bounds.values())[self._k - 1]
            self._bounds = {at: b for at, b in self._bounds.items() if b[0] <= self.limit}

    def finalists(self) -> list[Address]:
        """Those that could be among the k nearest."""
        return list(self._bounds)


class FlatScan:
    """Scans one scope for queries of one dimension. Made for one search, by one thread."""

    def __init__(self, reader: SegmentReader, scope: Scope, metric: Metric, dimension: int) -> None:
        self._room = _Room(dimension)
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

    def _nearest(self, queries: Queries, k: int, more: list[list[Address]]) -> list[list[Found]]:
        places = range(len(more))
        lists = [Shortlist(queries, place, self._metric, k, self._room) for place in places]
        for first in range(0, len(self._scope.rowless), _ROWLESS_AT_ONCE):
            chunk = self._scope.rowless[first : first + _ROWLESS_AT_ONCE]
            self._extend(lists, [chunk for _ in lists])
            kept = {at for each in lists for at in each.finalists()}
            self._decoded = {at: self._decoded[at] for at in kept}
        ids, lower, upper = self._bounds(queries)
        if ids.size:
            at_most = np.partition(upper, k - 1)[:, k - 1] if ids.size > k else upper.max(axis=1)
            open_ids = [np.flatnonzero(lower[place] <= at_most[place]) for place in places]
            # those that are surely near first: their distances rule out many of the others
            sure = [_smallest(upper[place], open_ids[place], k) for place in places]
            for place in places:
                more[place] += self._addresses(ids[sure[place]])
            self._extend(lists, more)
            for place in places:
                rest = np.setdiff1d(open_ids[place], sure[place], assume_unique=True)
                rest = rest[lower[place, rest] <= lists[place].limit]
                more[place] = self._addresses(ids[rest])
        self._extend(lists, more)
        return [self._exact(each, k) for each in lists]

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

    def _extend(self, lists: Sequence[Shortlist], more: Sequence[Sequence[Address]]) -> None:
        """Decode records and give each shortlist its own of them."""
        self._decode([at for each in more for at in each], lists[0].query.size)
        for shortlist, addresses in zip(lists, more, strict=True):
            fresh = [at for at in dict.fromkeys(addresses) if at in self._decoded]
            shortlist.add(fresh, [self._decoded[at].vector for at in fresh])

    def _exact(self, shortlist: Shortlist, k: int) -> list[Found]:
        """The k nearest of a shortlist in order."""
        nearest = shortlist.finalists()
        vectors = [self._decoded[at].vector for at in nearest]
        exact: list[float] = []
        for block in self._room.widened(vectors):
            room = self._room.beside(block)
            exact += distances(self._metric, block, shortlist.query, room).tolist()
        found = [
            Found(distance, self._decoded[at].key, at)
            for distance, at in zip(exact, nearest, strict=True)
        ]
        return sorted(found)[:k]

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
        step = max(1, _DECODED_BYTES // (4 * dimension))
        for first in range(0, len(records), step):
            self._decode_block(records[first : first + step], dimension)

    def _decode_block(self, records: Sequence[tuple[Address, Record]], dimension: int) -> None:
        vectors = np.empty((len(records), dimension), np.float32)
        try:
            frames = [record.frame for _, record in records]
            decode_frames(frames, vectors, [record.header for _, record in records])
        except CorruptionError as error:
            at, record = records[0]
            if len(records) > 1:
                for each in records:
                    self._decode_block([each], dimension)
            else:
                named = f"key {record.key.text!r}: {error}"
                self.broken[at] = CorruptionError(named, error.kind)
            return
        finite = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        for (at, record), vector, is_finite in zip(records, vectors, finite, strict=True):
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
