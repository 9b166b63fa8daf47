"""Bytes of a segment file: its header, its records, and addresses of records.

FORMAT.md, "Segment, version 2", is the contract; version 1 has no records with a row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from titanstore.codec.frame import FIELDS_BYTES, FrameHeader, parse_header
from titanstore.codec.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError
from titanstore.keys import StoredKey

SEGMENT_VERSION = 2
_MAGIC = b"TSEG"
_SEGMENT_HEADER = struct.Struct("<4sHHI16sI")  # magic, version, 0, number, store id, CRC-32C
SEGMENT_HEADER_BYTES = _SEGMENT_HEADER.size
_KIND_PADDING, _KIND_DIGEST, _KIND_TEXT = 0, 1, 2
_WITH_ROW = 2  # added to a kind: a row number follows the key
NO_ROW = -1
_ROW_BYTES = 4
_RECORD = struct.Struct("<BIH")  # kind, document, check
_DIGEST_BYTES = 16
RECORD_HEAD_BYTES_MAX = _RECORD.size + 2 + 480 + _ROW_BYTES  # with the longest key
ADDRESS_BYTES = 6
_ADDRESS = struct.Struct(">HI")  # segment, offset; big-endian so that order in LMDB is file order
SEGMENT_NUMBER_MAX = 2**16 - 1
SEGMENT_BYTES_LIMIT = 2**32 - 1


class Address(NamedTuple):
    """Where a record begins."""

    segment: int
    offset: int

    def pack(self) -> bytes:
        """6 bytes."""
        return _ADDRESS.pack(self.segment, self.offset)

    @classmethod
    def unpack(cls, data: bytes) -> Address:
        """Inverse of `pack`."""
        return cls(*_ADDRESS.unpack(data))


class Record(NamedTuple):
    """One parsed record; its frame is not yet verified.

    As `parse_record` has it, a sliced frame lacks the codes, which lie in the plane file; as
    `SegmentReader.record` has it, the frame is whole.
    """

    key: StoredKey
    document: int  # number of the document it was first written for, 0 for none
    frame: memoryview
    offset: int
    end: int
    header: FrameHeader
    row: int = NO_ROW  # of the segment's plane for the frame's dimension


def segment_header(number: int, store_id: bytes) -> bytes:
    """The first bytes of segment file `number`."""
    covered = _SEGMENT_HEADER.pack(_MAGIC, SEGMENT_VERSION, 0, number, store_id, 0)[:-4]
    return covered + crc32c(covered).to_bytes(4, "little")


def check_segment_header(data: memoryview, number: int, store_id: bytes) -> int:
    """The segment's version; raises CorruptionError (BAD_SEGMENT) or NewerFormatError."""
    name = f"segment {number}"
    if len(data) < SEGMENT_HEADER_BYTES:
        raise CorruptionError(f"{name}: shorter than its header", ErrorKind.SHORT_SEGMENT)
    magic, version, _, seen, owner, check = _SEGMENT_HEADER.unpack_from(data)
    if magic == _MAGIC and version > SEGMENT_VERSION:
        raise NewerFormatError(
            f"{name}: version {version}, this release reads up to {SEGMENT_VERSION}",
            ErrorKind.NEWER_FORMAT,
        )
    covered = data[: SEGMENT_HEADER_BYTES - 4]
    if magic != _MAGIC or crc32c(covered) != check or seen != number or owner != store_id:
        raise CorruptionError(
            f"{name}: header is damaged or belongs to another store", ErrorKind.BAD_SEGMENT
        )
    return int(version)


def _key_bytes(key: StoredKey) -> bytes:
    return key.data if key.is_digest else len(key.data).to_bytes(2, "little") + key.data


def build_record(key: StoredKey, document: int, frame: bytes, row: int = NO_ROW) -> bytes:
    """One record: kind, document, check, key, row if it has one, frame.

    A sliced frame with a row is given whole; its codes are left out.
    """
    kind = _KIND_DIGEST if key.is_digest else _KIND_TEXT
    named = covered = _key_bytes(key)
    if row != NO_ROW:
        kind += _WITH_ROW
        named += row.to_bytes(_ROW_BYTES, "little")
        covered = named + frame[:FIELDS_BYTES]
        header = parse_header(frame)
        if header.has_codes:
            frame = frame[:FRAME_HEADER_BYTES] + frame[FRAME_HEADER_BYTES + header.dimension :]
    check = crc32c(covered, crc32c(bytes([kind]) + document.to_bytes(4, "little"))) & 0xFFFF
    return _RECORD.pack(kind, document, check) + named + frame


