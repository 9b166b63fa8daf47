"""Which rows of a plane belong to current records: one byte a row, in a file that readers map.

A row is marked before the catalog commits its record, and unmarked after the commit that buries
it; so at every moment, also after a kill, the marked rows are at least the current ones, and a
search that verifies what it found against the catalog cannot miss one. After a power cut the file
may be older than the catalog, so one of an earlier boot is not believed: it is made anew from the
catalog, at 0.7 us a row. FORMAT.md, "Marks, version 1".
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from titanstore.segments.disk import boot_id, storage_error, write_at
from titanstore.segments.plain_file import PlainFile

GONE, CURRENT, UNSEARCHABLE = 0, 1, 2  # the last: current, but no distance to it is defined

_VERSION = 1
_MAGIC = b"TMRK"
# magic, version, 0, store id, boot id, CRC-32C
_HEADER = struct.Struct("<4sHH16s16sI")
_MARKS_AT = 64

MarkArray = NDArray[np.uint8]


# kept: each new Path interns its parts, and at every search and write that would make the
# interpreter's table of interned strings grow by half a megabyte
@lru_cache(maxsize=64)
def marks_path(folder: Path, number: int, dimension: int) -> Path:
    """File of the marks of segment `number`'s plane for `dimension`."""
    return folder / f"{number:05d}-{dimension}.marks"


def fresh_path(path: Path) -> Path:
    """Where a marks file is built before it takes its name."""
    return path.with_name(f"{path.name}.new")


def _header(store_id: bytes) -> bytes:
    covered = _HEADER.pack(_MAGIC, _VERSION, 0, store_id, boot_id(), 0)[:-4]
    return (covered + crc32c(covered).to_bytes(4, "little")).ljust(_MARKS_AT, b"\0")


def map_marks(path: Path, store_id: bytes) -> MarkArray | None:
    """The marks in a file as a read-only view that shows later changes; None unless believed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, f"opening {path.name}") from error
    try:
        size = os.fstat(descriptor).st_size
        if os.pread(descriptor, _MARKS_AT, 0) != _header(store_id):
            return None
        mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise storage_error(error, f"mapping {path.name}") from error
    finally:
        os.close(descriptor)
    return np.frombuffer(mapping, np.uint8, -1, _MARKS_AT) if size > _MARKS_AT else _NONE


def read_marks(path: Path, store_id: bytes) -> MarkArray | None:
    """The marks in a file as they are now; None unless believed. Raises as `PlainFile.read`."""
    try:
        file = PlainFile(path, path.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, f"opening {path.name}") from error
    data = file.read(0, file.size())
    return (
        np.frombuffer(data, np.uint8, -1, _MARKS_AT)
        if data[:_MARKS_AT] == _header(store_id)
        else None
    )


_NONE: MarkArray = np.empty(0, np.uint8)


class MarksWriter:
    """The one writer of a marks file. By pwrite: a full disk is an error, not a signal."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, store_id: bytes) -> MarksWriter | None:
        """The file to be gone on with; None unless it is there and believed."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"opening {path.name}") from error
        try:
            is_believed = os.pread(descriptor, _MARKS_AT, 0) == _header(store_id)
        except OSError as error:
            os.close(descriptor)
            raise storage_error(error, f"reading {path.name}") from error
        if not is_believed:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @classmethod
    def build(cls, path: Path, store_id: bytes, marks: bytes) -> MarksWriter:
        """A new file; one that was there is replaced, never cut under who maps it."""
        fresh = fresh_path(path)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            written = cls(path, os.open(fresh, flags, 0o644))
        except OSError as error:
            raise storage_error(error, f"building {path.name}") from error
        try:
            write_at(written._descriptor, _header(store_id) + marks, 0)
            fresh.rename(path)
        except OSError as error:
            written.close()
            raise storage_error(error, f"building {path.name}") from error
        return written

    def set(self, rows: Sequence[int], mark: int) -> None:
        """Mark rows; those that follow each other with one write."""
        ordered = sorted(rows)
        first = 0
        for place in range(1, len(ordered) + 1):
            if place == len(ordered) or ordered[place] != ordered[place - 1] + 1:
                self.put(ordered[first], bytes([mark]) * (place - first))
                first = place

    def put(self, first: int, marks: bytes) -> None:
        """Write marks of rows that follow each other."""
        self._write(marks, _MARKS_AT + first)

    def _write(self, data: bytes, offset: int) -> None:
        try:
            write_at(self._descriptor, data, offset)
        except OSError as error:
            raise storage_error(error, f"writing {self._path.name}") from error

    def close(self) -> None:
        """Close; idempotent. The same boot goes on believing it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
