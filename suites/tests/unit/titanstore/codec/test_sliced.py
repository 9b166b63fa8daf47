"""Sliced bodies: codes that mean what they say, one decoder, and no damage that does harm."""

from __future__ import annotations

import math
import struct
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.choose import SLICED, decode_frame
from titanstore.codec.frame import build_frame
from titanstore.codec.grid import WIDTHS, Recipe
from titanstore.codec.planes import SignificantBits
from titanstore.codec.sliced import powers_of_two, slice_words
from titanstore.errors import CorruptionError, ErrorKind

Words = NDArray[np.uint32]
DIMENSION = 61
HEAD_BYTES = 9
finite_words = st.integers(0, 2**32 - 1).filter(lambda word: word >> 23 & 255 != 255)
finite = arrays(np.uint32, st.integers(1, 60), elements=finite_words)
SIZES = st.integers(-149, 127)
# one size a vector: all huge, all tiny, all subnormal
of_one_size = st.builds(
    lambda size, values: np.ldexp(np.float32(values), size - 1).astype(np.float32),
    SIZES,
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)


def values(seed: int, bits: int = 24, dimension: int = DIMENSION) -> Vector:
    words = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return (words.view(np.uint32) >> 24 - bits << 24 - bits).astype(np.uint32).view(np.float32)


def decoded(body: bytes, dimension: int) -> Words:
    out = np.empty((1, dimension), np.float32)
    SLICED.decode_into([body], out)
    words: Words = out[0].view(np.uint32)
    return words


# -- codes -----------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(words=st.one_of(finite, of_one_size.map(lambda vector: vector.view(np.uint32))))
def test_a_value_lies_between_its_code_and_the_next_one(words: Words) -> None:
    codes, step = slice_words(words)
    if step < -126:
        return  # subnormal values have no code of their own
    unit = Fraction(2) ** step
    for value, word, code in zip(
        words.view(np.float32).tolist(), words.tolist(), codes.tolist(), strict=True
    ):
        if word >> 31:
            assert code < 0
            assert code * unit < Fraction(value) <= (code + 1) * unit
        else:
            assert code >= 0
            assert code * unit <= Fraction(value) < (code + 1) * unit
    assert max(map(abs, codes.tolist())) >= 64


def test_codes_of_some_values() -> None:
    vector = np.array([127, 126.99, 64, 1, 0.99, 0, -0.0, -0.99, -1, -64, -127.99], np.float32)
    codes, step = slice_words(vector.view(np.uint32))
    assert step == 0
    assert codes.tolist() == [127, 126, 64, 1, 0, 0, -1, -1, -2, -65, -128]


# -- bodies ----------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(words=finite)
def test_finite_values_come_back_or_are_refused(words: Words) -> None:
    body = SLICED.encode_grid(words.view(np.float32), 24)
    largest = int((words >> 23 & 255).max())
    if body is None:
        refused = not 7 <= largest <= 254  # a step without normal numbers below it
        assert refused or len(words) < 30, "only a short one may be hard to compress"
        return
    assert body[: words.size] == slice_words(words).codes.tobytes()
    assert np.array_equal(decoded(body, words.size), words)


@pytest.mark.parametrize("largest", [0, 1, 6, 7, 8, 127, 253, 254])
def test_every_size_of_step(largest: int) -> None:
    rng = np.random.default_rng(largest)
    exponents = rng.integers(0, largest + 1, 300).astype(np.uint32)
    exponents[0] = largest
    words = exponents << 23 | rng.integers(0, 2**23, 300, dtype=np.uint32)
    words |= rng.integers(0, 2, 300, dtype=np.uint32) << 31
    body = SLICED.encode_grid(words.view(np.float32), 24)
    assert (body is None) == (largest < 7)
    if body is not None:
        assert np.array_equal(decoded(body, 300), words)


def test_powers_of_two_are_exact() -> None:
    """By their bits: exp2 of another machine's numpy might be one unit off, and frames with it."""
    steps = np.arange(-126, 122, dtype=np.int32)
    wanted = [math.ldexp(1.0, step) for step in steps.tolist()]
    assert powers_of_two(steps).tolist() == wanted
    assert powers_of_two(steps[:, None]).shape == (248, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    vector = values(1)
    vector[30] = bad
    assert SLICED.encode(vector) is None
    assert SLICED.encode_grid(vector, 24) is None


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.sampled_from(WIDTHS),
            st.sampled_from(list(Recipe)),
            st.integers(-60, 60),
        ),
        min_size=1,
        max_size=80,
    )
)
def test_a_batch_decodes_as_one_by_one(
    rows: list[tuple[int, SignificantBits, Recipe, int]],
) -> None:
    bodies = []
    for seed, bits, recipe, size in rows:
        grid = np.ldexp(values(seed, bits), size).astype(np.float32)
        body = SLICED.encode_grid(grid, bits, recipe, np.float32(1.7))
        assert body is not None
        bodies.append(body)
    many = np.empty((len(bodies), DIMENSION), np.float32)
    SLICED.decode_into(bodies, many)
    for row, body in zip(many, bodies, strict=True):
        assert np.array_equal(row.view(np.uint32), decoded(body, DIMENSION))


