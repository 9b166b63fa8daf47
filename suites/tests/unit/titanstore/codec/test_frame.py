"""The nine bytes of a frame's header."""

from __future__ import annotations

import subprocess
import sys

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


_BATCHES = """
from titanstore.codec.frame import build_frame, checked_bodies

def anonymous_kb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))

frames = [build_frame(0, 8, bytes(32))] * 1_000
checked_bodies(frames, 8)
before = anonymous_kb()
for count in range(1, 1_000):
    checked_bodies(frames[:count], 8)
print(anonymous_kb() - before)
"""


def test_batches_of_all_lengths_leave_no_arrays_behind() -> None:
    """A simulated day found it: numpy keeps arrays below 1 kB, of each length its own."""
    command = [sys.executable, "-c", _BATCHES]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 500  # kB; it was 1 268, and is 52
