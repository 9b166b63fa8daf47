"""Distances as they are returned: float64, every sum correctly rounded.

The products of widened float32 values are exact in float64, so a dot product has one true value;
what is returned is the float64 nearest to it, whatever the order of summation, machine or BLAS.
`math.fsum` gives the same bits. Squared differences are rounded once each before their sum is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from titanstore.sums import Wide, exact_sums

Metric = Literal["cosine", "dot", "l2"]


def distances(
    metric: Metric,
    vectors: NDArray[np.float32],
    queries: Wide,
    squares: Wide,
    room: tuple[Wide, Wide] | None = None,
) -> Wide:
    """The distance of each row of `vectors` from its query.

    Parameters
    ----------
    vectors
        Finite, shape (rows, dimension).
    queries
        Widened float32, shape (dimension,): one for all rows; or (rows, dimension).
    squares
        q.q of each query, correctly rounded; shape (1,) or (rows,).
    room
        Two float64 arrays of the dimension of `vectors` and as many rows at least, so that nothing
        large is allocated.

    Returns
    -------
    ndarray of float64, shape (rows,)
        cosine: 1 - x.q / (sqrt(x.x) * sqrt(q.q)), or 1 where either is zero; dot: 1 - x.q;
        l2: the sum of (x - q)^2, not its root.
    """
    count = len(vectors)
    terms, work = room or (np.empty(vectors.shape), np.empty(vectors.shape))
    terms, work = terms[:count], work[:count]
    if metric == "l2":
        np.subtract(vectors, queries, out=terms)
        terms *= terms
        return exact_sums(terms, work)
    dots = exact_sums(np.multiply(vectors, queries, out=terms), work)
    if metric == "dot":
        return 1.0 - dots
    # widened first: the product of two float32 would be rounded
    lengths = np.sqrt(exact_sums(np.multiply(vectors, vectors, out=terms, dtype=np.float64), work))
    lengths *= np.sqrt(squares)
    similarity: Wide = np.divide(dots, lengths, out=np.zeros(count), where=lengths > 0)
    return 1.0 - similarity
