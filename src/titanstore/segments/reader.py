"""Read-only mappings of segment files."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.frame import HEADER_BYTES, SLICED_CODEC_ID
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import (
    NO_ROW,
    Address,
    Record,
    check_segment_header,
    have_rows,
    parse_record,
    skip_padding,
)
from titanstore.segments.plane_reader import PlaneReader


def segment_path(folder: Path, number: int) -> Path:
    """File of segment `number`."""
    return folder / f"{number:05d}.seg"


class SegmentReader:
    """Maps segments on first use and maps them again when they have grown.

    Safe for many threads. A view handed out keeps its mapping alive after `close`, so a caller
    may hold it as long as it likes.
    """

    def __init__(self, folder: Path, store_id: bytes) -> None:
        self.folder = folder
        self._prefix = f"{os.fspath(folder)}{os.sep}"
        self._store_id = store_id
        self._views: dict[int, memoryview] = {}
        self._lock = threading.Lock()
        self.planes = PlaneReader(folder, store_id)

    def record(self, address: Address) -> Record:
        """The record at `address`; its frame is whole, and not yet verified.

        It is a view of the mapping, or where its codes lie in a plane, a copy of both parts.

        Raises
        ------
        CorruptionError
            MISSING_SEGMENT, SHORT_SEGMENT, BAD_SEGMENT or BAD_RECORD.
        """
        record = self.head(address)
        return record if record.row == NO_ROW else self.whole(address.segment, record)

    def head(self, address: Address) -> Record:
        """As `record`, but a sliced frame lacks its codes: for who wants to know of what it is."""
        view = self._views.get(address.segment)
        if view is None or address.offset >= len(view):
            view = self.view(address.segment, address.offset + 1)
        try:
            return parse_record(view, address.offset, len(view))
        except CorruptionError:
            # the mapping may end inside a record that was appended after it was made
            longer = self.view(address.segment, len(view) + 1, may_be_short=True)
            if len(longer) == len(view):
                raise
            return parse_record(longer, address.offset, len(longer))

    def whole(self, segment: int, record: Record) -> Record:
        """`record` as parsed from a segment's bytes, with the codes that its frame lacks."""
        header = record.header
        if record.row == NO_ROW or header.codec_id != SLICED_CODEC_ID:
            return record
        codes = self.planes.codes(Address(segment, record.offset), header.dimension, record.row)
        stored = record.frame
        parts = (stored[:HEADER_BYTES], codes, stored[HEADER_BYTES:])
        return record._replace(frame=memoryview(b"".join(parts)))

    def will_need(self, address: Address, size: int) -> None:
        """Have the kernel read the pages of `size` bytes from an address in one go, if need be.

        Without it a record across two pages costs two reads of the disk, a document of 22 as many
        (reports/decisions/0005).
        """
        view = self._views.get(address.segment)
        if view is None:
            return
        self.planes.will_need(address)
        first = address.offset // mmap.PAGESIZE * mmap.PAGESIZE
        length = min(address.offset + size, len(view)) - first
        if length > mmap.PAGESIZE:
            mapping = view.obj
            assert isinstance(mapping, mmap.mmap)
            with contextlib.suppress(OSError):  # it is advice: the read itself will tell
                mapping.madvise(mmap.MADV_WILLNEED, first, length)

    def without_rows(self, number: int, offsets: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Those of the records at `offsets` of a segment that have no row in a plane.

        Raises CorruptionError (SHORT_SEGMENT).
        """
        if not offsets.size:
            return offsets
        kinds = np.frombuffer(self.view(number, int(offsets.max()) + 1), np.uint8)[offsets]
        without: NDArray[np.uint32] = offsets[~have_rows(kinds)]
        return without

    def following(self, number: int, end: int) -> Address:
        """Where the record after one that ended at `end` begins."""
        view = self.view(number, end + 1)
        return Address(number, skip_padding(view, end, len(view)))

    def view(self, number: int, size: int, *, may_be_short: bool = False) -> memoryview:
        """A view of the whole file of segment `number`, of at least `size` bytes."""
        with self._lock:
            view = self._views.get(number)
            if view is None or len(view) < size:
                view = self._map(number)
                self._views[number] = view
        if len(view) < size and not may_be_short:
            raise CorruptionError(
                f"segment {number} has {len(view)} bytes, the catalog knows of {size}",
                ErrorKind.SHORT_SEGMENT,
            )
        return view

    def _map(self, number: int) -> memoryview:
        # no Path here: it interns its parts, and this runs after each write; the interpreter's
        # table of interned strings would double, 0.5 MB, for names that come and go
        path = f"{self._prefix}{number:05d}.seg"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise CorruptionError(
                f"segment {number} is missing: {number:05d}.seg", ErrorKind.MISSING_SEGMENT
            ) from error
        except OSError as error:
            raise storage_error(error, f"opening segment {number}") from error
        try:
            if os.fstat(descriptor).st_size == 0:
                raise CorruptionError(f"segment {number} is empty", ErrorKind.SHORT_SEGMENT)
            mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise storage_error(error, f"mapping segment {number}") from error
        finally:
            os.close(descriptor)
        # the kernel's read-ahead would pull in 128 kB and more for a frame of 2 kB; `will_need`
        # says what is wanted
        mapping.madvise(mmap.MADV_RANDOM)
        view = memoryview(mapping)
        check_segment_header(view, number, self._store_id)
        return view

    def version(self, number: int) -> int:
        """Format version of segment `number`."""
        return check_segment_header(self.view(number, 1), number, self._store_id)

    def forget(self, number: int) -> None:
        """Drop the mapping of a segment that no longer exists."""
        with self._lock:
            self._views.pop(number, None)
        self.planes.forget(number)

    def forget_removed(self) -> None:
        """Drop the mappings of files that a writer, perhaps of another process, has removed."""
        with self._lock:
            for number in list(self._views):
                if not segment_path(self.folder, number).exists():
                    del self._views[number]
        for number in self.planes.segments():
            if not segment_path(self.folder, number).exists():
                self.planes.forget(number)

    def mapped_bytes(self) -> int:
        """Bytes of all mappings, of planes and marks too."""
        with self._lock:
            return sum(map(len, self._views.values())) + self.planes.mapped_bytes()

    def close(self) -> None:
        """Drop all mappings; those that a caller still looks at go with its last view."""
        with self._lock:
            self._views.clear()
        self.planes.close()
