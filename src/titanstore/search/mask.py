"""A flag for each row, in arrays that numpy gives back.

numpy keeps freed arrays below 1 kB for the next one of the same number of bytes, up to seven of
each. A plane has another number of rows after each write: of masks as long as that it kept 30 kB
an hour of a simulated day (reports/decisions/0019). Long ones have pages of their own, which the
system gets back with them: malloc keeps room for as long a one as it has ever given.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "blank_mask"]

Mask = NDArray[np.bool_]

_BYTES_MIN = 1_024  # numpy/_core/src/multiarray/alloc.cpp: NBUCKETS
_PAGES_MIN = 1 << 16


def blank_mask(count: int) -> Mask:
    """`count` flags that are down, part of an array too large to be kept."""
    if count >= _PAGES_MIN:
        pages = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.frombuffer(pages, np.bool_)
    return np.zeros(max(count, _BYTES_MIN), np.bool_)[:count]
