"""The bytes of a frame: one encoded vector, self-contained and checksummed.

FORMAT.md, "Frame, versions 1 and 2", is the contract. A frame can be copied anywhere (a segment,
the warm tier, a column of a table) and still be verified and decoded on its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crc32c import crc32c

from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError

FRAME_VERSION = 2
# version and codec in one byte, dimension, body length, CRC-32C of the five bytes before it + body
_HEADER = struct.Struct("<BHHI")
_COVERED = struct.Struct("<BHH")
HEADER_BYTES = _HEADER.size
FIELDS_BYTES = _COVERED.size  # of the header before its checksum
DIMENSION_MAX = 16_383  # the raw body of a longer vector would not fit the 16-bit length
_CODECS_A_VERSION = 16  # of version 1: 0 to 15; of version 2: 16 to 31
# their bodies begin with one code a value, which a segment keeps in a plane
SLICED_CODEC_ID, SLICED_TABLED_CODEC_ID = 10, 17
_WITH_CODES = frozenset((SLICED_CODEC_ID, SLICED_TABLED_CODEC_ID))

Buffer = bytes | memoryview


class FrameHeader(NamedTuple):
    """Checked fields of a frame's header."""

    codec_id: int
    dimension: int
    body_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Length of the whole frame in bytes, header included."""
        return HEADER_BYTES + self.body_bytes

    @property
    def has_codes(self) -> bool:
        """Does the body begin with the codes that search scans?"""
        return self.codec_id in _WITH_CODES


def build_frame(codec_id: int, dimension: int, body: bytes) -> bytes:
    """Put header and checksum before a body. The caller has checked the ranges."""
    covered = _COVERED.pack(_CODECS_A_VERSION + codec_id, dimension, len(body))
    return covered + crc32c(body, crc32c(covered)).to_bytes(4, "little") + body


def parse_header(frame: Buffer) -> FrameHeader:
    """Read the header of the frame that begins at `frame[0]`; `frame` may be longer.

    Raises
    ------
    CorruptionError
        TRUNCATED_FRAME when shorter than a header, BAD_FRAME for an impossible field.
    NewerFormatError
        The frame's version is above the one this release reads.
    """
    if len(frame) < HEADER_BYTES:
        raise CorruptionError(
            f"frame: {len(frame)} bytes, a header has {HEADER_BYTES}", ErrorKind.TRUNCATED_FRAME
        )
    tag, dimension, body_bytes, _ = _HEADER.unpack_from(frame)
    version = tag // _CODECS_A_VERSION
    if not 0 < version <= FRAME_VERSION:
        if version:
            raise NewerFormatError(
                f"frame: version {version}, this release reads up to {FRAME_VERSION}",
                ErrorKind.NEWER_FORMAT,
            )
        raise CorruptionError(f"frame: version {version} never existed", ErrorKind.BAD_FRAME)
    if not 0 < dimension <= DIMENSION_MAX or body_bytes > 4 * dimension:
        raise CorruptionError(
            f"frame: dimension {dimension} with a body of {body_bytes} bytes", ErrorKind.BAD_FRAME
        )
    return FrameHeader(tag - _CODECS_A_VERSION, dimension, body_bytes)


def dimensions_of(frames: Iterable[Buffer]) -> set[int]:
    """The dimensions that the headers of whole frames give; no other field is looked at."""
    fields = {bytes(frame[1:3]) for frame in frames}
    return {int.from_bytes(field, "little") for field in fields}


def checked_body(frame: Buffer, header: FrameHeader) -> memoryview:
    """The body of `frame` after its length and checksum were verified; a view, not a copy.

    Raises
    ------
    CorruptionError
        TRUNCATED_FRAME if the body is not all there, CHECKSUM_MISMATCH if any bit changed.
    """
    view = memoryview(frame)
    end = HEADER_BYTES + header.body_bytes
    if len(view) < end:
        raise CorruptionError(
            f"frame: {len(view)} bytes, its header promises {end}", ErrorKind.TRUNCATED_FRAME
        )
    body = view[HEADER_BYTES:end]
    if crc32c(body, crc32c(view[:5])) != int.from_bytes(view[5:9], "little"):
        raise CorruptionError(
            "frame: checksum does not match its bytes", ErrorKind.CHECKSUM_MISMATCH
        )
    return body


def checked_bodies(frames: Sequence[Buffer], dimension: int) -> tuple[list[memoryview], list[int]]:
    """The bodies of frames of one dimension, and their codecs' numbers; all headers at once.

    Raises as `parse_header` and `checked_body` for the first frame that is wrong, and
    CorruptionError (BAD_FRAME) for one of another dimension.
    """
    joined = b"".join([frame[:HEADER_BYTES] for frame in frames])
    if len(joined) == HEADER_BYTES * len(frames):
        # not by numpy: it keeps small arrays of each length, and batches have all lengths (0019)
        heads = [*_HEADER.iter_unpack(joined)]
        tags, dimensions, sizes, checks = zip(*heads, strict=True) if heads else ((),) * 4
        codec_ids = [tag - _CODECS_A_VERSION for tag in tags]
        known = range(FRAME_VERSION * _CODECS_A_VERSION)
        if all(each in known for each in set(codec_ids)) and set(dimensions) <= {dimension}:
            bodies = [
                memoryview(frame)[HEADER_BYTES : HEADER_BYTES + size]
                for frame, size in zip(frames, sizes, strict=True)
            ]
            starts = range(0, len(joined), HEADER_BYTES)
            sums = [
                crc32c(body, crc32c(joined[start : start + FIELDS_BYTES]))
                for start, body in zip(starts, bodies, strict=True)
            ]
            # of a frame cut short the sum is wrong, too; a longer body does not exist
            if sums == [*checks] and max(sizes, default=0) <= 4 * dimension:
                return bodies, codec_ids
    for frame in frames:
        header = parse_header(frame)
        if header.dimension != dimension:
            raise CorruptionError(
                f"frame: dimension {header.dimension}, the reader expects {dimension}",
                ErrorKind.BAD_FRAME,
            )
        checked_body(frame, header)
    raise AssertionError("headers that were refused together are right one by one")
