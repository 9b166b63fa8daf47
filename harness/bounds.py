"""How small a set of float32 vectors can get at all: entropy on the grid it lies on.

In what sense these are bounds. For each grid that occurs in the set the figure is the *order-0
entropy* of its values: of sign, exponent and the mantissa's top 4 bits together (inside a binade
small mantissas are likelier, which pcodec for one makes use of), and of the other mantissa bits
that the grid leaves, in pieces of at most 8. No lossless code that treats all values alike and
those pieces apart can average fewer bits on this data. It is no bound on codes that know more,
e.g. each dimension's distribution: that is the per-dimension figure, a code length really reached
on rows the model has not seen. It is no bound either on codes that know how the values came
about: see `token_mean_bits`. Whoever calls a limit infeasible uses the lowest figure.

Few samples make an empirical entropy too low, by about (symbols - 1) / (2 n ln 2) bits; that is
added back (Miller and Madow, 1955), capped at the size of the field. What remains of the bias is
downward, hence on the safe side of "infeasible".

This module does not import the store: its grid detector is independent of the codec's, so that
either can show the other wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "EntropyBound",
    "Grid",
    "GridFit",
    "GroupBound",
    "entropy_bits",
    "entropy_bound",
    "find_grid",
    "token_mean_bits",
]

Vectors = NDArray[np.float32]

ROWS_TO_LEARN = 40  # fewer rows teach a dimension nothing, and the per-dimension figure is None
_SCALAR_BYTES = 4
_HEAD_BITS = 4  # of the mantissa; all 7 gain 0.001 bits on 10^6 values and cost bias on 3 000
_PRIOR_STRENGTHS = (2.0, 8.0, 32.0, 128.0)
# Bits per value by tokens averaged, of Titan text-v2's serving since 2025: recorded vectors, FACTS
# "Titan's numbers"; one token is one float16 state over one scalar, as OpenAI's and Cohere's.
_TOKENS = (1, 2, 5, 15, 105, 165, 260, 400)
_TOKEN_BITS = (13.6, 15.7, 17.3, 20.5, 24.3, 25.2, 25.8, 26.5)


class Grid(StrEnum):
    """How a vector's values came about from numbers of few significant bits."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "11 bits"  # float16's precision, float32's range
    SCALED_BFLOAT16 = "bfloat16, one scalar"
    SCALED_FLOAT16 = "11 bits, one scalar"
    FLOAT32 = "float32"

    @property
    def mantissa_bits(self) -> int:
        match self:
            case Grid.BFLOAT16 | Grid.SCALED_BFLOAT16:
                return 7
            case Grid.FLOAT16 | Grid.SCALED_FLOAT16:
                return 10
            case Grid.FLOAT32:
                return 23

    @property
    def has_scalar(self) -> bool:
        return self in (Grid.SCALED_BFLOAT16, Grid.SCALED_FLOAT16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridFit:
    """A grid on which a vector lies bit for bit, and its values there (float32)."""

    grid: Grid
    values: Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBound:
    """Bits per value of the rows of one grid, the scalar's share included in the totals."""

    grid: Grid
    rows: int
    sign_exponent_bits: float
    mantissa_bits: float
    scalar_bits: float
    sign_exponent_bits_per_dimension: float | None

    @property
    def value_bits(self) -> float:
        return self.sign_exponent_bits + self.mantissa_bits + self.scalar_bits

    @property
    def value_bits_per_dimension(self) -> float | None:
        learnt = self.sign_exponent_bits_per_dimension
        return None if learnt is None else learnt + self.mantissa_bits + self.scalar_bits

    @property
    def lowest_value_bits(self) -> float:
        learnt = self.value_bits_per_dimension
        return self.value_bits if learnt is None else min(self.value_bits, learnt)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyBound:
    """The bound of a whole set; bytes are means over its rows."""

    rows: int
    dimension: int
    groups: tuple[GroupBound, ...]

    @property
    def bytes_per_vector(self) -> float:
        """By order-0 entropy of fields."""
        return self._mean([group.value_bits for group in self.groups])

    @property
    def bytes_per_vector_per_dimension(self) -> float | None:
        """With per-dimension statistics where there were rows enough; None where nowhere."""
        if all(group.value_bits_per_dimension is None for group in self.groups):
            return None
        return self.lowest_bytes_per_vector

    @property
    def lowest_bytes_per_vector(self) -> float:
        """The lower of the two for each group: the figure that may call a limit infeasible."""
        return self._mean([group.lowest_value_bits for group in self.groups])

    @property
    def best_saving(self) -> float:
        """Share of the raw float32 bytes that the lowest figure saves."""
        return 1 - self.lowest_bytes_per_vector / (4 * self.dimension)

    def _mean(self, value_bits: list[float]) -> float:
        rows = [group.rows for group in self.groups]
        return self.dimension / 8 * float(np.average(value_bits, weights=rows))


def entropy_bound(vectors: Vectors) -> EntropyBound:
    """The entropy bound of float32 vectors, shape (rows, dimension), each on its own grid.

    Raises
    ------
    ValueError
        Not a non-empty float32 matrix.

    Notes
    -----
    About 1 ms a row. Repeated rows count as often as they are
    there: the bound is on coding each vector for itself.
    """
    if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"{vectors.dtype} of shape {vectors.shape}; float32 (rows, dimension)")
    fits = [find_grid(vector) for vector in vectors]
    groups = []
    for grid in Grid:
        members = [fit.values for fit in fits if fit.grid is grid]
        if members:
            groups.append(_group_bound(grid, np.stack(members)))
    rows, dimension = vectors.shape
    return EntropyBound(rows=rows, dimension=dimension, groups=tuple(groups))


