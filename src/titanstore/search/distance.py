"""Distances as they are returned: float64, every sum correctly rounded.

The products of widened float32 values are exact in float64, so a dot product has one true value;
what is returned is the float64 nearest to it, whatever the order of summation, machine or BLAS.
`math.fsum` gives the same bits. Squared differences are rounded once each before their sum is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from titanstore.sums import Wide, exact_sums

Metric = Literal["cosine", "dot", "l2"]


def distances(
    metric: Metric, vectors: Wide, query: Wide, room: tuple[Wide, Wide] | None = None
) -> Wide:
    """The distance of each row of `vectors` from `query`.

    Parameters
    ----------
    vectors
        Widened float32, shape (rows, dimension).
    query
        Widened float32, shape (dimension,).
    room
        Two arrays of the shape of `vectors`, so that nothing large is allocated.

    Returns
    -------
    ndarray of float64, shape (rows,)
        cosine: 1 - x.q / (sqrt(x.x) * sqrt(q.q)), or 1 where either is zero; dot: 1 - x.q;
        l2: the sum of (x - q)^2, not its root.
    """
    terms, work = room or (np.empty_like(vectors), np.empty_like(vectors))
    if metric == "l2":
        np.subtract(vectors, query, out=terms)
        terms *= terms
        return exact_sums(terms, work)
    dots = exact_sums(np.multiply(vectors, query, out=terms), work)
    if metric == "dot":
        return 1.0 - dots
    lengths = np.sqrt(exact_sums(np.multiply(vectors, vectors, out=terms), work))
    lengths *= np.sqrt(exact_sums((query * query)[None]))
    similarity: Wide = np.divide(dots, lengths, out=np.zeros(len(dots)), where=lengths > 0)
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
