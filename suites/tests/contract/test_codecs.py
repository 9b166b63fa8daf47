"""One suite for every codec: what goes in comes out, bit for bit, or is refused.

A new codec adds one line to CLAIMS in claims.py.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.tests.contract.claims import CLAIMS, SPECIAL, Words, any_words, same_bits, seeds
from titanstore.codec.base import Codec, Vector
from titanstore.codec.choose import (
    CODECS,
    GRIDS,
    RAW,
    decode_frame,
    decode_frames,
    encode_frame,
    encode_frame_with,
    raw_view,
)
from titanstore.codec.frame import DIMENSION_MAX, HEADER_BYTES, parse_header
from titanstore.codec.grid import Recipe
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.plane import row_bytes

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "titan"
# A lattice's scale is found with high probability only; few bytes are not worth a block of zstd's.
# By codec, the dimension from which on it never refuses.
NOT_ALWAYS = {"lattice": 10_000, "tabled": 256, "sliced-tabled": 256}

each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)


def claimed(codec: Codec, seed: int, dimension: int) -> Vector:
    return CLAIMS[codec.name](np.random.default_rng(seed), dimension)


def test_every_codec_states_its_claim() -> None:
    assert set(CLAIMS) == {codec.name for codec in CODECS.values()}
    assert all(number == codec.codec_id < 32 for number, codec in CODECS.items())


# -- round trips -------------------------------------------------------------------------------


@each_codec
@settings(max_examples=40, deadline=None)
@given(
    seed=seeds, dimension=st.one_of(st.sampled_from([64, 256, 1024, 1536]), st.integers(64, 400))
)
def test_vectors_of_its_claim_come_back_bit_for_bit(
    codec: Codec, seed: int, dimension: int
) -> None:
    vector = claimed(codec, seed, dimension)
    before = vector.copy()
    body = codec.encode(vector)
    if codec.name.endswith("-reciprocal") and body is None:
        # one of the few where a division gives the same bits: then that codec has it
        assert GRIDS[codec.bits, Recipe.DIVIDE].encode(vector) is not None  # type: ignore[attr-defined]
        return
    if body is None and codec.name in NOT_ALWAYS:
        assert dimension < NOT_ALWAYS[codec.name]
        return
    assert body is not None
    out = np.empty((1, dimension), dtype=np.float32)
    codec.decode_into((body,), out)
    assert same_bits(out[0], vector)
    assert same_bits(vector, before), "encoding changed its input"


@each_codec
@settings(max_examples=60, deadline=None)
@given(words=any_words)
def test_any_bits_are_refused_or_come_back(codec: Codec, words: Words) -> None:
    frame = encode_frame_with(codec, words.view(np.float32))
    if frame is None:
        assert codec is not RAW
        return
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)


@settings(max_examples=300, deadline=None)
@given(words=any_words)
def test_chosen_frame_keeps_any_bits(words: Words) -> None:
    frame = encode_frame(words.view(np.float32))
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)
    assert len(frame) <= HEADER_BYTES + words.nbytes


@pytest.mark.parametrize("word", SPECIAL, ids=lambda word: f"{word:08x}")
@pytest.mark.parametrize("base", ["raw", "planes", "grid8", "grid8-divide", "grid11-reciprocal"])
def test_a_special_value_among_ordinary_ones(word: int, base: str) -> None:
    words = CLAIMS[base](np.random.default_rng(5), 256).view(np.uint32).copy()
    words[[0, 100, 255]] = word
    frame = encode_frame(words.view(np.float32))
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)


@pytest.mark.parametrize("dimension", [1, 2, 7, 8, 9, 40, 41, 63, 64, 65, 4096, DIMENSION_MAX])
@pytest.mark.parametrize("claim", CLAIMS)
def test_every_dimension(claim: str, dimension: int) -> None:
    vector = CLAIMS[claim](np.random.default_rng(6), dimension)
    assert same_bits(decode_frame(encode_frame(vector)), vector)


# -- many at once, in place --------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(CLAIMS)), min_size=1, max_size=150),
    dimension=st.sampled_from([64, 67, 256]),
    seed=seeds,
)
def test_many_frames_of_mixed_codecs_decode_as_one_by_one(
    names: list[str], dimension: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = [CLAIMS[name](rng, dimension) for name in names]
    frames = [encode_frame(vector) for vector in vectors]
    out = np.full((len(frames), dimension), np.nan, dtype=np.float32)
    decode_frames(frames, out)
    assert all(same_bits(row, vector) for row, vector in zip(out, vectors, strict=True))


def test_no_frames_leave_out_alone() -> None:
    decode_frames([], np.empty((0, 64), dtype=np.float32))


@each_codec
def test_decoding_into_a_given_row(codec: Codec) -> None:
    vector = claimed(codec, 7, 256)
    frame = encode_frame_with(codec, vector)
    assert frame is not None
    out = np.full((3, 256), 1.5, dtype=np.float32)
    assert np.shares_memory(decode_frame(frame, out[1]), out)
    assert same_bits(out[1], vector)
    assert (out[[0, 2]] == 1.5).all()


@each_codec
def test_result_is_no_view_of_the_frame(codec: Codec) -> None:
    vector = claimed(codec, 8, 256)
    frame = encode_frame_with(codec, vector)
    assert frame is not None
    buffer = bytearray(frame)
    decoded = decode_frame(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert same_bits(decoded, vector)


@each_codec
def test_another_dimension_is_refused(codec: Codec) -> None:
    frame = encode_frame_with(codec, claimed(codec, 9, 256))
    assert frame is not None
    with pytest.raises(CorruptionError) as one:
        decode_frame(frame, np.empty(255, dtype=np.float32))
    with pytest.raises(CorruptionError) as many:
        decode_frames([frame], np.empty((1, 255), dtype=np.float32))
    assert one.value.kind is many.value.kind is ErrorKind.BAD_FRAME


def test_raw_view_reads_in_place_and_other_codecs_have_none() -> None:
    vector = CLAIMS["raw"](np.random.default_rng(10), 128)
    buffer = memoryview(bytearray(encode_frame(vector, compress=False) + b"more"))
    view = raw_view(buffer)
    assert view is not None
    assert same_bits(view.copy(), vector)
    assert np.shares_memory(view, np.frombuffer(buffer, np.uint8))
    assert not view.flags.writeable
    assert raw_view(memoryview(encode_frame(CLAIMS["grid8"](np.random.default_rng(1), 64)))) is None


# -- never beyond the input, never more memory than the result earns -------------------------------


@each_codec
@pytest.mark.parametrize("poison", [b"\x00", b"\xff", b"\x28\xb5\x2f\xfd"])
def test_bytes_around_a_frame_do_not_matter(codec: Codec, poison: bytes) -> None:
    vector = claimed(codec, 11, 256)
    frame = encode_frame_with(codec, vector)
    assert frame is not None
    buffer = memoryview(poison * 5_000 + frame + poison * 5_000)
    start = 5_000 * len(poison)
    assert same_bits(decode_frame(buffer[start : start + len(frame)]), vector)
    assert same_bits(decode_frame(buffer[start:]), vector)
    for missing in (1, 2, 5, len(frame) // 2, len(frame) - HEADER_BYTES, len(frame) - 1):
        with pytest.raises(CorruptionError) as caught:
            decode_frame(buffer[start : start + len(frame) - missing])
        assert caught.value.kind is ErrorKind.TRUNCATED_FRAME


@each_codec
@pytest.mark.parametrize("dimension", [256, 4096])
def test_decoding_takes_a_few_times_the_result(codec: Codec, dimension: int) -> None:
    vector = claimed(codec, 12, dimension)
    frame = encode_frame_with(codec, vector)
    assert frame is not None
    decode_frame(frame)  # contexts of this thread are made once
    tracemalloc.start()
    try:
        decode_frame(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert vector.nbytes <= peak <= 10 * vector.nbytes + 8_000


# -- recorded vectors ------------------------------------------------------------------------------

# Least saving of frames alone, headers included, in percent of raw float32.
STATED_SAVING = {
    "v1_chunks": 64.6,
    "v2_scaled_bf16": 65.8,
    "image_v1": 65.8,
    "v2_token_mean": 16.0,
    "v2_token_mean_short": 45.5,
}


# The same of a frame and the row of its plane, codes and facts included.
STATED_SAVING_WITH_CODES = {
    "v1_chunks": 56.3,
    "v2_scaled_bf16": 57.9,
    "image_v1": 57.0,
    "v2_token_mean": 9.0,
    "v2_token_mean_short": 20.0,
}


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded vectors are not on this machine")
@pytest.mark.parametrize("name", STATED_SAVING_WITH_CODES)
def test_recorded_vectors_beside_their_codes(name: str) -> None:
    with np.load(RECORDED / f"{name}.npz") as archive:
        vectors = np.unique(archive["vectors"], axis=0)
    frames = [encode_frame(vector, with_codes=True) for vector in vectors]
    for frame, vector in zip(frames, vectors, strict=True):
        assert same_bits(decode_frame(frame), vector)
    dimension = vectors.shape[1]
    sliced = sum(parse_header(frame).has_codes for frame in frames)
    stored = sum(map(len, frames)) - sliced * dimension + len(frames) * row_bytes(dimension)
    assert 100 * (1 - stored / vectors.nbytes) >= STATED_SAVING_WITH_CODES[name]


@pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded vectors are not on this machine")
@pytest.mark.parametrize("name", STATED_SAVING)
def test_recorded_vectors_keep_their_bits_and_shrink_as_stated(name: str) -> None:
    with np.load(RECORDED / f"{name}.npz") as archive:
        vectors = np.unique(archive["vectors"], axis=0)  # repeats must not improve a figure
    frames = [encode_frame(vector) for vector in vectors]
    decoded = np.empty_like(vectors)
    decode_frames(frames, decoded)
    assert same_bits(decoded, vectors)
    for frame, vector in zip(frames, vectors, strict=True):
        assert same_bits(decode_frame(frame), vector)
    saved = 100 * (1 - sum(map(len, frames)) / vectors.nbytes)
    assert saved >= STATED_SAVING[name]
