"""Segment files for reading: mapped, or by pread."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.frame import HEADER_BYTES
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import refusals_named, storage_error
from titanstore.segments.layout import (
    NO_ROW,
    SEGMENT_HEADER_BYTES,
    Address,
    Record,
    check_segment_header,
    have_rows,
    parse_record,
    records,
    skip_padding,
)
from titanstore.segments.plain_file import PlainFile
from titanstore.segments.plane_reader import PlaneReader

# By pread: most records of Titan's vectors fit into the first, every record into the second
_WINDOW_BYTES, _RECORD_BYTES_MAX = 4096, 1 << 17


def segment_path(folder: Path, number: int) -> Path:
    """File of segment `number`."""
    return folder / f"{number:05d}.seg"


class SegmentReader:
    """Maps segments on first use and maps them again when they have grown.

    Safe for many threads. A view handed out keeps its mapping alive after `close`, so a caller
    may hold it as long as it likes.

    With `by_pread` nothing is mapped, and all it hands out is a copy: a file cut short under it, or
    a disk that cannot read, raises where it would otherwise end the process by SIGBUS.
    """

    def __init__(self, folder: Path, store_id: bytes, *, by_pread: bool = False) -> None:
        self.folder = folder
        self._prefix = f"{os.fspath(folder)}{os.sep}"
        self._store_id = store_id
        self._views: dict[int, memoryview] = {}
        self._lock = threading.Lock()
        self._by_pread = by_pread
        self._files: dict[int, PlainFile] = {}
        self.planes = PlaneReader(folder, store_id, by_pread=by_pread)

    def record(self, address: Address) -> Record:
        """The record at `address`; its frame is whole, and not yet verified.

        It is a view of the mapping, or where its codes lie in a plane, a copy of both parts.

        Raises
        ------
        CorruptionError
            MISSING_SEGMENT, SHORT_SEGMENT, BAD_SEGMENT or BAD_RECORD.
        StorageError
            IO_FAILED, by pread only.
        """
        record = self.head(address)
        return record if record.row == NO_ROW else self.whole(address.segment, record)

    def head(self, address: Address) -> Record:
        """As `record`, but a sliced frame lacks its codes: for who wants to know of what it is."""
        if self._by_pread:
            return self._head_by_pread(address)
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

    def _head_by_pread(self, address: Address) -> Record:
        file = self._file(address.segment)
        start = address.offset
        for size in (_WINDOW_BYTES, _RECORD_BYTES_MAX):
            window = memoryview(file.read(start, size))
            if not window:
                raise CorruptionError(
                    f"segment {address.segment} has {file.size()} bytes, the catalog knows of "
                    f"{start + 1}",
                    ErrorKind.SHORT_SEGMENT,
                )
            try:
                found = parse_record(window, 0, len(window))
            except CorruptionError:
                if len(window) == size == _WINDOW_BYTES:
                    continue  # it may be longer
                raise
            # its values at a multiple of 4, as in the file, and no more memory than it needs
            shift = -HEADER_BYTES % 4
            frame = memoryview(bytes(shift) + found.frame)[shift:]
            key, document, _, _, end, header, row = found  # not by _replace: see decision 0019
            return Record(key, document, frame, start, start + end, header, row)
        raise AssertionError("unreachable")

    def _file(self, number: int) -> PlainFile:
        file = self._files.get(number)
        if file is None:
            file = self._opened(number)
            header = memoryview(file.read(0, SEGMENT_HEADER_BYTES))
            check_segment_header(header, number, self._store_id)
            with self._lock:
                self._files[number] = file
        return file

    def _opened(self, number: int) -> PlainFile:
        # no Path here: it interns its parts, and this runs after each write; the interpreter's
        # table of interned strings would double, 0.5 MB, for names that come and go
        try:
            return PlainFile(f"{self._prefix}{number:05d}.seg", f"segment {number}")
        except FileNotFoundError as error:
            raise CorruptionError(
                f"segment {number} is missing: {number:05d}.seg", ErrorKind.MISSING_SEGMENT
            ) from error
        except OSError as error:
            raise storage_error(error, f"opening segment {number}") from error

    def whole(self, segment: int, record: Record) -> Record:
        """`record` as parsed from a segment's bytes, with the codes that its frame lacks."""
        header = record.header
        if record.row == NO_ROW or not header.has_codes:
            return record
        codes = self.planes.codes(Address(segment, record.offset), header.dimension, record.row)
        stored = record.frame
        parts = (stored[:HEADER_BYTES], codes, stored[HEADER_BYTES:])
        key, document, _, offset, end, _, row = record
        return Record(key, document, memoryview(b"".join(parts)), offset, end, header, row)

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
        if self._by_pread:
            file = self._file(number)
            read = b"".join(file.read_all(offset, 1) for offset in offsets.tolist())
            missing: NDArray[np.uint32] = offsets[~have_rows(np.frombuffer(read, np.uint8))]
            return missing
        kinds = np.frombuffer(self.view(number, int(offsets.max()) + 1), np.uint8)[offsets]
        without: NDArray[np.uint32] = offsets[~have_rows(kinds)]
        return without

    def following(self, number: int, end: int) -> Address:
        """Where the record after one that ended at `end` begins."""
        if self._by_pread:
            few = memoryview(
                self._file(number).read_all(end, 1) + self._file(number).read(end + 1, 3)
            )
            return Address(number, end + skip_padding(few, 0, len(few)))
        view = self.view(number, end + 1)
        return Address(number, skip_padding(view, end, len(view)))

    def records(self, number: int, end: int) -> Iterator[Record]:
        """All records of segment `number` up to `end`, as `head` has them. Raises as `head`."""
        self.require(number, end)
        if not self._by_pread:
            yield from records(self.view(number, end)[:end], SEGMENT_HEADER_BYTES, end)
            return
        file, offset = self._file(number), SEGMENT_HEADER_BYTES
        while True:
            few = memoryview(file.read(offset, min(3, end - offset)))
            offset += skip_padding(few, 0, len(few))
            if offset >= end:
                return
            record = self._head_by_pread(Address(number, offset))
            if record.end > end:
                raise CorruptionError(
                    f"record at {offset} passes the end {end}", ErrorKind.BAD_RECORD
                )
            yield record
            offset = record.end

    def require(self, number: int, size: int) -> None:
        """Make sure that segment `number` is there, this store's, and of at least `size` bytes.

        Raises CorruptionError as `record`.
        """
        if not self._by_pread:
            self.view(number, size)
            return
        seen = self._file(number).size()
        if seen < size:
            raise CorruptionError(
                f"segment {number} has {seen} bytes, the catalog knows of {size}",
                ErrorKind.SHORT_SEGMENT,
            )

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
        file = self._opened(number)
        try:
            if file.size() == 0:
                raise CorruptionError(f"segment {number} is empty", ErrorKind.SHORT_SEGMENT)
            mapping = file.map(0)
        except OSError as error:
            raise storage_error(error, f"mapping segment {number}") from error
        view = memoryview(mapping)
        check_segment_header(view, number, self._store_id)
        return view

    def version(self, number: int) -> int:
        """Format version of segment `number`."""
        if self._by_pread:
            header = memoryview(self._file(number).read(0, SEGMENT_HEADER_BYTES))
            return check_segment_header(header, number, self._store_id)
        return check_segment_header(self.view(number, 1), number, self._store_id)

    def forget(self, number: int) -> None:
        """Drop the mapping of a segment that no longer exists."""
        with self._lock:
            self._views.pop(number, None)
            self._files.pop(number, None)
        self.planes.forget(number)

    def forget_removed(self) -> None:
        """Drop the mappings of files that a writer, perhaps of another process, has removed.

        Raises StorageError.
        """
        with refusals_named("looking for removed segments"):
            self._forget_removed()

    def _forget_removed(self) -> None:
        with self._lock:
            for number in {*self._views, *self._files}:
                if not segment_path(self.folder, number).exists():
                    self._views.pop(number, None)
                    self._files.pop(number, None)
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
            self._files.clear()
        self.planes.close()
