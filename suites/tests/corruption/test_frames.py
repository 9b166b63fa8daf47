"""A damaged frame raises an error of the tree; it never becomes another vector."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.formats import write_v1, write_v3
from titanstore.codec.base import Codec
from titanstore.codec.choose import CODECS, SLICED, decode_frame, decode_frames, raw_view
from titanstore.codec.frame import (
    DIMENSION_MAX,
    FRAME_VERSION,
    HEADER_BYTES,
    build_frame,
    checked_body,
    parse_header,
)
from titanstore.codec.planes import payload_bytes
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError

FRAMES = [
    *sorted(write_v1.FOLDER.glob("*.frame")),
    *sorted(write_v3.FOLDER.glob("*-8-divide.frame")),  # one of each codec: each bit is flipped
]
each_frame = pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
REFUSALS = (CorruptionError, NewerFormatError)


def flipped(frame: bytes, bit: int) -> bytes:
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def outcome(frame: bytes) -> str:
    """What a caller sees of a frame; any error that is not CorruptionError goes on up."""
    try:
        decode_frame(frame)
    except CorruptionError as error:
        return error.kind
    return "decoded"


def test_there_are_frames_to_damage() -> None:
    seen = {parse_header(path.read_bytes()).codec_id for path in FRAMES}
    assert seen >= set(CODECS) - {SLICED.codec_id}


@each_frame
def test_each_flipped_bit_is_refused(path: Path) -> None:
    frame = path.read_bytes()
    for bit in range(8 * len(frame)):
        damaged = flipped(frame, bit)
        with pytest.raises(REFUSALS):
            decode_frame(damaged)
        with pytest.raises(REFUSALS):
            decode_frame(damaged + bytes(70_000))  # more to read must not help it along


@each_frame
def test_each_replaced_header_byte_is_refused(path: Path) -> None:
    frame = path.read_bytes()
    for at in range(HEADER_BYTES):
        for value in range(256):
            if value != frame[at]:
                with pytest.raises(REFUSALS):
                    decode_frame(frame[:at] + bytes([value]) + frame[at + 1 :])


@each_frame
def test_each_truncation_is_refused(path: Path) -> None:
    frame = path.read_bytes()
    for length in range(len(frame)):
        with pytest.raises(CorruptionError) as caught:
            decode_frame(frame[:length])
        assert caught.value.kind is ErrorKind.TRUNCATED_FRAME


@each_frame
def test_swapped_and_zeroed_stretches_are_refused(path: Path) -> None:
    frame = path.read_bytes()
    middle = len(frame) // 2
    for damaged in (frame[:middle] + bytes(len(frame) - middle), frame[middle:] + frame[:middle]):
        with pytest.raises(REFUSALS):
            decode_frame(damaged)


def test_one_damaged_frame_among_many_is_refused() -> None:
    frame = (write_v1.FOLDER / "grid8-ordinary.frame").read_bytes()
    out = np.empty((5, parse_header(frame).dimension), dtype=np.float32)
    with pytest.raises(CorruptionError) as caught:
        decode_frames([frame, frame, frame, flipped(frame, 300), frame], out)
    assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH


def test_damaged_raw_frame_gives_no_view() -> None:
    frame = (write_v1.FOLDER / "raw-noise.frame").read_bytes()
    for bit in range(8 * len(frame)):
        try:
            view = raw_view(memoryview(flipped(frame, bit)))
        except REFUSALS:
            continue
        assert view is None  # its codec is another one now: the caller has to decode, and fails


# -- fields that no writer makes, under a checksum that is right ---------------------------------


@pytest.mark.parametrize("codec_id", sorted(set(range(32)) - set(CODECS)))
def test_unknown_codec(codec_id: int) -> None:
    frame = build_frame(codec_id, 64, bytes(256))
    for decode in (decode_frame, lambda f: decode_frames([f], np.empty((1, 64), np.float32))):
        with pytest.raises(CorruptionError) as caught:
            decode(frame)
        assert caught.value.kind is ErrorKind.BAD_FRAME


def test_versions() -> None:
    frame = (write_v1.FOLDER / "planes-ordinary.frame").read_bytes()
    for version in range(16):
        other = bytes([version << 4 | frame[0] & 15]) + frame[1:]
        if version > FRAME_VERSION:
            with pytest.raises(NewerFormatError) as newer:
                parse_header(other)
            assert newer.value.kind is ErrorKind.NEWER_FORMAT
        elif version < 1:
            with pytest.raises(CorruptionError) as never:
                parse_header(other)
            assert never.value.kind is ErrorKind.BAD_FRAME


@pytest.mark.parametrize(
    ("dimension", "body_bytes", "is_possible"),
    [
        (0, 0, False),
        (0, 4, False),
        (1, 4, True),
        (1, 5, False),
        (DIMENSION_MAX, 4 * DIMENSION_MAX, True),
        (DIMENSION_MAX, 4 * DIMENSION_MAX + 1, False),
        (DIMENSION_MAX + 1, 16, False),
        (65_535, 65_535, False),
    ],
)
def test_limits_of_dimension_and_length(dimension: int, body_bytes: int, is_possible: bool) -> None:
    frame = build_frame(0, dimension, bytes(body_bytes))
    if is_possible:
        assert decode_frame(frame).size == dimension
        return
    with pytest.raises(CorruptionError) as caught:
        decode_frame(frame)
    assert caught.value.kind is ErrorKind.BAD_FRAME


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), dimension=st.integers(1, 300))
def test_invented_bodies_raise_only_corruption(
    codec: Codec, dimension: int, data: st.DataObject
) -> None:
    body = data.draw(st.binary(max_size=4 * dimension))
    assert outcome(build_frame(codec.codec_id, dimension, body)) in ("decoded", "bad-frame")


@each_frame
def test_damaged_bodies_under_a_right_checksum_raise_only_corruption(path: Path) -> None:
    frame = path.read_bytes()
    header = parse_header(frame)
    body = bytes(checked_body(frame, header))
    refused = 0
    for bit in range(8 * len(body)):
        for damaged in (flipped(body, bit), body[: bit // 8]):
            seen = outcome(build_frame(header.codec_id, header.dimension, damaged))
            assert seen in ("decoded", "bad-frame")
            refused += seen == "bad-frame"
    assert refused > len(body)  # every shortened body at the least


# -- bombs -----------------------------------------------------------------------------------------


def rle_blocks(size: int, count: int) -> bytes:
    """zstd blocks of `size` equal bytes each, 4 bytes of input a block; the last one ends it."""
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"\x7f"
    last = (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\x7f"
    return block * (count - 1) + last


def equal_literals(size: int) -> bytes:
    """A compressed block of `size` equal bytes, without its header."""
    return (size << 4 | 3 << 2 | 1).to_bytes(3, "little") + b"\x01\0"


def bomb(codec_id: int, dimension: int, size: int) -> bytes:
    """A frame whose zstd part unfolds to as much as its length can ask for."""
    start = b""
    if 2 <= codec_id <= 8:
        bits = {2: 24}.get(codec_id, 8 if codec_id < 6 else 11)
        start = bytes(payload_bytes(bits, dimension))  # type: ignore[arg-type]
        start += b"\x00\x00\x80\x3f" if codec_id not in (2, 3, 6) else b""
    if codec_id == 9:
        start = b"\x01" + b"\x00\x00\x80\x3f" * 2
        size_of_coded = 4 * dimension - len(start) - 2
        start += (size_of_coded // 4 * 4).to_bytes(2, "little")
    if codec_id >= 16:
        start = b"\x02\x7f" + bytes(3 * dimension) if codec_id == 16 else bytes(dimension) + b"\0\0"
        return build_frame(codec_id, dimension, start + equal_literals(size))
    count = (4 * dimension - len(start)) // 4
    return build_frame(codec_id, dimension, start + rle_blocks(size, count))


@pytest.mark.parametrize("codec_id", sorted(set(CODECS) - {0}))
@pytest.mark.parametrize("size", [1 << 11, 1 << 16, 1 << 17])
def test_zstd_bomb_is_refused_in_bounded_memory(codec_id: int, size: int) -> None:
    frame = bomb(codec_id, 4096, size)
    assert len(frame) <= HEADER_BYTES + 4 * 4096
    out = np.empty(4096, dtype=np.float32)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError) as caught:
            decode_frame(frame, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.kind is ErrorKind.BAD_FRAME
    assert peak <= 4 * out.nbytes


def test_a_single_block_of_the_right_size_is_no_bomb() -> None:
    """The bombs above are well-formed zstd: with one fitting block the same bytes decode."""
    frame = build_frame(2, 512, bytes(payload_bytes(24, 512)) + rle_blocks(512, 1))
    assert (decode_frame(frame).view(np.uint32) == 0x7F << 23).all()
    frame = build_frame(16, 512, b"\x02\x80" + bytes(3 * 512) + equal_literals(512))
    assert (decode_frame(frame).view(np.uint32) == 0x7F << 23).all()


@pytest.mark.parametrize("codec_id", sorted(CODECS))
def test_a_large_dimension_with_a_short_body_earns_no_work(codec_id: int) -> None:
    """The header may promise 65 kB; what else is allocated follows from what is there."""
    frame = build_frame(codec_id, DIMENSION_MAX, bytes(12))
    out = np.empty(DIMENSION_MAX, dtype=np.float32)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError):
            decode_frame(frame, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= out.nbytes + 8_000
