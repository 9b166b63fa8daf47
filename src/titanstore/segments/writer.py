"""Appending records to segment files, durably."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from titanstore.errors import CorruptionError, ErrorKind, StorageError
from titanstore.keys import StoredKey
from titanstore.segments.disk import storage_error, sync_folder, write_at
from titanstore.segments.layout import (
    NO_ROW,
    RECORD_HEAD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    SEGMENT_NUMBER_MAX,
    Address,
    build_record,
    padding_before,
    segment_header,
)
from titanstore.segments.plane import PlaneRow
from titanstore.segments.planes import NewRow, PlaneId, PlaneWriter
from titanstore.segments.reader import segment_path


class NewRecord(NamedTuple):
    """What the writer is asked to append."""

    key: StoredKey
    document: int
    frame: bytes
    frame_is_raw: bool
    plane_row: PlaneRow | None = None
    is_current: bool = True  # False: only a version leads to it


class Placed(NamedTuple):
    """Where an appended record lies."""

    address: Address
    end: int


class _Pending:
    """What waits to be written to one segment, from `start` on."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()
        self.rows: dict[PlaneId, list[NewRow]] = {}


class SegmentWriter:
    """Appends to the last segment and begins a new one when it is full.

    It keeps no notion of where the segment ends: the catalog does, and each append is told, so
    that whatever a failed write left behind is written over. One thread at a time.
    """

    def __init__(
        self,
        folder: Path,
        store_id: bytes,
        planes: PlaneWriter,
        *,
        durable: bool,
        bytes_max: int,
    ) -> None:
        self.planes = planes
        self.full: set[int] = set()  # segments that nothing may be appended to
        self._folder = folder
        self._store_id = store_id
        self._durable = durable
        self._bytes_max = bytes_max
        self._number = 0
        self._descriptor = -1

    def append(
        self, records: Sequence[NewRecord], last: Address
    ) -> tuple[list[Placed], dict[int, int]]:
        """Append records after the committed end `last` and make them durable.

        Returns
        -------
        placed
            One entry a record, in order.
        ends
            New end of each segment written to.

        Raises
        ------
        StorageError, ReadOnlyError
            Nothing counts as written: the catalog still has the old ends.
        """
        placed: list[Placed] = []
        ends: dict[int, int] = {}
        number, end = last
        pending = _Pending(end)
        try:
            self.planes.take_back(last)
            for record in records:
                size = len(record.frame) + RECORD_HEAD_BYTES_MAX
                if (
                    number == 0
                    or number in self.full
                    or (end + 3 + size > self._bytes_max and end > 0)
                ):
                    self._flush(number, pending, ends)
                    number += 1
                    end = self._begin(number)
                    pending = _Pending(end)
                offset, end = self._add(pending, number, end, record)
                placed.append(Placed(Address(number, offset), end))
            self._flush(number, pending, ends)
        except OSError as error:
            raise storage_error(error, f"segment {number}") from error
        return placed, ends

    def _add(self, pending: _Pending, number: int, end: int, record: NewRecord) -> tuple[int, int]:
        """Add a record to what waits to be written; its offset and end."""
        key, document, frame, is_raw, plane_row, is_current = record
        has_row = plane_row is not None
        padding = padding_before(end, key, frame_is_raw=is_raw, has_row=has_row)
        offset = end + padding
        row = NO_ROW
        if plane_row is not None:
            dimension = len(plane_row.codes)
            rows = pending.rows.setdefault((number, dimension), [])
            row = self.planes.next_row(number, dimension) + len(rows)
            rows.append(NewRow(plane_row, offset, document, is_current))
        data = build_record(key, document, frame, row)
        pending.data += bytes(padding)
        pending.data += data
        return offset, offset + len(data)

    def begin(self, number: int) -> int:
        """Make segment `number`, without records, durably; returns its end. Raises as `append`."""
        try:
            return self._begin(number)
        except OSError as error:
            raise storage_error(error, f"segment {number}") from error

    def _begin(self, number: int) -> int:
        if number > SEGMENT_NUMBER_MAX:
            raise StorageError(
                f"the store has used all {SEGMENT_NUMBER_MAX} segment numbers; copy it to a new "
                "store, with a larger segment_bytes_max",
                ErrorKind.DISK_FULL,
            )
        self._open(number, create=True)
        self._write_all(segment_header(number, self._store_id), 0)
        if self._durable:
            os.fdatasync(self._descriptor)
            sync_folder(self._folder)
        return SEGMENT_HEADER_BYTES

    def _open(self, number: int, *, create: bool) -> None:
        if self._number == number and not create:
            return
        self._close_segment()
        if not create and not segment_path(self._folder, number).exists():
            raise CorruptionError(
                f"segment {number} is missing: {number:05d}.seg", ErrorKind.MISSING_SEGMENT
            )
        # what a failed write left behind under a new segment's name goes
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        self._descriptor = os.open(segment_path(self._folder, number), flags, 0o644)
        self._number = number

    def _flush(self, number: int, pending: _Pending, ends: dict[int, int]) -> None:
        if not pending.data:
            return
        self._open(number, create=False)
        self._write_all(pending.data, pending.start)
        for (_, dimension), rows in pending.rows.items():
            self.planes.append(number, dimension, rows)
        if self._durable:
            os.fdatasync(self._descriptor)
        if not os.fstat(self._descriptor).st_nlink:
            self._close_segment()  # one that is put back has to be opened
            raise CorruptionError(
                f"segment {number} was removed while it was written to: nothing was acknowledged",
                ErrorKind.MISSING_SEGMENT,
            )
        ends[number] = pending.start + len(pending.data)

    def _write_all(self, data: bytes | bytearray, offset: int) -> None:
        write_at(self._descriptor, data, offset)

    def close(self) -> None:
        """Close all files; idempotent."""
        self.planes.close()
        self._close_segment()

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._number = -1, 0
