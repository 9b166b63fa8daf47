"""Correctly rounded sums: the float64 nearest to the true sum, what `math.fsum` gives."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]

_UNIT = 2.0**-53


def exact_sums(terms: Wide, work: Wide | None = None) -> Wide:
    """The correctly rounded sum of each row of `terms`, shape (rows, n), all finite.

    `work` is room of the same shape, so that nothing large is allocated.

    Source: S. M. Rump, T. Ogita, S. Oishi, "Accurate Floating-Point Summation", SIAM J. Sci.
    Comput. 31 (2008): adding and subtracting a power of two that is large enough cuts each term
    into a high part, whose sum is exact in any order, and a rest. The sum of the rests has an
    error of at most n^2 * 2^-106 of that power. Where it could change the rounding, at ties and
    next to them, `math.fsum` decides, in 25 us a row: one row in 300 or less where values have 24
    bits, up to one in ten where products have few bits, as those of float16.
    """
    count = terms.shape[1]
    high = np.abs(terms, out=work)
    _, exponents = np.frexp(high.max(axis=1, initial=0.0))
    cut = np.ldexp(1.0, exponents + math.ceil(math.log2(count + 2)))[:, None]
    np.add(terms, cut, out=high)
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
