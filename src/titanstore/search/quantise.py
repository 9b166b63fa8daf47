"""Scores from int8 codes, with a bound on their error that holds for every row.

A row's vector is x = h + r with h = (codes + 0.5) * scale and |r| <= error. The query is cut into
two int8 vectors, q = g + s with g = unit * (256 * high + low), so that integer dot products of the
codes with both give g.h without rounding. Then x.q = g.h + g.r + x.s, and by Cauchy and Schwarz
|x.q - g.h| <= |g| * error + |x| * |s|. From there come intervals that hold the distances.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.search.distance import Metric
from titanstore.sums import Wide, exact_sums

_PEAK = 127 * 257  # the largest value that two bytes can hold this way
# Far above what float64 adds (2^-53 an operation, some 20 of them and the sums of norms), far
# below what the codes leave open (about 2^-7).
_SLACK = 2.0**-36


class Queries(NamedTuple):
    """Queries of one dimension, ready to be scanned with.

    Attributes
    ----------
    vectors
        float32, shape (count, dimension), finite.
    parts
        int8, shape (2 * count, dimension): the high parts of all, then the low parts.
    units, sums, lengths, rests, squares
        float64, shape (count,): unit; sum of the integers; |g|; |s|; q.q, correctly rounded.
    """

    vectors: NDArray[np.float32]
    wide: Wide
    parts: NDArray[np.int8]
    units: Wide
    sums: Wide
    lengths: Wide
    rests: Wide
    squares: Wide

    def some(self, places: slice) -> Queries:
        """These queries only."""
        count = len(self.vectors)
        parts = _joined(self.parts[:count][places], self.parts[count:][places])
        others = (self.units, self.sums, self.lengths, self.rests, self.squares)
        return Queries(
            self.vectors[places], self.wide[places], parts, *(each[places] for each in others)
        )


def quantise(vectors: NDArray[np.float32]) -> Queries:
    """Cut queries, float32 of shape (count, dimension), all finite."""
    wide = vectors.astype(np.float64)
    peaks = np.abs(wide).max(axis=1)
    units = peaks / _PEAK
    safe = np.where(units > 0, units, 1.0)
    whole = np.rint(wide / safe[:, None])  # the quotient is at most _PEAK and a rounding more
    integers = whole.astype(np.int32)
    high = (integers + 128) >> 8
    low = integers - (high << 8)
    rests = wide - whole * units[:, None]
    return Queries(
        vectors,
        wide,
        _joined(high, low),
        units,
        whole.sum(axis=1),
        units * np.sqrt(np.einsum("ij,ij->i", whole, whole)),
        np.sqrt(np.einsum("ij,ij->i", rests, rests)),
        exact_sums(wide * wide),
    )


def _joined(high: NDArray[np.signedinteger], low: NDArray[np.signedinteger]) -> NDArray[np.int8]:
    """One above the other, with strides that NumKong takes also at dimension 1."""
    parts = np.empty((2 * len(high), high.shape[1]), np.int8)
    parts[: len(high)] = high
    parts[len(high) :] = low
    return parts


class Rows(NamedTuple):
    """What a plane knows of its rows; float64, shape (1, rows)."""

    scales: Wide
    errors: Wide
    lengths: Wide  # |x|

    @classmethod
    def of(cls, facts: NDArray[np.void], out: Wide) -> Rows:
        """From rows of `segments.plane.row_type`, into an array of shape (3, rows)."""
        np.copyto(out[0], facts["scale"])
        np.copyto(out[1], facts["error"])
        np.sqrt(facts["square"], out=out[2])
        return cls(out[:1], out[1:2], out[2:])


class Scores(NamedTuple):
    """Arrays to score some rows in, float64.

    Attributes
    ----------
    dots
        Shape (2 * queries, rows): dot products of the rows' codes with the high parts of all
        queries, then with the low ones.
    bounds, work
        Shape (queries, rows).
    facts
        Shape (3, rows).
    """

    dots: Wide
    bounds: Wide
    work: Wide
    facts: Wide

    @classmethod
    def of(cls, queries: int, rows: int, room: Wide | None = None) -> Scores:
        """Cut from the first `score_values` of `room`."""
        if room is None:
            room = np.empty(score_values(queries, rows))
        heights = (2 * queries, queries, queries, 3)
        ends = np.cumsum(heights).tolist()
        return cls(
            *[  # a list: the interpreter keeps up to 2 000 tuples made of generators (0019)
                room[(end - height) * rows : end * rows].reshape(height, rows)
                for height, end in zip(heights, ends, strict=True)
            ]
        )


def score_values(queries: int, rows: int) -> int:
    """How many values `Scores` has."""
    return (4 * queries + 3) * rows


def intervals(metric: Metric, queries: Queries, rows: Rows, room: Scores) -> tuple[Wide, Wide]:
    """Bounds of the distances between queries and rows.

    Parameters
    ----------
    room
        With dot products in `dots`; all of it is written over.

    Returns
    -------
    lower, upper
        float64, shape (queries, rows), in `room`. The distance that `distance.distances` returns
        for a row lies between them, for every row whose vector is finite.
    """
    count = len(queries.vectors)
    scores, low = room.dots[:count], room.dots[count:]
    scores *= 256.0
    scores += low
    scores += (0.5 * queries.sums)[:, None]
    scores *= rows.scales
    scores *= queries.units[:, None]
    bounds, work = room.bounds, room.work
    query_lengths = np.sqrt(queries.squares)
    np.multiply((queries.lengths * (1 + _SLACK))[:, None], rows.errors, out=bounds)
    rests = queries.rests * (1 + _SLACK) + _SLACK * query_lengths
    bounds += np.multiply(rests[:, None], rows.lengths, out=work)
    if metric == "l2":
        np.square(rows.lengths, out=rows.lengths)
        norms = np.add(rows.lengths, queries.squares[:, None], out=work)
        scores *= -2.0
        scores += norms
        bounds *= 2.0
        bounds += np.multiply(_SLACK, norms, out=work)
    else:
        if metric == "cosine":
            # a vector or a query of length 0 has cosine distance 1, whatever its codes say
            inverse = np.multiply(rows.lengths, query_lengths[:, None], out=work)
            np.divide(1.0, inverse, out=inverse, where=inverse > 0)
            scores *= inverse
            bounds *= inverse
        np.subtract(1.0, scores, out=scores)
        bounds += _SLACK
    lower = np.subtract(scores, bounds, out=work)
    upper = np.add(scores, bounds, out=scores)
    return lower, upper
