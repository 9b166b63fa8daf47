"""Vectors that each codec was made for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from titanstore.codec.base import Vector

Words = NDArray[np.uint32]
Rng = np.random.Generator


def on_grid(rng: Rng, dimension: int, bits: int) -> Vector:
    values = rng.standard_normal(dimension).astype(np.float32).view(np.uint32)
    return (values >> (24 - bits) << (24 - bits)).astype(np.uint32).view(np.float32)


def divided(rng: Rng, dimension: int, bits: int) -> Vector:
    return on_grid(rng, dimension, bits) / np.float32(rng.uniform(1, 30))


def multiplied(rng: Rng, dimension: int, bits: int) -> Vector:
    return on_grid(rng, dimension, bits) * (np.float32(1) / np.float32(rng.uniform(1, 30)))


def token_mean(rng: Rng, dimension: int, tokens: int) -> Vector:
    states = rng.standard_normal((tokens, dimension)).astype(np.float16).astype(np.float32)
    mean = np.add.reduce(states, dtype=np.float32) / np.float32(tokens)
    vector: Vector = mean / np.float32(rng.uniform(1, 30)) / np.float32(1 - 2.0**-24)
    return vector


def sliceable(rng: Rng, dimension: int) -> Vector:
    makers = [on_grid, divided, multiplied]
    if rng.random() < 0.2:
        return rng.standard_normal(dimension).astype(np.float32)
    return makers[rng.integers(3)](rng, dimension, int(rng.choice([8, 11])))


# Vectors that each codec was made for, at any dimension from 64 on.
CLAIMS: dict[str, Callable[[Rng, int], Vector]] = {
    "raw": lambda rng, d: rng.integers(0, 2**32, d, dtype=np.uint32).view(np.float32),
    "zstd": lambda rng, d: np.resize(rng.standard_normal(8), d).astype(np.float32),
    "planes": lambda rng, d: rng.standard_normal(d).astype(np.float32),
    "grid8": lambda rng, d: on_grid(rng, d, 8),
    "grid8-divide": lambda rng, d: divided(rng, d, 8),
    "grid8-reciprocal": lambda rng, d: multiplied(rng, d, 8),
    "grid11": lambda rng, d: on_grid(rng, d, 11),
    "grid11-divide": lambda rng, d: divided(rng, d, 11),
    "grid11-reciprocal": lambda rng, d: multiplied(rng, d, 11),
    "lattice": lambda rng, d: token_mean(rng, d, 2),
    "sliced": lambda rng, d: sliceable(rng, d),
    "tabled": lambda rng, d: sliceable(rng, d),
    "sliced-tabled": lambda rng, d: sliceable(rng, d),
}

SPECIAL = [
    *(0x00000000, 0x80000000),  # zeros
    *(0x00000001, 0x80000001, 0x007FFFFF, 0x807FFFFF),  # subnormals
    *(0x00800000, 0x7F7FFFFF, 0xFF7FFFFF),  # smallest and largest normal
    *(0x7F800000, 0xFF800000),  # infinities
    *(0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x7F800001, 0xFFBFFFFF),  # NaN, quiet and signalling
]
seeds = st.integers(0, 2**32 - 1)
any_words = arrays(
    np.uint32,
    st.integers(1, 200),
    elements=st.one_of(st.sampled_from(SPECIAL), st.integers(0, 2**32 - 1)),
    fill=st.sampled_from(SPECIAL),
)


def same_bits(one: Vector, other: Vector) -> bool:
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))
