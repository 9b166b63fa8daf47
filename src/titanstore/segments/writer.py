"""Appending records to segment files, durably."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from titanstore.errors import ErrorKind, StorageError
from titanstore.keys import StoredKey
from titanstore.segments.disk import storage_error, sync_folder
from titanstore.segments.layout import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_NUMBER_MAX,
    Address,
    build_record,
    padding_before,
    segment_header,
)
from titanstore.segments.reader import segment_path


class NewRecord(NamedTuple):
    """What the writer is asked to append."""

    key: StoredKey
    document: int
    frame: bytes
    frame_is_raw: bool


class Placed(NamedTuple):
    """Where an appended record lies."""

    address: Address
    end: int


class SegmentWriter:
    """Appends to the last segment and begins a new one when it is full.

    It keeps no notion of where the segment ends: the catalog does, and each append is told, so
    that whatever a failed write left behind is written over. One thread at a time.
    """

    def __init__(self, folder: Path, store_id: bytes, *, durable: bool, bytes_max: int) -> None:
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
        pending = bytearray()
        start = end
        try:
            for record in records:
                data = build_record(record.key, record.document, record.frame)
                if number == 0 or (end + 3 + len(data) > self._bytes_max and end > 0):
                    self._flush(number, start, pending, ends)
                    number += 1
                    start = end = self._begin(number)
                    pending = bytearray()
                padding = padding_before(end, record.key, frame_is_raw=record.frame_is_raw)
                pending += bytes(padding)
                pending += data
                placed.append(Placed(Address(number, end + padding), end + padding + len(data)))
                end += padding + len(data)
            self._flush(number, start, pending, ends)
        except OSError as error:
            raise storage_error(error, f"segment {number}") from error
        return placed, ends

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
        self.close()
        # what a failed write left behind under a new segment's name goes
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if create else 0)
        self._descriptor = os.open(segment_path(self._folder, number), flags, 0o644)
        self._number = number

    def _flush(self, number: int, start: int, data: bytearray, ends: dict[int, int]) -> None:
        if not data:
            return
        self._open(number, create=False)
        self._write_all(data, start)
        if self._durable:
            os.fdatasync(self._descriptor)
        ends[number] = start + len(data)

    def _write_all(self, data: bytes | bytearray, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def close(self) -> None:
        """Close the open segment file; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._number = -1, 0
