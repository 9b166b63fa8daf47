"""The nine bytes of a frame's header."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from titanstore.codec.frame import (
    DIMENSION_MAX,
    HEADER_BYTES,
    build_frame,
    checked_body,
    parse_header,
)
from titanstore.errors import CorruptionError, ErrorKind


def test_frame_bytes_are_those_of_the_format_page() -> None:
    start = b"\x12\x00\x06\x04\x00"
    check = crc32c(start + b"body").to_bytes(4, "little")
    assert build_frame(2, 1536, b"body") == start + check + b"body"
    assert HEADER_BYTES == 9
    assert crc32c(b"123456789") == 0xE3069283, "not the CRC-32C of RFC 3720"


@given(
    codec_id=st.integers(0, 15),
    dimension=st.integers(1, DIMENSION_MAX),
    body=st.binary(max_size=200),
    tail=st.binary(max_size=20),
)
def test_fields_come_back(codec_id: int, dimension: int, body: bytes, tail: bytes) -> None:
    frame = build_frame(codec_id, dimension, body)
    if len(body) > 4 * dimension:
        with pytest.raises(CorruptionError):
            parse_header(frame)
        return
    header = parse_header(frame + tail)
    assert (header.codec_id, header.dimension, header.body_bytes) == (
        codec_id,
        dimension,
        len(body),
    )
    assert header.frame_bytes == len(frame)
    assert checked_body(memoryview(frame + tail), header) == body


def test_body_is_a_view() -> None:
    buffer = bytearray(build_frame(0, 16, b"body"))
    body = checked_body(memoryview(buffer), parse_header(memoryview(buffer)))
    buffer[HEADER_BYTES] = ord("B")
    assert bytes(body) == b"Body"


@pytest.mark.parametrize("length", range(HEADER_BYTES))
def test_shorter_than_a_header(length: int) -> None:
    with pytest.raises(CorruptionError) as caught:
        parse_header(build_frame(0, 16, b"")[:length])
    assert caught.value.kind is ErrorKind.TRUNCATED_FRAME
