"""All planes of a store: appended to and marked by the one writer."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.errors import CorruptionError, ErrorKind, StorageError, StoreError
from titanstore.segments.disk import storage_error, sync_folder, write_at
from titanstore.segments.layout import Address
from titanstore.segments.marks import (
    CURRENT,
    GONE,
    UNSEARCHABLE,
    MarkArray,
    MarksWriter,
    fresh_path,
    marks_path,
)
from titanstore.segments.plane import (
    PLANE_HEADER_BYTES,
    Plane,
    PlaneRow,
    pack_row,
    plane_header,
    plane_path,
    row_bytes,
    void_row,
)

PlaneId = tuple[int, int]  # segment, dimension
Offsets = NDArray[np.uint32]
AskOffsets = Callable[[Iterable[int]], Mapping[int, Offsets]]  # of segments' current records
_NONE: Offsets = np.empty(0, np.uint32)
_MARKS_OPEN_MAX = 64  # files
_ROWS_AT_ONCE = 2_000_000  # 4 bytes each
_ROWS_MARKED_AT_ONCE = 16_384
# As `plane_path` makes them: one that only looks like it would be counted twice
_PLANE_NAME = re.compile(r"([0-9]{5})-([1-9][0-9]{0,4})\.plane")


class RowAddress(NamedTuple):
    """One row of one plane."""

    segment: int
    dimension: int
    row: int


class NewRow(NamedTuple):
    """What a plane writer is asked to append."""

    row: PlaneRow
    offset: int  # of its record
    document: int
    is_current: bool


def plane_ids(folder: Path) -> list[PlaneId]:
    """The planes that a folder of segments has, in order; other files are passed over.

    Raises StorageError.
    """
    found = []
    try:
        names = os.listdir(folder)  # noqa: PTH208  # names are all that is wanted
    except OSError as error:
        raise storage_error(error, "listing the segments") from error
    for name in names:
        named = _PLANE_NAME.fullmatch(name)
        if named is not None:
            found.append((int(named[1]), int(named[2])))
    return sorted(found)


class _Appended(NamedTuple):
    """Rows of one append, and where the first of their records lies."""

    key: PlaneId
    start: Address
    rows: range


class PlaneWriter:
    """Appends rows and marks them. One thread at a time; the segment writer drives it."""

    def __init__(
        self,
        folder: Path,
        store_id: bytes,
        *,
        durable: bool,
        by_pread: bool = False,
        current_offsets: AskOffsets,
    ) -> None:
        self._folder = folder
        self._store_id = store_id
        self._durable = durable
        self._by_pread = by_pread
        self._current_offsets = current_offsets
        self._descriptors: dict[PlaneId, int] = {}
        self._marks: dict[PlaneId, MarksWriter] = {}
        self._latest: list[_Appended] = []  # what may not have been committed
        self._named: set[PlaneId] = set()  # whose names are surely on the disk

    def next_row(self, segment: int, dimension: int) -> int:
        """The row that the next append to this plane gets.

        Raises
        ------
        CorruptionError
            MISSING_SEGMENT: the plane was there and is not, so its rows would be given twice.
        """
        path = plane_path(self._folder, segment, dimension)
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            if marks_path(self._folder, segment, dimension).exists():
                raise CorruptionError(
                    f"plane {path.name} is missing", ErrorKind.MISSING_SEGMENT
                ) from error
            return 0
        # rows of a write that was never acknowledged stay: nothing leads to them
        return -(-max(0, size - PLANE_HEADER_BYTES) // row_bytes(dimension))

    def append(self, segment: int, dimension: int, rows: Sequence[NewRow]) -> None:
        """Append rows durably and mark them; raises OSError, StoreError."""
        first = self.next_row(segment, dimension)
        start = Address(segment, rows[0].offset)
        data, marks = bytearray(), bytearray()
        for row, offset, document, is_current in rows:
            data += pack_row(row, offset, document)
            mark = UNSEARCHABLE if math.isnan(row.scale) else CURRENT
            marks.append(mark if is_current else GONE)
        descriptor = self._open((segment, dimension))
        self._make_sure_of_name((segment, dimension), descriptor)
        marks_writer = self.marks(segment, dimension)
        self._latest.append(
            _Appended((segment, dimension), start, range(first, first + len(marks)))
        )
        write_at(descriptor, data, PLANE_HEADER_BYTES + first * row_bytes(dimension))
        if self._durable:
            os.fdatasync(descriptor)
        marks_writer.put(first, bytes(marks))

    def _open(self, key: PlaneId) -> int:
        if key in self._descriptors and not os.fstat(self._descriptors[key]).st_nlink:
            os.close(self._descriptors.pop(key))  # removed, and put back since
        if key not in self._descriptors:
            for older in [other for other in self._descriptors if other[0] != key[0]]:
                os.close(self._descriptors.pop(older))  # only the last segment is appended to
            path = plane_path(self._folder, *key)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._make_sure_of_header(key, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptors[key] = descriptor
        return self._descriptors[key]

    def _make_sure_of_header(self, key: PlaneId, descriptor: int) -> None:
        header = plane_header(*key, self._store_id)
        if os.pread(descriptor, PLANE_HEADER_BYTES, 0) == header:
            return
        if os.fstat(descriptor).st_size > PLANE_HEADER_BYTES:
            raise CorruptionError(
                f"plane {plane_path(self._folder, *key).name}: header is damaged or belongs to "
                "another store",
                ErrorKind.BAD_SEGMENT,
            )
        write_at(descriptor, header, 0)

    def _make_sure_of_name(self, key: PlaneId, descriptor: int) -> None:
        """Have header and name on the disk before the first row that this writer appends.

        That they are there does not say so: who began the file may have been killed, or refused,
        before it had synced them.
        """
        if self._durable and key not in self._named:
            os.fdatasync(descriptor)
            sync_folder(self._folder)
            self._named.add(key)

    def take_back(self, last: Address) -> None:
        """Make rows whose records were never acknowledged lead to none.

        What is appended next, from the committed end `last` on, may lie where they lay.
        Raises OSError, StoreError.
        """
        while self._latest:
            key, start, rows = self._latest[-1]
            if start >= last:
                self._make_void(key, rows)
            self._latest.pop()

    def take_back_all(self, last: Address) -> None:
        """As `take_back`, for what an earlier writer left behind."""
        for key in plane_ids(self._folder):
            if key[0] < last.segment:
                continue
            try:
                offsets = self._plane(key).rows["offset"]
            except CorruptionError:
                continue  # `check` has the say; a plane that is being begun has no rows
            end = last.offset if key[0] == last.segment else 0
            first = len(offsets)
            while first and (offsets[first - 1] >= end or not offsets[first - 1]):
                first -= 1
            try:
                self._make_void(key, range(first, len(offsets)))
            except OSError as error:
                raise storage_error(error, "taking back rows of a plane") from error

    def _make_void(self, key: PlaneId, rows: range) -> None:
        size, void = row_bytes(key[1]), void_row(key[1])
        descriptor = self._open(key)
        count, torn = divmod(os.fstat(descriptor).st_size - PLANE_HEADER_BYTES, size)
        if torn:  # no reader looks at a row that is not whole
            os.ftruncate(descriptor, PLANE_HEADER_BYTES + count * size)
        for row in rows[: max(0, count - rows.start)]:
            write_at(descriptor, void, PLANE_HEADER_BYTES + row * size)
        with contextlib.suppress(StoreError):  # a void row is never near, marked or not
            self.marks(*key).set(rows, GONE)

    def _plane(self, key: PlaneId) -> Plane:
        return Plane(self._folder, *key, self._store_id, by_pread=self._by_pread)

    # -- marks -----------------------------------------------------------------------------

    def marks(self, segment: int, dimension: int) -> MarksWriter:
        """The marks of a plane, made anew from the catalog where they are not believed."""
        key = (segment, dimension)
        if key not in self._marks:
            path = marks_path(self._folder, segment, dimension)
            found = MarksWriter.open(path, self._store_id)
            if found is None:
                plane = self._plane(key)
                asked = self._current_offsets([segment]) if plane.count else {}
                self._make_marks(plane, asked.get(segment, _NONE))
            else:
                self._keep_marks(key, found)
        return self._marks[key]

    def _keep_marks(self, key: PlaneId, found: MarksWriter) -> None:
        while len(self._marks) >= _MARKS_OPEN_MAX:
            self._marks.pop(next(iter(self._marks))).close()
        self._marks[key] = found

    def _make_marks(self, plane: Plane, offsets: Offsets) -> None:
        marks = np.empty(0, np.uint8)
        if plane.count:
            plane.will_scan()
            marks = marks_of(plane, offsets)
        key = (plane.number, plane.dimension)
        path = marks_path(self._folder, *key)
        self._keep_marks(key, MarksWriter.build(path, self._store_id, marks.tobytes()))

    def make_sure_of_marks(self) -> None:
        """Have believed marks for every plane; what a writer does when it opens a store.

        A damaged plane is passed over, for `check` to list; on a full disk search does without
        marks, so that deleting goes on.
        """
        lacking: deque[Plane] = deque()
        for key in plane_ids(self._folder):
            if key in self._marks:
                continue
            with contextlib.suppress(CorruptionError, StorageError):
                found = MarksWriter.open(marks_path(self._folder, *key), self._store_id)
                if found is None:
                    lacking.append(self._plane(key))
                else:
                    self._keep_marks(key, found)
        offsets = asked_together(self._current_offsets, lacking)
        while lacking:  # what is done with is let go: a plane that was read counts as memory
            plane = lacking.popleft()
            with contextlib.suppress(CorruptionError, StorageError):
                self._make_marks(plane, offsets(plane.number))

    def retire(self, rows: Iterable[RowAddress]) -> None:
        """Unmark rows whose records are no longer current; after the commit.

        Where it fails they stay marked: that costs a search a look, and the write is done.
        """
        for key, places in _by_plane(rows).items():
            with contextlib.suppress(StoreError):
                self.marks(*key).set(places, GONE)

    def revive(self, rows: Iterable[RowAddress]) -> None:
        """Mark rows whose records become current again; before the commit. Raises StoreError."""
        for key, places in _by_plane(rows).items():
            plane = self._plane(key)
            marks = self.marks(*key)
            for row in places:
                plane.codes_of(row)  # or it is an error of ours
                is_searchable = not np.isnan(plane.rows["scale"][row])
                marks.set([row], CURRENT if is_searchable else UNSEARCHABLE)

    # -- files -----------------------------------------------------------------------------

    def remove(self, segment: int) -> None:
        """Remove the planes and marks of a segment that goes."""
        try:
            for key in plane_ids(self._folder):
                if key[0] == segment:
                    self._forget(key)
                    marks = marks_path(self._folder, *key)
                    marks.unlink(missing_ok=True)  # first: marks say that there is a plane
                    fresh_path(marks).unlink(missing_ok=True)
                    plane_path(self._folder, *key).unlink()
        except OSError as error:
            raise storage_error(error, f"removing the planes of segment {segment}") from error

    def _forget(self, key: PlaneId) -> None:
        self._named.discard(key)
        if key in self._descriptors:
            os.close(self._descriptors.pop(key))
        if key in self._marks:
            self._marks.pop(key).close()

    def close(self) -> None:
        """Close all files; idempotent."""
        for key in [*self._descriptors, *self._marks]:
            self._forget(key)


def asked_together(ask: AskOffsets, planes: Iterable[Plane]) -> Callable[[int], Offsets]:
    """What gives the offsets of one segment, asked for together with those of its neighbours.

    Each time that it asks, `ask` goes through the whole catalog; so it does for as many planes at a
    time as have some megabytes of offsets. They are to be looked at in their order.
    """
    groups: dict[int, set[int]] = {}
    group: set[int] = set()
    rows = 0
    for plane in planes:
        if group and rows + plane.count > _ROWS_AT_ONCE:
            group, rows = set(), 0
        group.add(plane.number)
        rows += plane.count
        groups[plane.number] = group
    known: dict[int, Offsets] = {}

    def offsets(segment: int) -> Offsets:
        if segment not in known:
            known.clear()
            known.update(ask(groups[segment]))
        return known[segment]

    return offsets


def marks_of(plane: Plane, offsets: Offsets) -> MarkArray:
    """What the marks of a plane should be, given the offsets of its segment's current records."""
    ordered, every = np.sort(offsets), plane.rows
    marks = np.full(plane.count, GONE, np.uint8)
    for first in range(0, plane.count if ordered.size else 0, _ROWS_MARKED_AT_ONCE):
        # in blocks: np.isin takes 23 bytes a row
        rows = every[first : first + _ROWS_MARKED_AT_ONCE]
        nearest = ordered.take(ordered.searchsorted(rows["offset"]), mode="clip")
        is_current = nearest == rows["offset"]
        part = marks[first : first + len(rows)]
        part[is_current] = CURRENT
        part[is_current & np.isnan(rows["scale"])] = UNSEARCHABLE
    return marks


def _by_plane(rows: Iterable[RowAddress]) -> dict[PlaneId, list[int]]:
    found: dict[PlaneId, list[int]] = {}
    for segment, dimension, row in rows:
        found.setdefault((segment, dimension), []).append(row)
    return found
