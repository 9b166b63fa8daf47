"""The entropy bound is right where the answer is known, and agrees with earlier measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.bounds import (
    EntropyBound,
    Grid,
    GroupBound,
    entropy_bits,
    entropy_bound,
    find_grid,
    token_mean_bits,
)

RECORDED = Path(__file__).parents[5] / "shared" / "data" / "titan"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="recorded vectors are not here")

Vectors = NDArray[np.float32]


def read_vectors(name: str) -> tuple[Vectors, NDArray[np.int32]]:
    with np.load(RECORDED / f"{name}.npz", allow_pickle=False) as file:
        return file["vectors"], file["token_count"]


def on_grid(values: NDArray[np.float64], bits: int) -> Vectors:
    fraction, exponent = np.frexp(values)
    rounded: Vectors = np.ldexp(np.rint(fraction * 2.0**bits), exponent - bits).astype(np.float32)
    return rounded


def normal(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("symbols", [1, 2, 16, 256])
def test_uniform_symbols_have_their_full_entropy(symbols: int) -> None:
    drawn = np.random.default_rng(1).integers(symbols, size=200_000)
    assert entropy_bits(drawn, field_bits=8) == pytest.approx(np.log2(symbols), abs=0.002)


def test_few_samples_are_corrected_but_never_above_the_field() -> None:
    rng = np.random.default_rng(1)
    estimates = [entropy_bits(rng.integers(64, size=256), field_bits=8) for _ in range(50)]
    assert np.mean(estimates) == pytest.approx(6, abs=0.05)  # uncorrected: 5.82
    assert max(entropy_bits(rng.integers(64, size=256), field_bits=6) for _ in range(50)) <= 6
    with pytest.raises(ValueError, match="no symbols"):
        entropy_bits([], field_bits=8)


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 11]),
    scalar=st.floats(2.0**-10, 2.0**10, width=32),
    divide=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_scalar_is_found(seed: int, bits: int, scalar: float, divide: bool) -> None:
    grid = on_grid(normal(seed, 256), bits)
    n = np.float32(scalar)
    served = grid / n if divide else grid * (np.float32(1) / n)
    fit = find_grid(served)
    if np.frexp(n)[0] == 0.5:  # a power of two is no scalar at all
        assert fit.grid in (Grid.BFLOAT16, Grid.FLOAT16)
        return
    if bits == 8 and fit.grid is Grid.FLOAT16:
        # 1/3 multiplies by 3: eight bits times three fit into eleven, and no scalar is needed
        assert np.array_equal(fit.values.view(np.uint32), served.view(np.uint32))
        return
    coarse = Grid.SCALED_BFLOAT16 if bits == 8 else Grid.SCALED_FLOAT16
    assert fit.grid is coarse
    # a grid value is known up to one factor for all, and signs and ratios are kept
    ratios = fit.values[grid != 0] / grid[grid != 0]
    assert ratios == pytest.approx(ratios[0], rel=1e-6)


def test_one_changed_bit_leaves_the_grid() -> None:
    served = on_grid(normal(1, 256), 8) / np.float32(1.3)
    for place in (0, 100, 255):
        for bit in (0, 3):
            changed = served.copy()
            changed.view(np.uint32)[place] ^= np.uint32(1 << bit)
            assert find_grid(changed).grid is Grid.FLOAT32


@pytest.mark.parametrize(
    ("vector", "grid"),
    [
        (normal(2, 64).astype(np.float32), Grid.FLOAT32),
        (on_grid(normal(2, 64), 8), Grid.BFLOAT16),
        (on_grid(normal(2, 64), 11), Grid.FLOAT16),
        (np.zeros(8, np.float32), Grid.BFLOAT16),
        (np.array([0.0, -0.0, np.inf, np.nan], np.float32), Grid.BFLOAT16),
        (np.array([np.inf, 0.1, 0.2, 0.3], np.float32), Grid.FLOAT32),
        (np.array([1e-45, 3e-39, 1.1e-38, 5e-42], np.float32), Grid.FLOAT32),
        (np.array([3.4e38, 3.3e38, 1e37, 2e38], np.float32), Grid.FLOAT32),
        (np.array([0.0, 0.1, -0.2, 0.0], np.float32), Grid.SCALED_BFLOAT16),
    ],
)
def test_plain_grids_and_odd_values(vector: Vectors, grid: Grid) -> None:
    assert find_grid(vector).grid is grid


def test_known_entropy_is_found() -> None:
    # exponents 2^0..2^3 equally likely, 7 uniform mantissa bits, signs even: 2 + 7 + 1 bits
    rng = np.random.default_rng(3)
    shape = (60, 2000)
    words = rng.integers(2, size=shape) << 31 | (127 + rng.integers(4, size=shape)) << 23
    vectors = (words | rng.integers(128, size=shape) << 16).astype(np.uint32).view(np.float32)
    bound = entropy_bound(vectors)
    assert [group.grid for group in bound.groups] == [Grid.BFLOAT16]
    assert bound.bytes_per_vector == pytest.approx(10 / 8 * 2000, rel=1e-3)
    # nothing to learn per dimension, and learning costs
    learnt = bound.groups[0].value_bits_per_dimension
    assert learnt is not None
    assert 10 < learnt < 10.1


def test_per_dimension_statistics_find_what_order_0_can_not() -> None:
    # each dimension has one exponent of four: 2 bits of exponent for order 0, none once learnt
    rng = np.random.default_rng(4)
    exponents = np.broadcast_to(127 + rng.integers(4, size=500), (400, 500))
    words = rng.integers(2, size=(400, 500)) << 31 | exponents << 23
    vectors = (words | rng.integers(128, size=(400, 500)) << 16).astype(np.uint32)
    (group,) = entropy_bound(vectors.view(np.float32)).groups
    assert group.value_bits == pytest.approx(10, abs=0.02)
    assert group.value_bits_per_dimension == pytest.approx(8, abs=0.1)


def test_few_rows_have_no_per_dimension_figure() -> None:
    bound = entropy_bound(on_grid(normal(1, 3, 64), 8))
    assert bound.bytes_per_vector_per_dimension is None
    assert bound.lowest_bytes_per_vector == bound.bytes_per_vector


def test_groups_are_weighed_by_rows_and_scalars_counted() -> None:
    plain = GroupBound(
        grid=Grid.BFLOAT16,
        rows=3,
        sign_exponent_bits=3.0,
        mantissa_bits=7.0,
        scalar_bits=0.0,
        sign_exponent_bits_per_dimension=2.5,
    )
    scaled = GroupBound(
        grid=Grid.SCALED_BFLOAT16,
        rows=1,
        sign_exponent_bits=3.0,
        mantissa_bits=7.0,
        scalar_bits=32 / 64,
        sign_exponent_bits_per_dimension=None,
    )
    bound = EntropyBound(rows=4, dimension=64, groups=(plain, scaled))
    assert bound.bytes_per_vector == pytest.approx(64 / 8 * (3 * 10 + 10.5) / 4)
    assert bound.bytes_per_vector_per_dimension == pytest.approx(64 / 8 * (3 * 9.5 + 10.5) / 4)
    assert bound.best_saving == pytest.approx(1 - (3 * 9.5 + 10.5) / 4 / 32)


@pytest.mark.parametrize(
    "vectors", [np.zeros((2, 3)), np.zeros(3, np.float32), np.zeros((0, 3), np.float32)]
)
def test_what_is_no_matrix_of_float32_is_refused(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="float32"):
        entropy_bound(vectors)


def test_more_tokens_need_more_bits() -> None:
    bits = token_mean_bits([1, 2, 5, 105, 200, 10_000])
    assert np.all(np.diff(bits) > 0)
    assert bits[[1, 2, 3, 5]].tolist() == [15.7, 17.3, 24.3, 26.5]
    with pytest.raises(ValueError, match="at least 1"):
        token_mean_bits([0])


@recorded
@pytest.mark.parametrize(
    ("name", "grid", "bits", "learnt"),
    [
        ("v1_chunks", Grid.BFLOAT16, 10.6, 10.3),
        ("v2_scaled_bf16", Grid.SCALED_BFLOAT16, 10.6 + 32 / 1024, None),
        ("image_v1", Grid.SCALED_BFLOAT16, 10.5 + 32 / 1024, None),
        ("v2_token_mean", Grid.FLOAT32, 26.5, None),
        ("v2_token_mean_short", Grid.FLOAT32, 26.5, None),
    ],
)
def test_recorded_vectors_have_the_bits_measured_before(
    name: str, grid: Grid, bits: float, learnt: float | None
) -> None:
    vectors, _ = read_vectors(name)
    group = max(entropy_bound(vectors).groups, key=lambda group: group.rows)
    assert group.grid is grid
    assert group.rows >= 0.97 * len(vectors)
    assert group.value_bits == pytest.approx(bits, abs=0.1)
    if learnt is not None:
        assert group.value_bits_per_dimension == pytest.approx(learnt, abs=0.05)


@recorded
def test_the_present_serving_of_v2_can_not_be_halved() -> None:
    vectors, tokens = read_vectors("v2_token_mean")
    assert 24 < token_mean_bits(tokens).mean() < 26
    assert entropy_bound(vectors).best_saving < 0.2
