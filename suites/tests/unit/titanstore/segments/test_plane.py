"""Rows of planes: bounds that hold, sums that are exact, bytes of the format page."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fixtures.segments import STORE_ID
from fixtures.vectors import GENERATORS
from titanstore.codec.choose import encode_frame
from titanstore.codec.frame import parse_header
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError
from titanstore.segments.plane import (
    PLANE_HEADER_BYTES,
    Plane,
    PlaneRow,
    is_row_of,
    pack_row,
    plane_header,
    plane_path,
    plane_row,
    plane_rows,
    row_bytes,
    row_type,
    void_row,
)
from titanstore.sums import exact_sums

Vector = NDArray[np.float32]
finite_words = arrays(
    np.uint32,
    st.integers(1, 40),
    elements=st.integers(0, 2**32 - 1).filter(lambda word: word >> 23 & 255 != 255),
)
of_one_size = st.builds(
    lambda size, values: np.ldexp(np.float32(values), size).astype(np.float32),
    st.integers(-149, 126),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)
vectors = st.one_of(finite_words.map(lambda words: words.view(np.float32)), of_one_size)


def is_bound(row: PlaneRow, vector: Vector) -> bool:
    """In exact arithmetic: |x - (codes + 0.5) * scale| <= error?"""
    scale, half = Fraction(row.scale), Fraction(1, 2)
    codes = np.frombuffer(row.codes, np.int8).tolist()
    square = sum(
        (Fraction(value) - (code + half) * scale) ** 2
        for value, code in zip(vector.tolist(), codes, strict=True)
    )
    return math.isinf(row.error) or square <= Fraction(row.error) ** 2


# -- facts -----------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(vector=vectors, compress=st.booleans())
def test_the_error_of_the_codes_is_bounded(vector: Vector, *, compress: bool) -> None:
    row = plane_row(vector, encode_frame(vector, compress=compress, with_codes=True))
    assert is_bound(row, vector)
    assert row.square == math.fsum(value * value for value in vector.tolist())
    assert is_row_of(row, vector)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("dimension", [1, 255, 1536])
def test_rows_of_many_are_those_of_one_and_bounds_are_tight(name: str, dimension: int) -> None:
    some = list(GENERATORS[name](np.random.default_rng(8), 20, dimension))
    frames = [encode_frame(vector, with_codes=True) for vector in some]
    for row, vector, frame in zip(plane_rows(some, frames), some, frames, strict=True):
        assert row.codes == plane_row(vector, frame).codes
        assert is_row_of(row, vector)
        if not np.isfinite(vector).all():
            assert math.isnan(row.scale)
            assert math.isnan(row.error)
            assert row.codes == bytes(dimension)
            continue
        assert is_bound(row, vector)
        if name in ("gaussians", "bfloat16", "token_mean") and dimension > 1:
            assert row.error < 0.02 * math.sqrt(row.square)


def test_codes_are_those_that_complete_a_sliced_frame() -> None:
    vector = GENERATORS["bfloat16_divided"](np.random.default_rng(9), 1, 512)[0]
    frame = encode_frame(vector, with_codes=True)
    assert parse_header(frame).has_codes
    assert plane_row(vector, frame).codes == frame[9 : 9 + 512]


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        arrays(np.uint32, 33, elements=st.integers(0, 0x7F7FFFFF)), min_size=1, max_size=5
    )
)
def test_sums_are_those_of_fsum(rows: list[NDArray[np.uint32]]) -> None:
    squares = np.stack(rows).view(np.float32).astype(np.float64) ** 2
    assert exact_sums(squares).tolist() == [math.fsum(row.tolist()) for row in squares]


def test_sums_halfway_between_two_numbers_are_left_to_fsum() -> None:
    """2^106 + 2^53 lies halfway; what decides is far below both cuts, or is not there."""
    halves = [2.0**53, 2.0**26.5]
    for least in (0.0, 2.0**-40, 2.0**-70):
        for odd in (0.0, 2.0**27):  # to the even number, up or down
            values = np.array([halves[0], odd, 2.0**26, 2.0**26, least], np.float32)
            squares = values.astype(np.float64)[None] ** 2
            assert exact_sums(squares).tolist() == [math.fsum(squares[0].tolist())]
    one = np.array([[2.0**106, 2.0**53, 2.0**-130]])
    assert exact_sums(one).tolist() == [math.fsum(one[0].tolist())] != [2.0**106]


FALSE: dict[str, dict[str, float]] = {
    "error too small": {"error": 0.5},
    "error too large": {"error": 1.5},
    "another scale": {"scale": 1.001},
    "another square": {"square": 1 + 2e-16},
    "not a number": {"scale": math.nan},
}


@pytest.mark.parametrize("name", FALSE)
def test_a_row_that_lies_is_found(name: str) -> None:
    vector = GENERATORS["gaussians"](np.random.default_rng(3), 1, 200)[0]
    row = plane_row(vector, encode_frame(vector, with_codes=True))
    changed = {field: getattr(row, field) * factor for field, factor in FALSE[name].items()}
    assert is_row_of(row, vector)
    assert not is_row_of(row._replace(**changed), vector)
    codes = bytearray(row.codes)
    codes[7] ^= 0x10
    assert not is_row_of(row._replace(codes=bytes(codes)), vector)


# -- bytes -----------------------------------------------------------------------------------------


def test_row_bytes_are_those_of_the_format_page() -> None:
    row = PlaneRow(b"\x01\xff\x7f", 0.25, 1.5, 7.125)
    covered = b"\x01\xff\x7f" + bytes(5) + struct.pack("<IIffd", 0x01020304, 9, 0.25, 1.5, 7.125)
    wanted = covered + crc32c(covered).to_bytes(4, "little") + bytes(4)
    assert pack_row(row, 0x01020304, 9) == wanted
    assert row_bytes(3) == len(wanted) == 40
    seen = np.frombuffer(wanted, row_type(3))[0]
    assert seen["codes"].tolist() == [1, -1, 127]
    assert (seen["offset"], seen["document"]) == (0x01020304, 9)
    assert (seen["scale"], seen["error"], seen["square"]) == (0.25, 1.5, 7.125)
    assert np.isnan(np.frombuffer(void_row(3), row_type(3))["scale"][0])
    assert np.frombuffer(void_row(3), row_type(3))["offset"][0] == 0


def test_header_bytes_are_those_of_the_format_page() -> None:
    covered = b"TPLN\x01\x00\x00\x00\x02\x01\x00\x00\x03\x00\x00\x00" + STORE_ID
    wanted = covered + crc32c(covered).to_bytes(4, "little")
    assert plane_header(0x0102, 3, STORE_ID) == wanted.ljust(64, b"\0")


def a_plane(folder: Path) -> Path:
    rows = [PlaneRow(bytes([n] * 5), 1.0, n, n) for n in range(3)]
    data = plane_header(1, 5, STORE_ID) + b"".join(pack_row(row, 40, 0) for row in rows)
    path = plane_path(folder, 1, 5)
    path.write_bytes(data)
    return path


def test_each_bit_of_a_header_is_guarded(tmp_path: Path) -> None:
    path = a_plane(tmp_path)
    whole = path.read_bytes()
    for bit in range(8 * 36):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises((CorruptionError, NewerFormatError), match=r"00001-5\.plane"):
            Plane(tmp_path, 1, 5, STORE_ID)


def test_each_bit_of_a_row_is_guarded(tmp_path: Path) -> None:
    path = a_plane(tmp_path)
    whole = path.read_bytes()
    assert Plane(tmp_path, 1, 5, STORE_ID).row(1) == PlaneRow(b"\1" * 5, 1.0, 1.0, 1.0)
    start = PLANE_HEADER_BYTES + row_bytes(5)
    for bit in range(8 * (row_bytes(5) - 4)):
        damaged = bytearray(whole)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert Plane(tmp_path, 1, 5, STORE_ID).row(1) is None


def test_missing_short_foreign_and_newer_planes(tmp_path: Path) -> None:
    path = a_plane(tmp_path)
    whole = path.read_bytes()

    def kind_of(number: int = 1, dimension: int = 5, store_id: bytes = STORE_ID) -> ErrorKind:
        with pytest.raises((CorruptionError, NewerFormatError)) as caught:
            Plane(tmp_path, number, dimension, store_id)
        kind: ErrorKind = caught.value.kind
        return kind

    assert kind_of(2) is ErrorKind.MISSING_SEGMENT
    assert kind_of(store_id=bytes(16)) is ErrorKind.BAD_SEGMENT
    plane_path(tmp_path, 2, 5).write_bytes(whole)
    assert kind_of(2) is ErrorKind.BAD_SEGMENT
    plane_path(tmp_path, 1, 6).write_bytes(whole)
    assert kind_of(1, 6) is ErrorKind.BAD_SEGMENT
    for size in (0, 1, PLANE_HEADER_BYTES - 1):
        path.write_bytes(whole[:size])
        assert kind_of() is ErrorKind.SHORT_SEGMENT
    path.write_bytes(whole[:4] + b"\2" + whole[5:])
    assert kind_of() is ErrorKind.NEWER_FORMAT


def test_a_row_that_is_torn_or_not_there(tmp_path: Path) -> None:
    path = a_plane(tmp_path)
    for size in range(PLANE_HEADER_BYTES, path.stat().st_size):
        plane = Plane(tmp_path, 1, 5, STORE_ID)
        count = len(plane.rows)
        path.write_bytes(path.read_bytes()[:-1])
        for row in (count, -1, 2**32 - 1):
            for call in (plane.codes_of, plane.row):
                with pytest.raises(CorruptionError, match=r"00001-5\.plane") as caught:
                    call(row)
                assert caught.value.kind is ErrorKind.SHORT_SEGMENT
            plane.will_need(row % 2**32)
        del plane, size