def test_the_grid_is_found_and_costs_what_it_should() -> None:
    sizes = {}
    for bits in (8, 11, 24):
        vector = values(3, bits, 1024)
        body = SLICED.encode(vector)
        assert body is not None
        assert body[1024] & 3 == (8, 11, 24).index(bits)
        sizes[bits] = len(body)
    assert sizes[8] + 3 * 128 == pytest.approx(sizes[11], abs=60)
    assert sizes[8] + 2 * 1024 == pytest.approx(sizes[24], abs=60)


def assert_decoded_or_refused(body: bytes, count: int, dimension: int) -> None:
    kind = ErrorKind.BAD_FRAME
    try:
        SLICED.decode_into([body] * count, np.empty((count, dimension), np.float32))
    except CorruptionError as error:
        kind = error.kind
    assert kind is ErrorKind.BAD_FRAME


# -- damage ----------------------------------------------------------------------------------------


def whole(bits: SignificantBits = 24) -> bytes:
    body = SLICED.encode_grid(values(5, bits), bits)
    assert body is not None
    return body


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_body_cut_anywhere_is_refused(bits: SignificantBits) -> None:
    body = whole(bits)
    for length in range(len(body)):
        for count in (1, 3):
            with pytest.raises(CorruptionError) as caught:
                SLICED.decode_into(
                    [body[:length]] * count, np.empty((count, DIMENSION), np.float32)
                )
            assert caught.value.kind is ErrorKind.BAD_FRAME


@settings(max_examples=400, deadline=None)
@given(data=st.data(), bits=st.sampled_from(WIDTHS))
def test_any_damage_raises_our_error_or_gives_some_vector(
    data: st.DataObject, bits: SignificantBits
) -> None:
    """The checksum of its frame is what finds the latter."""
    body = bytearray(whole(bits))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for count in (1, 2):
        assert_decoded_or_refused(bytes(body), count, DIMENSION)
    frame = bytearray(build_frame(SLICED.codec_id, DIMENSION, whole(bits)))
    frame[-len(body) :] = body
    if bits < 24 and body != whole(bits):
        with pytest.raises(CorruptionError) as caught:
            decode_frame(bytes(frame))
        assert caught.value.kind is ErrorKind.CHECKSUM_MISMATCH


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300), dimension=st.integers(1, 64))
def test_noise_raises_our_error(body: bytes, dimension: int) -> None:
    assert_decoded_or_refused(body, 1, dimension)


@pytest.mark.parametrize(
    ("form", "step", "small"),
    [
        (3, 0, 0),  # no such width
        (12, 0, 0),  # no such recipe
        (0, -127, 0),
        (0, 122, 0),
        (0, 0, DIMENSION + 1),
    ],
)
def test_a_head_out_of_range_is_refused_before_anything_is_made(
    form: int, step: int, small: int
) -> None:
    body = whole()
    head = struct.pack("<BhfH", form, step, 1.0, small)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError) as caught:
            decoded(body[:DIMENSION] + head + body[DIMENSION + HEAD_BYTES :], DIMENSION)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.kind is ErrorKind.BAD_FRAME
    assert peak < 20_000


def test_small_values_that_do_not_count_up() -> None:
    body = bytearray(whole(8))
    codes = np.frombuffer(bytes(body[:DIMENSION]), np.int8)
    place = int(np.flatnonzero(codes > 1)[0])
    body[place] = 0  # one small value more than there are depths
    for count in (1, 2):
        with pytest.raises(CorruptionError, match="count up"):
            SLICED.decode_into([bytes(body)] * count, np.empty((count, DIMENSION), np.float32))


@pytest.mark.parametrize("scalar", [0.0, -0.0, np.inf, np.nan])
def test_a_damaged_scalar_is_no_warning(scalar: float) -> None:
    body = bytearray(whole(8))
    head = struct.pack("<Bhf", 1 << 2, 0, scalar)
    body[DIMENSION : DIMENSION + len(head)] = head
    decoded(bytes(body), DIMENSION)
