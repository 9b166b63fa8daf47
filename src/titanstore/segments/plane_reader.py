"""All planes of a store, for reading."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import refusals_named
from titanstore.segments.layout import Address
from titanstore.segments.marks import MarkArray, map_marks, marks_path, read_marks
from titanstore.segments.plane import PLANE_HEADER_BYTES, Plane, plane_path, row_bytes
from titanstore.segments.planes import PlaneId, marks_of, plane_ids

_GUESS_ROWS = 4  # either way


class _Mapped(NamedTuple):
    """Marks, and the file they were mapped from: a writer may have put another in its place."""

    marks: MarkArray
    inode: int


class _Derived(NamedTuple):
    """Marks by what the catalog says, and the transaction that said it."""

    marks: MarkArray
    change: int


class PlaneReader:
    """Maps planes and marks on first use and again when they have grown. Any thread may use it."""

    def __init__(self, folder: Path, store_id: bytes, *, by_pread: bool = False) -> None:
        self._by_pread = by_pread
        self._folder = folder
        self._store_id = store_id
        self._planes: dict[PlaneId, Plane] = {}
        self._marks: dict[PlaneId, _Mapped] = {}
        self._derived: dict[PlaneId, _Derived] = {}
        self._pace: dict[int, tuple[int, float]] = {}  # of a segment: dimension, bytes a row
        self._lock = threading.Lock()

    def plane(self, segment: int, dimension: int, rows: int = 0) -> Plane:
        """The plane, with at least `rows` rows if the file has them. Raises CorruptionError."""
        found = self._planes.get((segment, dimension))
        if found is not None and found.count >= rows:
            return found
        with self._lock:
            fresh = Plane(self._folder, segment, dimension, self._store_id, by_pread=self._by_pread)
            self._planes[segment, dimension] = fresh
        return fresh

    def codes(self, address: Address, dimension: int, row: int) -> memoryview:
        """The codes of the record at an address. Raises CorruptionError."""
        plane = self.plane(address.segment, dimension, row + 1)
        if row:
            self._pace[address.segment] = (dimension, address.offset / row)
        plane.will_need(row)
        return plane.codes_of(row)

    def will_need(self, address: Address) -> None:
        """Have the kernel read what is probably the row of the record at an address.

        Which one it is, only the record tells; but rows lie in the order of their records, so that
        the last one read tells it within a few. Then both are read from the disk at the same time.
        """
        dimension, pace = self._pace.get(address.segment, (0, 1.0))
        plane = self._planes.get((address.segment, dimension))
        if plane is not None:
            row = int(address.offset / pace)
            plane.will_need(max(0, row - _GUESS_ROWS), 2 * _GUESS_ROWS + 1)

    def current(self, dimension: int | None = None) -> list[tuple[Plane, MarkArray | None]]:
        """Each plane (of one dimension) as long as it is now, with its marks if it has any.

        The marks are a view that goes on showing changes; they may be fewer or more than the rows.
        Raises CorruptionError, StorageError.
        """
        with refusals_named("reading the planes"):
            return self._current(dimension)

    def _current(self, dimension: int | None) -> list[tuple[Plane, MarkArray | None]]:
        found = []
        for segment, width in plane_ids(self._folder):
            if dimension is not None and width != dimension:
                continue
            try:
                size = plane_path(self._folder, segment, width).stat().st_size
                if size < PLANE_HEADER_BYTES:
                    continue  # being begun; it has no row yet
                plane = self.plane(segment, width, (size - PLANE_HEADER_BYTES) // row_bytes(width))
            except FileNotFoundError:
                continue  # compacted away since it was listed
            except CorruptionError as error:
                if error.kind is ErrorKind.MISSING_SEGMENT:
                    continue
                raise
            plane.will_scan()
            found.append((plane, self._current_marks(segment, width, plane.count)))
        return found

    def _current_marks(self, segment: int, dimension: int, rows: int) -> MarkArray | None:
        path = marks_path(self._folder, segment, dimension)
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            return None
        if self._by_pread:
            return read_marks(path, self._store_id)
        known = self._marks.get((segment, dimension))
        if known is not None and known.inode == inode and len(known.marks) >= rows:
            return known.marks
        marks = map_marks(path, self._store_id)
        if marks is not None:
            with self._lock:
                self._marks[segment, dimension] = _Mapped(marks, inode)
        return marks

    def marks(self, segment: int, dimension: int, rows: int) -> MarkArray | None:
        """The marks of one plane, of `rows` rows at least; None where none are believed."""
        with refusals_named("reading marks"):
            marks = self._current_marks(segment, dimension, rows)
        return marks if marks is not None and len(marks) >= rows else None

    def marks_by_catalog(
        self, plane: Plane, change: int, offsets: Callable[[int], NDArray[np.uint32]]
    ) -> MarkArray:
        """The marks of a plane as of transaction `change`, when its segment had these `offsets`.

        0.7 us a row the first time; kept, for a reader that no writer of this boot has made marks
        for would else pay it at every search. The plane was mapped after the transaction began.
        """
        key = (plane.number, plane.dimension)
        known = self._derived.get(key)
        if known is None or known.change != change:
            known = _Derived(marks_of(plane, offsets(plane.number)), change)
            with self._lock:
                self._derived[key] = known
        return known.marks

    def file_bytes(self) -> int:
        """Bytes of all planes and marks; one system call a file. Raises StorageError."""
        with refusals_named("measuring the planes"):
            return self._file_bytes()

    def _file_bytes(self) -> int:
        total = 0
        for key in plane_ids(self._folder):
            for path in (plane_path(self._folder, *key), marks_path(self._folder, *key)):
                with contextlib.suppress(FileNotFoundError):  # compacted away meanwhile
                    total += path.stat().st_size
        return total

    def mapped_bytes(self) -> int:
        """Bytes of all mappings."""
        with self._lock:
            planes = sum(plane.rows.nbytes for plane in self._planes.values())
            return planes + sum(mapped.marks.nbytes for mapped in self._marks.values())

    def marks_bytes(self) -> int:
        """Bytes of marks in this process's own memory."""
        with self._lock:
            return sum(derived.marks.nbytes for derived in self._derived.values())

    def forget(self, segment: int) -> None:
        """Drop the mappings of a segment that no longer exists."""
        with self._lock:
            for key in [key for key in self._planes if key[0] == segment]:
                del self._planes[key]
            for key in [key for key in self._marks if key[0] == segment]:
                del self._marks[key]
            for key in [key for key in self._derived if key[0] == segment]:
                del self._derived[key]
            self._pace.pop(segment, None)

    def segments(self) -> set[int]:
        """Segments of which something is mapped."""
        with self._lock:
            return {segment for segment, _ in (*self._planes, *self._marks)}

    def close(self) -> None:
        """Drop all mappings; views handed out keep theirs."""
        with self._lock:
            self._planes.clear()
            self._marks.clear()
            self._derived.clear()
