"""Vectors on a grid of few significant bits, alone or times one scalar.

Titan text-v1 returns bfloat16 (8 significant bits); text-v2 of 2024 and image-v1 return bfloat16
values divided by one float32, or multiplied by its reciprocal; OpenAI and Cohere use float16
precision (11 bits) the same ways. Finding the scalar: the largest value is an integer of k bits
times the unknown scale, so the 2^(k-1) possible integers are tried; the one that makes all values
k-bit numbers gives the scalar to within a few units in the last place, and the exact one is found
by trying those. FORMAT.md, "Grid bodies".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import Buffer
from titanstore.codec.planes import (
    SignificantBits,
    decode_plane,
    decode_planes,
    dropped_bits,
    encode_planes,
)
from titanstore.errors import CorruptionError, ErrorKind

GridBits = Literal[8, 11]
_SCALAR = struct.Struct("<f")
_PROBES = 6  # values that refuse a wrong scale; 6 of them let 1 in 10^15 random scales pass
_PEAK_MIN, _PEAK_MAX = 2.0**-100, 2.0**100  # beyond, trial scalars could leave float32
_ULPS_TRIED = 8  # the scalar is not exactly the norm: up to 6e-8 off was seen
# A true value differs from its grid point by the rounding of the value (2^-24), of the largest
# value (2^-24) and of the recipe (2^-24); the next grid point is 2^-k away.
_TOLERANCE = 2.0**-21


class Recipe(StrEnum):
    """How the served value was rounded from the grid value b and the scalar n."""

    NONE = "none"  # b itself
    DIVIDE = "divide"  # float32(b / n)
    RECIPROCAL = "reciprocal"  # float32(b * float32(1 / n))


WIDTHS: tuple[SignificantBits, ...] = (8, 11, 24)
RECIPES = (Recipe.NONE, Recipe.DIVIDE, Recipe.RECIPROCAL)
# how bodies that can be of any of them say so
FORMS = {
    (bits, recipe): width | number << 2
    for width, bits in enumerate(WIDTHS)
    for number, recipe in enumerate(RECIPES)
}
_GRID_WIDTHS: tuple[GridBits, ...] = (8, 11)


def apply_recipe(
    recipe: Recipe,
    grid: Vector,
    scalar: np.float32 | NDArray[np.float32],
    out: Vector | None = None,
) -> Vector:
    """The served values; float32 arithmetic with one rounding each, as the recipe says."""
    # a damaged scalar may divide by zero: the checksum has the say, not a warning
    with np.errstate(all="ignore"):
        if recipe is Recipe.DIVIDE:
            return np.divide(grid, scalar, out=out)
        return np.multiply(grid, np.float32(1) / scalar, out=out)


def is_on_grid(
    scaled: NDArray[np.float64], bits: int, tolerance: float = _TOLERANCE
) -> NDArray[np.bool_]:
    """Elementwise, finite values: within the tolerance of a number of `bits` significant bits?

    The tolerance is relative to the power of two below the value; `scaled` is contiguous.
    """
    margin = np.uint64(tolerance * 2**52)
    distance = scaled.view(np.uint64) + margin  # a carry into the exponent is as it should be
    distance &= np.uint64((1 << 53 - bits) - 1)
    on_grid: NDArray[np.bool_] = distance <= 2 * margin
    return on_grid


def _round_to_grid(scaled: NDArray[np.float64], bits: GridBits) -> Vector:
    fraction, exponent = np.frexp(scaled)
    grid: Vector = np.ldexp(np.rint(fraction * 2.0**bits), exponent - bits).astype(np.float32)
    return grid


def is_on_plain_grid(vector: Vector, bits: GridBits) -> bool:
    """Has each value of `vector` itself at most `bits` significant bits?"""
    union = int(np.bitwise_or.reduce(vector.view(np.uint32)))
    return not union & (1 << dropped_bits(bits)) - 1


def find_grid(vector: Vector) -> tuple[Vector, GridBits, Recipe, np.float32] | None:
    """Grid values, their significant bits, recipe and scalar: the narrowest grid, or None.

    A grid without a scalar comes before any with one; the scalar is then 1.
    """
    for bits in _GRID_WIDTHS:
        if is_on_plain_grid(vector, bits):
            return vector, bits, Recipe.NONE, np.float32(1)
    for bits in _GRID_WIDTHS:
        found = find_scalar(vector, bits)
        if found is not None:
            recipe, scalar, grid = found
            return grid, bits, recipe, scalar
    return None


def find_scalar(vector: Vector, bits: GridBits) -> tuple[Recipe, np.float32, Vector] | None:
    """Recipe, scalar n and grid values b that reproduce `vector` bit for bit, or None.

    Parameters
    ----------
    vector
        Contiguous float32, shape (dimension,).
    bits
        Significant bits of the grid.

    Notes
    -----
    None for vectors of 40 or fewer values other than zero: they cannot tell a scale.
    n is scaled by a power of two into [1, 2) times the largest value's own scale, which changes no
    bit of the result. Cost: a few more than 2^(bits-1) evaluations to refuse, about 0.1 ms to
    accept.
    """
    magnitudes = np.abs(vector)
    peak = magnitudes.max()
    if not _PEAK_MIN < peak < _PEAK_MAX:
        return None
    wide = magnitudes.astype(np.float64)
    used = wide[wide > 0]
    # values of middling size: the smallest may be subnormal, where the grid is coarser
    probes = np.sort(used[:: max(1, used.size // 64)])[::-1][: 8 * _PROBES : 8]
    if probes.size < _PROBES:  # too few values to tell a scale: all would pass
        return None
    integers = np.arange(2 ** (bits - 1), 2**bits, dtype=np.float64)
    scales = integers / float(peak)
    for probe in probes:  # one after the other: few scales are left after the first
        scales = scales[is_on_grid(probe * scales, bits)]
    for scale in scales:
        scaled = vector.astype(np.float64) * scale
        if not is_on_grid(scaled, bits).all():
            continue
        grid = _round_to_grid(scaled, bits)
        found = _exact_scalar(vector, grid)
        if found is not None:
            return (*found, grid)
    return None


def _exact_scalar(vector: Vector, grid: Vector) -> tuple[Recipe, np.float32] | None:
    """The recipe and scalar that turn `grid` into `vector` exactly, searched around the median."""
    used = vector != 0
    ratios = grid[used].astype(np.float64) / vector[used]
    # the middle one; numpy.median would load numpy.ma, 9 MB for a single number
    start = np.float32(np.partition(ratios, ratios.size // 2)[ratios.size // 2])
    nearby = (start.view(np.int32) + np.arange(-_ULPS_TRIED, _ULPS_TRIED + 1)).astype(np.int32)
    candidates = nearby.view(np.float32)
    target = vector.view(np.uint32)
    few = slice(None, None, max(1, vector.size // 32))
    for recipe in (Recipe.DIVIDE, Recipe.RECIPROCAL):
        trial = apply_recipe(recipe, grid[None, few], candidates[:, None])
        good = (trial.view(np.uint32) == target[few]).all(axis=1)
        for scalar in candidates[good]:
            if np.array_equal(apply_recipe(recipe, grid, scalar).view(np.uint32), target):
                return recipe, scalar
    return None


class GridCodec:
    """One grid width and one recipe; the scalar, where there is one, leads the body."""

    def __init__(self, codec_id: int, bits: GridBits, recipe: Recipe) -> None:
        self.codec_id = codec_id
        self.bits: GridBits = bits
        self.recipe = recipe
        self.name = f"grid{bits}" if recipe is Recipe.NONE else f"grid{bits}-{recipe}"

    def encode(self, vector: Vector) -> bytes | None:
        """The body, or None when the vector is not on this grid by this recipe."""
        if self.recipe is Recipe.NONE:
            holds = is_on_plain_grid(vector, self.bits)
            return encode_planes(vector.view(np.uint32), self.bits) if holds else None
        found = find_scalar(vector, self.bits)
        if found is None or found[0] is not self.recipe:
            return None
        return self.encode_found(found[1], found[2])

    def encode_found(self, scalar: np.float32, grid: Vector) -> bytes | None:
        """The body for a scalar and grid values that `find_scalar` has found."""
        body = encode_planes(grid.view(np.uint32), self.bits)
        if body is None or self.recipe is Recipe.NONE:
            return body
        return _SCALAR.pack(scalar) + body

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        if self.recipe is Recipe.NONE:
            decode_planes(bodies, self.bits, out)
            return
        if len(bodies) == 1:
            self._decode_one(bodies[0], out[0])
            return
        if any(len(body) < _SCALAR.size for body in bodies):
            raise CorruptionError("grid body without its scalar", ErrorKind.BAD_FRAME)
        decode_planes([body[_SCALAR.size :] for body in bodies], self.bits, out)
        scalars = np.frombuffer(b"".join([body[: _SCALAR.size] for body in bodies]), "<f4")
        self._unscale(out, scalars[:, None])

    def _decode_one(self, body: Buffer, out: Vector) -> None:
        if len(body) < _SCALAR.size:
            raise CorruptionError("grid body without its scalar", ErrorKind.BAD_FRAME)
        decode_plane(body[_SCALAR.size :], self.bits, out)
        self._unscale(out, np.float32(_SCALAR.unpack_from(body)[0]))

    def _unscale(self, grid: Vector, scalars: np.float32 | Vector) -> None:
        apply_recipe(self.recipe, grid, scalars, out=grid)
