"""Distances as they are returned: float64, every sum correctly rounded.

The products of widened float32 values are exact in float64, so a dot product has one true value;
what is returned is the float64 nearest to it, whatever the order of summation, machine or BLAS.
`math.fsum` gives the same bits. Squared differences are rounded once each before their sum is.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "dot", "l2"]
Wide = NDArray[np.float64]

_UNIT = 2.0**-53


def exact_sums(terms: Wide) -> Wide:
    """The correctly rounded sum of each row of `terms`, shape (rows, n), all finite.

    Source: S. M. Rump, T. Ogita, S. Oishi, "Accurate Floating-Point Summation", SIAM J. Sci.
    Comput. 31 (2008): adding and subtracting a power of two that is large enough cuts each term
    into a high part, whose sum is exact in any order, and a rest. The sum of the rests has an
    error of at most n^2 * 2^-106 of that power. Where it could change the rounding, at ties and
    next to them, `math.fsum` decides, in 25 us a row: one row in 300 or less where values have 24
    bits, up to one in ten where products have few bits, as those of float16.
    """
    count = terms.shape[1]
    _, exponents = np.frexp(np.abs(terms).max(axis=1, initial=0.0))
    cut = np.ldexp(1.0, exponents + math.ceil(math.log2(count + 2)))[:, None]
    high = terms + cut
    high -= cut
    sums = high.sum(axis=1)
    np.subtract(terms, high, out=high)
    rests = high.sum(axis=1)
    # the true rest is within `doubt`; 2 covers the roundings of this line and the next
    doubt = cut[:, 0] * (2.0 * (count * _UNIT) ** 2) + np.abs(rests) * (2 * _UNIT)
    low: Wide = sums + (rests - doubt)
    result: Wide = sums + (rests + doubt)
    for row in np.flatnonzero(low != result):
        result[row] = math.fsum(terms[row].tolist())
    return result


def distances(metric: Metric, vectors: Wide, queries: Wide, of_query: NDArray[np.intp]) -> Wide:
    """The distance of each row of `vectors` from its query.

    Parameters
    ----------
    vectors
        Widened float32, shape (rows, dimension).
    queries
        Widened float32, shape (queries, dimension).
    of_query
        shape (rows,): which query each row is compared with.

    Returns
    -------
    ndarray of float64, shape (rows,)
        cosine: 1 - x.q / (sqrt(x.x) * sqrt(q.q)), or 1 where either is zero; dot: 1 - x.q;
        l2: the sum of (x - q)^2, not its root.
    """
    terms = queries[of_query]
    if metric == "l2":
        np.subtract(vectors, terms, out=terms)
        terms *= terms
        return exact_sums(terms)
    terms *= vectors
    if metric == "dot":
        return 1.0 - exact_sums(terms)
    count = len(vectors)
    sums = exact_sums(np.concatenate((terms, vectors * vectors, queries * queries)))
    dots, of_vectors, of_queries = sums[:count], sums[count : 2 * count], sums[2 * count :]
    lengths = np.sqrt(of_vectors) * np.sqrt(of_queries[of_query])
    similarity: Wide = np.divide(dots, lengths, out=np.zeros(count), where=lengths > 0)
    return 1.0 - similarity


def plain_bounds(metric: Metric, vectors: Wide, query: Wide, own: float) -> tuple[Wide, Wide]:
    """Bounds of the distances of rows from one query, by float64 arithmetic in any order.

    Parameters
    ----------
    own
        q.q, to a few units in the last place.

    Notes
    -----
    A sum of n products is off by at most n * 2^-53 of the lengths involved; twice that, and 16
    more, cover norms, roots and the formulas.
    """
    doubt = (len(query) + 16) * 2.0**-52
    dots = vectors @ query
    norms = np.einsum("ij,ij->i", vectors, vectors)
    lengths = np.sqrt(norms * own)
    if metric == "l2":
        scores = norms + own - 2 * dots
        bounds = (norms + own + 2 * lengths) * (2 * doubt)
    elif metric == "dot":
        scores, bounds = 1 - dots, (lengths + 1) * doubt
    else:
        scores = 1 - np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
        bounds = np.full(len(dots), 4 * doubt)
    return scores - bounds, scores + bounds