def entropy_bits(symbols: ArrayLike, *, field_bits: int) -> float:
    """Order-0 entropy in bits a symbol, corrected by Miller and Madow, at most `field_bits`."""
    _, counts = np.unique(np.asarray(symbols), return_counts=True)
    total = int(counts.sum())
    if not total:
        raise ValueError("the entropy of no symbols is unknown")
    shares = counts / total
    plain = float(-np.sum(shares * np.log2(shares)))
    return min(float(field_bits), plain + (len(counts) - 1) / (2 * total * math.log(2)))


def token_mean_bits(token_counts: ArrayLike) -> NDArray[np.float64]:
    """Bits per value of means over T token states, as Titan text-v2 has served them since 2025.

    Parameters
    ----------
    token_counts
        inputTextTokenCount of each vector, at least 1.

    Notes
    -----
    Such values lie on a lattice that is finer the more tokens were averaged, and a code that knew
    the lattice would beat the order-0 figure. Interpolated in log T between what was measured on
    recorded vectors before the start (FACTS); an estimate, not computed from the data at hand.
    """
    counts = np.asarray(token_counts, np.float64)
    if not np.all(counts >= 1):
        raise ValueError("token counts must be at least 1")
    bits = np.interp(np.log(counts), np.log(_TOKENS), _TOKEN_BITS)
    return np.asarray(bits, np.float64)


def find_grid(vector: Vectors) -> GridFit:
    """The coarsest grid on which a float32 vector lies bit for bit.

    With a scalar n, the vector is float32(b / n) or float32(b * float32(1 / n)) exactly; n is
    brought into [1, 2) by a power of two, which changes no bit. FLOAT32 fits every vector.
    """
    words = vector.view(np.uint32)
    for grid, dropped in ((Grid.BFLOAT16, 16), (Grid.FLOAT16, 13)):
        if not np.any(words & np.uint32(2**dropped - 1)):
            return GridFit(grid=grid, values=vector)
    if np.isfinite(vector).all() and vector.any():
        for grid, bits in ((Grid.SCALED_BFLOAT16, 8), (Grid.SCALED_FLOAT16, 11)):
            values = _unscale(vector, bits)
            if values is not None:
                return GridFit(grid=grid, values=values)
    return GridFit(grid=Grid.FLOAT32, values=vector)


def _unscale(vector: Vectors, bits: int) -> Vectors | None:
    """Values b of `bits` significant bits with one scalar n that give `vector`, or None."""
    exact = vector.astype(np.float64)
    largest = np.sort(np.abs(exact))[::-1]
    few = largest[: min(16, np.count_nonzero(largest))]
    # the largest value is a whole number of `bits` bits times the step looked for
    factors = np.arange(2 ** (bits - 1), 2**bits) / largest[0]
    for factor in factors[~_off_grid(few * factors[:, None], bits)]:
        if _off_grid(exact * factor, bits):
            continue
        fraction, exponent = np.frexp(exact * factor)
        grid = np.ldexp(np.rint(fraction * 2.0**bits) / 2.0**bits, exponent)
        values = _with_scalar(vector, grid)
        if values is not None:
            return values
    return None


