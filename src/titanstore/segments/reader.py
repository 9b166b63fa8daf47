"""Read-only mappings of segment files."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import (
    Address,
    Record,
    check_segment_header,
    parse_record,
    skip_padding,
)


def segment_path(folder: Path, number: int) -> Path:
    """File of segment `number`."""
    return folder / f"{number:05d}.seg"


class SegmentReader:
    """Maps segments on first use and maps them again when they have grown.

    Safe for many threads. A view handed out keeps its mapping alive after `close`, so a caller
    may hold it as long as it likes.
    """

    def __init__(self, folder: Path, store_id: bytes) -> None:
        self._folder = folder
        self._prefix = f"{os.fspath(folder)}{os.sep}"
        self._store_id = store_id
        self._views: dict[int, memoryview] = {}
        self._lock = threading.Lock()

    def record(self, address: Address) -> Record:
        """The record at `address`; its frame is a view of the mapping, not yet verified.

        Raises
        ------
        CorruptionError
            MISSING_SEGMENT, SHORT_SEGMENT, BAD_SEGMENT or BAD_RECORD.
        """
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

    def will_need(self, address: Address, size: int) -> None:
        """Have the kernel read the pages of `size` bytes from an address in one go, if need be.

        Without it a record across two pages costs two reads of the disk, a document of 22 as many
        (reports/decisions/0005).
        """
        view = self._views.get(address.segment)
        if view is None:
            return
        first = address.offset // mmap.PAGESIZE * mmap.PAGESIZE
        length = min(address.offset + size, len(view)) - first
        if length > mmap.PAGESIZE:
            mapping = view.obj
            assert isinstance(mapping, mmap.mmap)
            with contextlib.suppress(OSError):  # it is advice: the read itself will tell
                mapping.madvise(mmap.MADV_WILLNEED, first, length)

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

    def forget(self, number: int) -> None:
        """Drop the mapping of a segment that no longer exists."""
        with self._lock:
            self._views.pop(number, None)

    def forget_removed(self) -> None:
        """Drop the mappings of files that a writer, perhaps of another process, has removed."""
        with self._lock:
            for number in list(self._views):
                if not segment_path(self._folder, number).exists():
                    del self._views[number]

    def close(self) -> None:
        """Drop all mappings; those that a caller still looks at go with its last view."""
        with self._lock:
            self._views.clear()
