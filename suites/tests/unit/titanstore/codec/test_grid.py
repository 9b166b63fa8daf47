"""Finding a scalar: found where there is one, refused quietly where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from titanstore.codec import grid
from titanstore.codec.base import Vector
from titanstore.codec.grid import GridBits, GridCodec, Recipe, find_scalar
from titanstore.errors import CorruptionError, ErrorKind


def on_grid(seed: int, dimension: int, bits: GridBits) -> Vector:
    words = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    shift = 24 - bits
    return (words.view(np.uint32) >> shift << shift).astype(np.uint32).view(np.float32)


def served(values: Vector, scalar: np.float32, recipe: Recipe) -> Vector:
    if recipe is Recipe.DIVIDE:
        return values / scalar
    return values * (np.float32(1) / scalar)


def watch_grid_tests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what is tested for being on the grid from now on."""
    asked: list[tuple[int, ...]] = []
    honest = grid.is_on_grid

    def watched(scaled: NDArray[np.float64], bits: int) -> NDArray[np.bool_]:
        asked.append(scaled.shape)
        return honest(scaled, bits)

    monkeypatch.setattr(grid, "is_on_grid", watched)
    return asked


@pytest.mark.parametrize("bits", [8, 11])
@pytest.mark.parametrize("recipe", [Recipe.DIVIDE, Recipe.RECIPROCAL])
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scalar=st.floats(2.0**-20, 2.0**20, width=32),
    dimension=st.integers(64, 1536),
)
def test_hidden_scalar_is_found(
    bits: GridBits, recipe: Recipe, seed: int, scalar: float, dimension: int
) -> None:
    vector = served(on_grid(seed, dimension, bits), np.float32(scalar), recipe)
    found = find_scalar(vector, bits)
    assert found is not None
    used, n, values = found
    assert np.array_equal(served(values, n, used).view(np.uint32), vector.view(np.uint32))
    codec = GridCodec(15, bits, used)
    body = codec.encode(vector)
    assert body is not None
    assert body == codec.encode_found(n, values)


@pytest.mark.parametrize("bits", [8, 11])
def test_negative_zeros_keep_their_sign(bits: GridBits) -> None:
    values = on_grid(1, 256, bits)
    values[::5] = -0.0
    values[1::5] = 0.0
    found = find_scalar(values / np.float32(3.3), bits)
    assert found is not None
    assert np.array_equal(np.signbit(found[2]), np.signbit(values))


@pytest.mark.parametrize("bits", [8, 11])
@pytest.mark.parametrize("seed", range(5))
def test_one_value_off_the_grid_is_refused(bits: GridBits, seed: int) -> None:
    vector = on_grid(seed, 512, bits) / np.float32(7.7)
    assert find_scalar(vector, bits) is not None
    words = vector.view(np.uint32).copy()
    words[np.random.default_rng(seed).integers(512)] ^= 1 << 9
    assert find_scalar(words.view(np.float32), bits) is None


@pytest.mark.parametrize("bits", [8, 11])
@pytest.mark.parametrize(
    "word",
    [0, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7F800001],
    ids="{:08x}".format,
)
def test_extreme_vectors_are_answered_without_a_warning(bits: GridBits, word: int) -> None:
    """Warnings are errors here. The smallest and largest values once overflowed the search."""
    words = np.full(256, word, dtype=np.uint32)
    found = find_scalar(words.view(np.float32), bits)
    assert found is None
    words[:128] = on_grid(2, 128, bits).view(np.uint32)
    find_scalar(words.view(np.float32), bits)


@pytest.mark.parametrize("nonzero", [1, 2, 8, 40])
@pytest.mark.parametrize("bits", [8, 11])
def test_few_values_cannot_tell_a_scale(
    monkeypatch: pytest.MonkeyPatch, nonzero: int, bits: GridBits
) -> None:
    """They let every scale pass, and trying each one on the whole vector once took 8 ms."""
    vector = np.zeros(1024, dtype=np.float32)
    vector[::25][:nonzero] = np.random.default_rng(3).standard_normal(nonzero)
    asked = watch_grid_tests(monkeypatch)
    assert find_scalar(vector, bits) is None
    assert asked == []


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_vectors_are_refused_by_the_probes_alone(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    asked = watch_grid_tests(monkeypatch)
    vector = np.random.default_rng(seed).standard_normal(1024).astype(np.float32)
    assert find_scalar(vector, 8) is None
    assert asked[0] == (128,)  # all scales, by one probe
    assert len(asked) == 6
    assert sum(count for (count,) in asked) < 128 + 32


@pytest.mark.parametrize("recipe", [Recipe.DIVIDE, Recipe.RECIPROCAL])
def test_body_without_its_scalar(recipe: Recipe) -> None:
    out = np.empty((1, 64), dtype=np.float32)
    for length in range(4):
        with pytest.raises(CorruptionError) as caught:
            GridCodec(15, 8, recipe).decode_into((bytes(length),), out)
        assert caught.value.kind is ErrorKind.BAD_FRAME


@pytest.mark.parametrize("recipe", [Recipe.DIVIDE, Recipe.RECIPROCAL])
@pytest.mark.parametrize("word", [0, 1, 0x7F800000, 0x7F800001, 0x7FC00000])
def test_senseless_scalar_decodes_without_a_warning(recipe: Recipe, word: int) -> None:
    """Its checksum was right, so someone wrote it: the answer is arithmetic, not an exception."""
    codec = GridCodec(15, 8, recipe)
    scalar = np.array([word], dtype=np.uint32).view(np.float32)[0]
    body = codec.encode_found(scalar, on_grid(4, 64, 8))
    assert body is not None
    codec.decode_into((body,), np.empty((1, 64), dtype=np.float32))