def record_prefix_bytes(key: StoredKey, *, has_row: bool = False) -> int:
    """Bytes before the frame in the record of `key`."""
    named = len(key.data) + (0 if key.is_digest else 2)
    return _RECORD.size + named + (_ROW_BYTES if has_row else 0)


def padding_before(
    offset: int, key: StoredKey, *, frame_is_raw: bool, has_row: bool = False
) -> int:
    """Padding that puts the values of a raw frame on a multiple of 4, for views in place."""
    if not frame_is_raw:
        return 0
    return -(offset + record_prefix_bytes(key, has_row=has_row) + FRAME_HEADER_BYTES) % 4


def parse_record(view: memoryview, offset: int, end: int) -> Record:
    """The record that begins at `offset`; nothing beyond `end` is read.

    Raises
    ------
    CorruptionError
        BAD_RECORD when a field or the check is wrong or the record would pass `end`; and as
        `parse_header` for its frame.
    """
    if not 0 <= offset <= end - _RECORD.size - 2:
        raise CorruptionError(f"record at {offset} passes the end {end}", ErrorKind.BAD_RECORD)
    kind, document, check = _RECORD.unpack_from(view, offset)
    start = offset + _RECORD.size
    has_row = kind > _WITH_ROW
    if kind in (_KIND_DIGEST, _KIND_DIGEST + _WITH_ROW):
        key_start, key_size = start, _DIGEST_BYTES
    elif kind in (_KIND_TEXT, _KIND_TEXT + _WITH_ROW):
        key_start, key_size = start + 2, int.from_bytes(view[start : start + 2], "little")
    else:
        raise CorruptionError(f"record at {offset}: kind {kind}", ErrorKind.BAD_RECORD)
    key_end = key_start + key_size
    frame_start = key_end + (_ROW_BYTES if has_row else 0)
    # a frame's length too: a wrong one could lead past the record that follows, and nobody notice
    covered_end = frame_start + (FIELDS_BYTES if has_row else 0)
    if covered_end > end:
        raise CorruptionError(f"record at {offset} passes the end {end}", ErrorKind.BAD_RECORD)
    covered = view[start:covered_end]
    if crc32c(covered, crc32c(view[offset : offset + 5])) & 0xFFFF != check:
        raise CorruptionError(
            f"record at {offset}: its key or length is damaged", ErrorKind.BAD_RECORD
        )
    header = parse_header(view[frame_start:end])
    record_end = frame_start + header.frame_bytes
    if has_row and header.has_codes:
        record_end -= header.dimension
    if not frame_start < record_end <= end:
        raise CorruptionError(f"record at {offset} passes the end {end}", ErrorKind.BAD_RECORD)
    key = StoredKey(key_start == start, bytes(view[key_start:key_end]))
    row = int.from_bytes(view[key_end:frame_start], "little") if has_row else NO_ROW
    return Record(key, document, view[frame_start:record_end], offset, record_end, header, row)


def have_rows(kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Have records of these kinds, the first byte of each, a row?"""
    return kinds > _WITH_ROW


def skip_padding(view: memoryview, offset: int, end: int) -> int:
    """The offset of the next byte that is not padding; at most 3 are skipped."""
    limit = min(end, offset + 3)
    while offset < limit and view[offset] == _KIND_PADDING:
        offset += 1
    return offset


def records(view: memoryview, start: int, end: int, count: int | None = None) -> Iterator[Record]:
    """Records from `start` on, `count` of them or up to `end`; raises as `parse_record`."""
    offset, seen = start, 0
    while seen != count:
        offset = skip_padding(view, offset, end)
        if offset == end and count is None:
            return
        record = parse_record(view, offset, end)
        yield record
        offset, seen = record.end, seen + 1
