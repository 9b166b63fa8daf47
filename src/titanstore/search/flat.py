"""The exact scan: every code is looked at, every vector that could be among the nearest is decoded.

The intervals of `quantise.intervals` hold the distances, so a row whose lower bound lies above the
k-th smallest upper bound cannot belong to the result. Codes are looked at in blocks, and of each
only the rows are kept that the blocks so far do not rule out: no array is as long as the store has
rows, and malloc keeps what the longest one took (reports/decisions/0019). Where that leaves very
many, equal vectors say, they are measured on the way. Of what is left, the rows that are surely
near are decoded first: their exact distances rule out most of the others. The result is that of an
exhaustive search, ties included.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numkong
import numpy as np
from numpy.typing import NDArray

from titanstore.codec.choose import decode_frames, decode_parsed
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError, StoreError
from titanstore.search.distance import Metric, distances
from titanstore.search.mask import blank_mask
from titanstore.search.open_rows import OpenRows, chosen_indices, joined, open_rows
from titanstore.search.quantise import Queries, Rows, Scores, intervals
from titanstore.search.room import Room
from titanstore.search.scope import Scope
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader
from titanstore.sums import Wide

# Scores worked out at a time: what else they need in the heap stays below 128 KiB. A larger array
# comes from the kernel, and once freed raises what malloc keeps (reports/decisions/0019)
_BLOCK_CELLS = 8_000
_BLOCK_ROWS_MIN = 256  # for many queries at once
_QUERIES_MAX = 64  # looked at together: as many as such a block has cells for
# a store of a later release is not opened, so a single frame that claims to be of one is damaged
_UNREADABLE = (CorruptionError, NewerFormatError)
_WANTED_AT_ONCE = 256  # records: what is known of each takes half a kilobyte of small objects
_OPEN_MAX, _OPEN_MAX_A_RESULT = 4_096, 16  # rows that are left open at a time
_PARTS_MAX = 4  # of what blocks leave open, until what later ones rule out is dropped


class Found(NamedTuple):
    """One near vector, not yet verified to be current."""

    distance: float
    key: str
    address: Address


class _Nearest:
    """The nearest of what one query was measured against, k at most; in order once there are k."""

    __slots__ = ("_addresses", "found")

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._addresses: set[Address] = set()

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, at: Address) -> bool:
        return at in self._addresses

    def add(self, one: Found, k: int) -> None:
        """Put one in its place, which takes that of the last one away where there are k.

        Sorting all k after each portion took a third of a search of many queries with a large k.
        """
        self._addresses.add(one.address)
        if len(self.found) < k:
            self.found.append(one)
            if len(self.found) == k:
                self.found.sort()
        else:
            insort(self.found, one)
            self._addresses.remove(self.found.pop().address)


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
        self._has_settled = False  # rows that are no longer known, in this scan

    def nearest(self, k: int, more: Sequence[Sequence[Address]] = ()) -> list[list[Found]]:
        """The k nearest to each query in order of (distance, key); fewer if there are fewer.

        `more` are records that are looked at as well, for each query.
        """
        count, dimension = self._queries.vectors.shape
        together = min(count, _QUERIES_MAX)
        longest = max((mask.size for _, mask in self._scope.planes), default=0)
        self._block_rows = max(1, min(longest, max(_BLOCK_ROWS_MIN, _BLOCK_CELLS // together)))
        self._room = Room(dimension, together, self._block_rows)
        try:
            if count <= _QUERIES_MAX:
                return self._nearest(self._queries, k, more)
            slices = [slice(first, first + _QUERIES_MAX) for first in range(0, count, _QUERIES_MAX)]
            turns = (self._nearest(self._queries.some(part), k, more[part]) for part in slices)
            return [found for turn in turns for found in turn]
        finally:
            del self._room  # an error in `broken`, once raised, holds this object for a while

    def _nearest(
        self, queries: Queries, k: int, more: Sequence[Sequence[Address]]
    ) -> list[list[Found]]:
        count = len(queries.vectors)
        near = [_Nearest() for _ in range(count)]
        rowless = ((at, place) for at in self._scope.rowless for place in range(count))
        self._measure(queries, rowless, near, k)
        proposed = ((at, place) for place, each in enumerate(more) for at in each)
        self._measure(queries, proposed, near, k)
        self._scan(queries, near, k)
        return [sorted(one.found) for one in near]

    # -- by codes --------------------------------------------------------------------------

    def _scan(self, queries: Queries, near: Sequence[_Nearest], k: int) -> None:
        """Look at all codes; put what may be among the nearest into `near`."""
        count = len(queries.vectors)
        self._has_settled = False
        # of equal vectors there may be any number: what is left open is then measured on the way
        open_max = max(_OPEN_MAX, _OPEN_MAX_A_RESULT * k * count)
        last = min(k, 1 + sum(mask.size for _, mask in self._scope.planes)) - 1
        # upper bounds, the largest of each query last; infinity where there are fewer than k
        nearest = np.full((count, last + 1), np.inf)
        parts: list[OpenRows] = []
        size = self._block_rows
        base = 0
        for plane, mask in self._scope.planes:
            for first in range(0, mask.size, size):
                block = slice(first, first + size)
                lower, upper = score_rows(
                    plane.rows[block], queries, self._metric, self._room.scores
                )
                if not mask[block].all():
                    is_out = np.logical_not(mask[block], out=blank_mask(lower.shape[1]))
                    for each in (lower, upper):
                        np.copyto(each, np.nan, where=is_out)  # less than nothing, sorted last
                seen = self._room.beside(nearest, upper)
                seen.partition(last, axis=1)
                nearest = seen[:, : last + 1].copy()
                parts.append(open_rows(lower, upper, nearest[:, last:], base + first))
                if len(parts) == _PARTS_MAX or sum(len(each.rows) for each in parts) > open_max:
                    parts = [joined(parts, nearest[:, last])]
                    if len(parts[0].rows) > open_max:
                        self._settle(queries, parts.pop(), nearest[:, last], near, k)
                        self._has_settled = True
            base += mask.size
        if parts:
            found = joined(parts, nearest[:, last])
            del parts
            self._settle(queries, found, nearest[:, last], near, k)

    def _settle(
        self, queries: Queries, found: OpenRows, at_most: Wide, near: Sequence[_Nearest], k: int
    ) -> None:
        """Measure what is open; no more than that is near than `at_most` allows."""
        # those that are surely near first: their distances rule out many of the others
        is_sure = found.upper <= at_most[found.places]
        self._measure(queries, self._wanted(found, is_sure), near, k)
        limits = at_most.copy()
        too_far = []
        for place, one in enumerate(near):
            last = one.found[k - 1].distance if len(one) >= k else np.inf
            if last > at_most[place]:
                too_far.append(place)
            limits[place] = min(limits[place], last)
        if too_far:
            self._look_for_damage(found, is_sure & np.isin(found.places, too_far))
        is_left = (found.lower <= limits[found.places]) & ~is_sure
        self._measure(queries, self._wanted(found, is_left), near, k)

    def _wanted(
        self, found: OpenRows, is_chosen: NDArray[np.bool_]
    ) -> Iterator[tuple[Address, int]]:
        """Where the records of chosen rows are, and which query wants each; in their order."""
        at, count = chosen_indices(is_chosen)
        rows, places = found.rows.take(at), found.places.take(at)
        rows[count:] = np.iinfo(np.intp).max  # what only fills up comes last
        order = rows.argsort(kind="stable")
        rows, places = rows.take(order), places.take(order)
        base = first = 0
        for plane, mask in self._scope.planes:
            offsets = plane.rows["offset"]
            end = min(count, int(rows.searchsorted(base + mask.size)))
            while first < end:
                part = slice(first, min(end, first + _WANTED_AT_ONCE))
                for row, place in zip(rows[part].tolist(), places[part].tolist(), strict=True):
                    yield Address(plane.number, int(offsets[row - base])), place
                first = part.stop
            base += mask.size

    def _look_for_damage(self, found: OpenRows, is_chosen: NDArray[np.bool_]) -> None:
        """Note chosen rows that do not match their checksum as `broken`.

        Nothing of a row is verified while it is scanned, and a bound that is too low rules out what
        is nearer. It shows: what had to be near by it is too far away. Where rows were measured on
        the way, it may have been one of those, so all are looked at, 22 us each.
        """
        at, count = chosen_indices(is_chosen)
        rows: Sequence[int] = sorted(set(found.rows.take(at)[:count].tolist()))
        if self._has_settled:
            rows = range(sum(mask.size for _, mask in self._scope.planes))
        base = 0
        for plane, mask in self._scope.planes:
            end = base + mask.size
            for row in rows[bisect_left(rows, base) : bisect_left(rows, end)]:
                if plane.row(row - base) is None:
                    self._note_row(Address(plane.number, int(plane.rows["offset"][row - base])))
            base = end

    def _note_row(self, at: Address) -> None:
        try:
            named = f"key {self._reader.head(at).key.text!r}"
        except _UNREADABLE:
            named = f"record at {at.offset} of segment {at.segment}"
        damage = "its row of the plane is damaged and would hide nearer vectors: run check"
        # a record that cannot be read has told why
        self.broken.setdefault(at, CorruptionError(f"{named}: {damage}", ErrorKind.BAD_PLANE))

    # -- by vectors ------------------------------------------------------------------------

    def _measure(
        self,
        queries: Queries,
        wanted: Iterable[tuple[Address, int]],
        near: Sequence[_Nearest],
        k: int,
    ) -> None:
        """Put the distances of records from the queries that want them into `near`, k to keep.

        Records that cannot be read go to `broken`; those of other dimensions are left out.
        """
        askers: dict[Address, dict[int, None]] = {}
        for at, place in wanted:
            # once each: after a kill a table may propose what the codes lead to as well, or twice
            if at in near[place]:
                continue
            if len(askers) >= _WANTED_AT_ONCE and at not in askers:
                self._measure_all(queries, askers, near, k)
                askers = {}
            askers.setdefault(at, {})[place] = None
        self._measure_all(queries, askers, near, k)

    def _measure_all(
        self,
        queries: Queries,
        askers: Mapping[Address, Iterable[int]],
        near: Sequence[_Nearest],
        k: int,
    ) -> None:
        waiting = sorted(askers)
        for first in range(0, len(waiting), self._room.rows):
            known, vectors = self._decoded(waiting[first : first + self._room.rows])
            pairs = [(row, place) for row, (at, _) in enumerate(known) for place in askers[at]]
            exact = self._distances(vectors, queries, pairs)
            for (row, place), distance in zip(pairs, exact, strict=True):
                at, key = known[row]
                near[place].add(Found(distance, key, at), k)

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
        room, documents = self._room.vectors, self._scope.documents
        records: list[tuple[Address, Record]] = []
        for at in addresses:
            try:
                record = self._reader.record(at)
            except _UNREADABLE as error:
                # without its traceback: the frames of that lead to this search's pages
                self.broken[at] = type(error)(str(error), error.kind)
                continue
            # what a damaged row says of dimension and document is not so
            is_held = documents is None or documents.hold(at, record.document)
            if is_held and record.header.dimension == room.shape[1]:
                records.append((at, record))
        vectors = room[: len(records)]
        try:
            decode_frames([record.frame for _, record in records], vectors)
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


def score_rows(
    rows: NDArray[Any], queries: Queries, metric: Metric, room: Wide | None = None
) -> tuple[Wide, Wide]:
    """Bounds of the distances between queries and rows of a plane, each (queries, rows).

    Rows that are not searchable have NaN.

    Parameters
    ----------
    room
        float64, `quantise.score_values` of them at least: the bounds lie in it, and are written
        over with the next call. None: in arrays of their own.
    """
    scores = Scores.of(len(queries.vectors), len(rows), room)
    codes = rows["codes"]
    if len(queries.vectors) == 1:
        # reads row by row, as the hardware prefetches; the packed product, for both parts in one
        # go, is faster only where the codes lie in the second-level cache: 0.32 against 0.46 ms for
        # 10 000 rows there, 0.92 against 0.57 elsewhere
        numkong.cdist(queries.parts, codes, metric="dot", out=scores.dots)
    else:
        packed = numkong.dots_packed(codes, numkong.dots_pack(queries.parts))
        np.copyto(scores.dots, np.asarray(packed).T)
    # what a damaged row says of itself may be any number: its vector has the say, not a warning
    with np.errstate(all="ignore"):
        return intervals(metric, queries, Rows.of(rows, scores.facts), scores)
