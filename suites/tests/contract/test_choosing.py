"""The codec chosen for a vector is the one made for it, and a codec that lies is caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.tests.contract.claims import CLAIMS, Words, any_words, same_bits, seeds
from titanstore.codec import choose
from titanstore.codec.base import Vector
from titanstore.codec.choose import (
    CODECS,
    PLANES,
    RAW,
    TABLED,
    decode_frame,
    encode_frame,
    encode_frame_with,
    encode_frames,
)
from titanstore.codec.frame import HEADER_BYTES, Buffer, parse_header
from titanstore.codec.grid import Recipe
from titanstore.codec.tabled import TabledCodec


@pytest.mark.parametrize("name", sorted(set(CLAIMS) - {"zstd"}))
def test_the_codec_made_for_a_vector_is_chosen(name: str) -> None:
    frame = encode_frame(CLAIMS[name](np.random.default_rng(13), 1024))
    wanted = name if name in ("raw", "lattice") else "tabled"
    assert CODECS[parse_header(frame).codec_id].name == wanted


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, np.nan, 1 / 3])
@pytest.mark.parametrize("with_codes", [False, True])
def test_equal_values_take_a_few_bytes_beside_what_is_cut_out(
    value: float, with_codes: bool
) -> None:
    """Their exponents make no compressed block; an older codec has them."""
    vector = np.full(1024, value, np.float32)
    frame = encode_frame(vector, with_codes=with_codes)
    assert same_bits(decode_frame(frame), vector)
    assert len(frame) <= 40 + 1024 * (3 if np.isnan(value) or value == 1 / 3 else 1)


@pytest.mark.parametrize("name", sorted(set(CLAIMS) - {"zstd", "raw", "lattice"}))
def test_beside_its_codes_a_vector_is_sliced(name: str) -> None:
    frame = encode_frame(CLAIMS[name](np.random.default_rng(13), 1024), with_codes=True)
    assert CODECS[parse_header(frame).codec_id].name == "sliced-tabled"


def test_beside_its_codes_a_lattice_stays_where_it_is_smaller() -> None:
    frame = encode_frame(CLAIMS["lattice"](np.random.default_rng(13), 1024), with_codes=True)
    assert CODECS[parse_header(frame).codec_id].name == "lattice"


@settings(max_examples=300, deadline=None)
@given(words=any_words)
def test_chosen_frame_beside_codes_keeps_any_bits(words: Words) -> None:
    frame = encode_frame(words.view(np.float32), with_codes=True)
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)
    assert len(frame) <= HEADER_BYTES + words.nbytes


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(sorted(CLAIMS)), st.sampled_from([64, 67, 256])), max_size=70
    ),
    with_codes=st.booleans(),
    seed=seeds,
)
def test_many_are_encoded_as_one_by_one(
    rows: list[tuple[str, int]], with_codes: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = [CLAIMS[name](rng, dimension) for name, dimension in rows]
    frames = encode_frames(vectors, with_codes=with_codes)
    assert frames == [encode_frame(vector, with_codes=with_codes) for vector in vectors]


def test_a_lie_among_many_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = [CLAIMS["grid8"](np.random.default_rng(seed), 256) for seed in range(40)]
    vectors = [*honest, odd_at_17(), *honest]
    monkeypatch.setattr(choose, "TABLED", BitDropper())
    frames = encode_frames(vectors)
    codecs = [parse_header(frame).codec_id for frame in frames]
    assert codecs == [TABLED.codec_id] * 40 + [PLANES.codec_id] + [TABLED.codec_id] * 40
    for frame, vector in zip(frames, vectors, strict=True):
        assert same_bits(decode_frame(frame), vector)


def test_a_decoder_that_raises_among_many_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = [CLAIMS["grid8"](np.random.default_rng(seed), 256) for seed in range(5)]
    monkeypatch.setattr(choose, "TABLED", FormForger())
    for frame, vector in zip(encode_frames(vectors), vectors, strict=True):
        assert parse_header(frame).codec_id != TABLED.codec_id
        assert same_bits(decode_frame(frame), vector)


def test_no_vectors_give_no_frames() -> None:
    assert encode_frames([]) == []


def test_without_compression_everything_is_raw() -> None:
    vector = CLAIMS["grid8"](np.random.default_rng(14), 256)
    frame = encode_frame(vector, compress=False)
    assert parse_header(frame).codec_id == RAW.codec_id
    assert same_bits(decode_frame(frame), vector)


class BitDropper(TabledCodec):
    """A lying codec: it drops the lowest bit of one value before it encodes."""

    def encode_grid(self, grid: Vector, *claim: Any) -> bytes | None:
        words = grid.view(np.uint32).copy()
        words[17] &= 0xFFFFFFFE
        return super().encode_grid(words.view(np.float32), *claim)


class FormForger(TabledCodec):
    """A lying codec: its bodies have a form that does not exist."""

    def encode_grid(self, grid: Vector, *claim: Any) -> bytes | None:
        body = super().encode_grid(grid, *claim)
        return None if body is None else b"\xff" + body[1:]


class NanQuietener(TabledCodec):
    """A lying codec: it decodes every NaN to the quiet one."""

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        super().decode_into(bodies, out)
        out[np.isnan(out)] = np.nan


def odd_at_17() -> Vector:
    words = CLAIMS["planes"](np.random.default_rng(15), 256).view(np.uint32) | 1
    return words.astype(np.uint32).view(np.float32)


def test_a_codec_that_drops_a_bit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = odd_at_17()
    assert encode_frame_with(TABLED, vector) is not None
    assert encode_frame_with(BitDropper(), vector) is None
    monkeypatch.setattr(choose, "TABLED", BitDropper())
    frame = encode_frame(vector)
    assert parse_header(frame).codec_id == PLANES.codec_id
    assert same_bits(decode_frame(frame), vector)


def test_a_decoder_that_quietens_nan_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = odd_at_17()
    vector.view(np.uint32)[3] = 0x7F800001
    assert parse_header(encode_frame(vector)).codec_id == TABLED.codec_id
    monkeypatch.setitem(CODECS, TABLED.codec_id, NanQuietener())
    frame = encode_frame(vector)
    assert parse_header(frame).codec_id == PLANES.codec_id
    assert same_bits(decode_frame(frame), vector)


class OneOff(TabledCodec):
    """A lying codec: its scalar is one unit too large."""

    def encode_grid(
        self, grid: Vector, bits: Any, recipe: Any = Recipe.NONE, scalar: Any = 1.0
    ) -> bytes | None:
        larger = np.nextafter(np.float32(scalar), np.float32(np.inf))
        return super().encode_grid(grid, bits, recipe, larger)


def test_a_scalar_one_unit_off_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = CLAIMS["grid8-divide"](np.random.default_rng(16), 1024)
    assert parse_header(encode_frame(vector)).codec_id == TABLED.codec_id
    monkeypatch.setattr(choose, "TABLED", OneOff())
    frame = encode_frame(vector)
    assert parse_header(frame).codec_id == 4
    assert same_bits(decode_frame(frame), vector)
