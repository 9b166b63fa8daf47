"""Bodies by shipped tables: any grid, any base, one decoder, and no damage that does harm."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.choose import SLICED, SLICED_TABLED, TABLED, decode_frame
from titanstore.codec.frame import build_frame, parse_header
from titanstore.codec.grid import WIDTHS, Recipe
from titanstore.codec.planes import SignificantBits
from titanstore.codec.sliced_tabled import SlicedTabledCodec
from titanstore.codec.tabled import TabledCodec
from titanstore.codec.tables import EXPONENTS_TREE
from titanstore.errors import CorruptionError, ErrorKind

Words = NDArray[np.uint32]
Coded = TabledCodec | SlicedTabledCodec
DIMENSION = 96
CODECS: dict[str, Coded] = {"tabled": TABLED, "sliced": SLICED_TABLED}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def values(seed: int, bits: int = 24, dimension: int = DIMENSION) -> Vector:
    words = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return (words.view(np.uint32) >> 24 - bits << 24 - bits).astype(np.uint32).view(np.float32)


def head_at(codec: Coded, dimension: int = DIMENSION) -> int:
    """Where the form of a body is."""
    return dimension if codec is SLICED_TABLED else 0


def whole(codec: Coded, bits: SignificantBits = 24, recipe: Recipe = Recipe.NONE) -> bytes:
    body = codec.encode_grid(values(5, bits), bits, recipe, np.float32(1.7))
    assert body is not None
    return body


def decoded(codec: Coded, body: bytes, dimension: int, count: int = 1) -> Words:
    out = np.empty((count, dimension), np.float32)
    codec.decode_into([body] * count, out)
    words: Words = out.view(np.uint32)
    assert (words == words[0]).all()
    first: Words = words[0]
    return first


@each_codec
@pytest.mark.parametrize("size", [-120, -100, 0, 60, 120])
def test_vectors_of_every_size(codec: Coded, size: int) -> None:
    """The base follows the size, round its end too; the step of codes has limits."""
    for bits in (8, 24):
        vector = np.ldexp(values(1, bits, 512), size).astype(np.float32)
        body = codec.encode(vector)
        if body is None:
            assert codec is SLICED_TABLED
            assert size == -120
            continue
        assert np.array_equal(decoded(codec, body, 512), vector.view(np.uint32))
        usual = codec.encode(values(1, bits, 512))
        assert usual is not None
        if size > -120:
            assert len(body) == len(usual), "a power of two changes no other byte"


@pytest.mark.parametrize("largest", [0, 1, 7, 8, 9, 127, 248, 254, 255])
def test_every_largest_exponent(largest: int) -> None:
    rng = np.random.default_rng(largest)
    below = np.minimum(rng.geometric(0.5, 600) - 1, largest).astype(np.uint32)
    words = (largest - below) << 23 | rng.integers(0, 2**23, 600, dtype=np.uint32)
    words |= rng.integers(0, 2, 600, dtype=np.uint32) << 31
    words[0] = words[0] & 0x807FFFFF | largest << 23
    vector = words.view(np.float32)
    body = TABLED.encode_grid(vector, 24)
    assert body is not None
    assert np.array_equal(decoded(TABLED, body, 600), words)
    assert np.array_equal(decoded(TABLED, body, 600, 3), words)
    body = SLICED_TABLED.encode_grid(vector, 24)
    assert (body is not None) == (8 <= largest <= 254)
    if body is not None:
        assert np.array_equal(decoded(SLICED_TABLED, body, 600), words)
        assert np.array_equal(decoded(SLICED_TABLED, body, 600, 3), words)


@each_codec
@settings(max_examples=30, deadline=None)
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
    codec: Coded, rows: list[tuple[int, SignificantBits, Recipe, int]]
) -> None:
    bodies = []
    for seed, bits, recipe, size in rows:
        grid = np.ldexp(values(seed, bits), size).astype(np.float32)
        body = codec.encode_grid(grid, bits, recipe, np.float32(1.7))
        assert body is not None
        bodies.append(body)
    for times in (1, 1 + 200 // len(bodies)):  # the latter in the larger blocks of rows
        many = np.empty((len(bodies) * times, DIMENSION), np.float32)
        codec.decode_into(bodies * times, many)
        copies = many.view(np.uint32).reshape(times, len(bodies), DIMENSION)
        for row, body in enumerate(bodies):
            assert (copies[:, row] == decoded(codec, body, DIMENSION)).all()


def test_both_kinds_of_sliced_bodies_have_the_same_codes() -> None:
    for bits in (8, 11, 24):
        old, new = SLICED.encode(values(7, bits, 1024)), SLICED_TABLED.encode(values(7, bits, 1024))
        assert old is not None
        assert new is not None
        assert new[:1024] == old[:1024]
        assert len(new) < len(old)


def test_exponents_that_the_table_lacks_bring_a_table_of_their_own() -> None:
    """So that a vector unlike all others costs some bytes, and is not refused."""
    vector = values(8, 8, 1024)
    usual = TABLED.encode(vector)
    words = vector.view(np.uint32).copy()
    words[3] = words[3] & 0x807FFFFF | 3 << 23
    other = TABLED.encode(words.view(np.float32))
    assert usual is not None
    assert other is not None
    assert 0 < len(other) - len(usual) < 2 * len(EXPONENTS_TREE)
    assert np.array_equal(decoded(TABLED, other, 1024), words)


# -- damage ----------------------------------------------------------------------------------------


def outcome(decode: Callable[[], object]) -> str:
    try:
        decode()
    except CorruptionError as error:
        return error.kind
    return "decoded"


@each_codec
@pytest.mark.parametrize("bits", WIDTHS)
def test_a_body_cut_anywhere_is_refused(codec: Coded, bits: SignificantBits) -> None:
    body = whole(codec, bits, Recipe.DIVIDE)
    for length in range(len(body)):
        for count in (1, 3):
            seen = outcome(lambda: decoded(codec, body[:length], DIMENSION, count))  # noqa: B023
            assert seen == ErrorKind.BAD_FRAME, (length, count)


@each_codec
@settings(max_examples=80, deadline=None)
@given(data=st.data(), bits=st.sampled_from(WIDTHS))
def test_any_damage_raises_our_error_or_gives_some_vector(
    codec: Coded, data: st.DataObject, bits: SignificantBits
) -> None:
    """The checksum of its frame is what finds the latter."""
    body = bytearray(whole(codec, bits))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    seen = {
        outcome(lambda: codec.decode_into([bytes(body)] * count, out))  # noqa: B023
        for count in (1, 2)
        for out in [np.empty((count, DIMENSION), np.float32)]
    }
    assert seen in ({"decoded"}, {ErrorKind.BAD_FRAME})  # one decoder and the other agree
    frame = bytearray(build_frame(codec.codec_id, DIMENSION, whole(codec, bits)))
    frame[-len(body) :] = body
    if body != whole(codec, bits) and bits < 24:
        assert outcome(lambda: decode_frame(bytes(frame))) == ErrorKind.CHECKSUM_MISMATCH


@each_codec
@pytest.mark.parametrize("form", [3, 7, 12, 13, 16, 128, 255])
def test_a_form_that_does_not_exist_is_refused_before_anything_is_made(
    codec: Coded, form: int
) -> None:
    body = bytearray(whole(codec))
    body[head_at(codec)] = form
    tracemalloc.start()
    try:
        seen = {outcome(lambda: decoded(codec, bytes(body), DIMENSION, count)) for count in (1, 3)}  # noqa: B023
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == {ErrorKind.BAD_FRAME}
    assert peak < 20_000


@pytest.mark.parametrize("step", [-128, -127, -126, 122, 127])
def test_a_step_out_of_range_is_refused(step: int) -> None:
    body = bytearray(whole(SLICED_TABLED))
    body[DIMENSION + 1] = step % 256
    for count in (1, 3):
        seen = outcome(lambda: decoded(SLICED_TABLED, bytes(body), DIMENSION, count))  # noqa: B023
        assert seen == ErrorKind.BAD_FRAME


def test_small_values_without_depths_are_refused() -> None:
    body = bytearray(whole(SLICED_TABLED, 8))
    codes = np.frombuffer(bytes(body[:DIMENSION]), np.int8)
    body[int(np.flatnonzero(codes > 1)[0])] = 0  # one small value more than there are depths
    for count in (1, 3):
        seen = outcome(lambda: decoded(SLICED_TABLED, bytes(body), DIMENSION, count))  # noqa: B023
        assert seen == ErrorKind.BAD_FRAME


@each_codec
@pytest.mark.parametrize("scalar", [0.0, -0.0, np.inf, np.nan])
def test_a_damaged_scalar_is_no_warning(codec: Coded, scalar: float) -> None:
    body = bytearray(whole(codec, 8, Recipe.DIVIDE))
    at = head_at(codec) + 2
    body[at : at + 4] = np.float32(scalar).tobytes()
    for count in (1, 2):
        codec.decode_into([bytes(body)] * count, np.empty((count, DIMENSION), np.float32))


def test_frames_are_of_version_2_for_releases_that_know_only_1() -> None:
    """They raise NewerFormatError on its first byte, and do not call the frame damaged."""
    for codec in CODECS.values():
        frame = build_frame(codec.codec_id, DIMENSION, whole(codec))
        assert frame[0] >> 4 == 2
        assert parse_header(frame).has_codes == (codec is SLICED_TABLED)