def _off_grid(values: NDArray[np.float64], bits: int) -> NDArray[np.bool_]:
    """Along the last axis: is any value farther from `bits` significant bits than rounding thrice?

    The value, the largest value and the recipe are each rounded once to float32.
    """
    fraction = np.frexp(values)[0] * 2.0**bits
    off: NDArray[np.bool_] = np.abs(fraction - np.rint(fraction)) > 2.0 ** (bits - 22)
    return np.asarray(off.any(axis=-1))


def _with_scalar(vector: Vectors, grid: NDArray[np.float64]) -> Vectors | None:
    """`grid` by the power of two that goes with a scalar in [1, 2), if it gives `vector`."""
    used = vector != 0
    ratio = float(np.median(grid[used] / vector[used]))
    power = 2.0 ** np.floor(np.log2(ratio))
    with np.errstate(over="ignore"):  # near float32's end: infinite, so not the vector
        values: Vectors = (grid / power).astype(np.float32)
    scalar = np.float32(ratio / power)
    words = vector.view(np.uint32)
    for ulps in range(-16, 17):
        near = (scalar.view(np.int32) + np.int32(ulps)).view(np.float32)
        with np.errstate(over="ignore"):
            recipes = (values / near, values * (np.float32(1) / near))
        if any(np.array_equal(served.view(np.uint32), words) for served in recipes):
            return values
    return None


def _group_bound(grid: Grid, values: Vectors) -> GroupBound:
    rows, dimension = values.shape
    words = values.view(np.uint32)
    sign_exponent = words >> np.uint32(23)
    top = entropy_bits(sign_exponent, field_bits=9)
    return GroupBound(
        grid=grid,
        rows=rows,
        sign_exponent_bits=top,
        mantissa_bits=_mantissa_bits(words, grid.mantissa_bits, top),
        scalar_bits=8 * _SCALAR_BYTES / dimension if grid.has_scalar else 0.0,
        sign_exponent_bits_per_dimension=_learnt_bits(sign_exponent),
    )


def _mantissa_bits(words: NDArray[np.uint32], bits: int, sign_exponent_bits: float) -> float:
    """Entropy of the top `_HEAD_BITS`, given sign and exponent, and of the rest in pieces."""
    place = 23 - _HEAD_BITS
    head = entropy_bits(words >> np.uint32(place), field_bits=9 + _HEAD_BITS)
    total = min(float(_HEAD_BITS), head - sign_exponent_bits)
    left = bits - _HEAD_BITS
    while left:
        piece = min(left, 8)
        place, left = place - piece, left - piece
        symbols = (words >> np.uint32(place)) & np.uint32(2**piece - 1)
        total += entropy_bits(symbols, field_bits=piece)
    return total


def _learnt_bits(symbols: NDArray[np.uint32]) -> float | None:
    """Code length of each half of the rows under per-dimension histograms of the other half.

    A dimension's histogram is mixed with that of all dimensions, weighing as much as 2 to 128
    rows, whichever serves best; every symbol of the set has a chance. None with too few rows.
    """
    rows, _ = symbols.shape
    if rows < ROWS_TO_LEARN:
        return None
    alphabet, coded = np.unique(symbols, return_inverse=True)
    coded = coded.reshape(symbols.shape)
    halves = (coded[0::2], coded[1::2])
    lengths = [
        sum(
            _code_bits(learnt, unseen, len(alphabet), strength)
            for learnt, unseen in (halves, halves[::-1])
        )
        for strength in _PRIOR_STRENGTHS
    ]
    return float(min(lengths) / symbols.size)


def _code_bits(
    learnt: NDArray[np.intp], unseen: NDArray[np.intp], letters: int, strength: float
) -> float:
    """Total bits of `unseen` under what `learnt` teaches, both of shape (rows, dimension)."""
    dimension = learnt.shape[1]
    slots = learnt + letters * np.arange(dimension)
    counts = np.bincount(slots.ravel(), minlength=letters * dimension).reshape(dimension, letters)
    everywhere = counts.sum(axis=0) + 0.5
    prior = everywhere / everywhere.sum()
    chances = (counts + strength * prior) / (len(learnt) + strength)
    return -float(np.log2(chances[np.arange(dimension), unseen]).sum())
