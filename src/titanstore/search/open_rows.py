"""Rows that no bound has ruled out, in arrays that are long enough for numpy to give them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.search.mask import Mask, blank_mask
from titanstore.sums import Wide

__all__ = ["OpenRows", "chosen_indices", "joined", "open_rows"]

# numpy keeps freed arrays below 1 kB, some of each size: of as many items as happened to be left
# open they came to 0.1 MB after 1 400 searches (reports/decisions/0006), and flags of one byte each
# are such arrays too. So they have more items
_LENGTH_MIN = 1_024


class OpenRows(NamedTuple):
    """Rows that may be among the nearest to a query, with bounds of their distances.

    Rows are numbered through all planes, and ascend for each query. Some are there only to fill the
    arrays up: their bounds are NaN, so no comparison chooses them.
    """

    places: NDArray[np.intp]  # of the queries
    rows: NDArray[np.intp]
    lower: Wide
    upper: Wide

    def some(self, is_chosen: Mask) -> OpenRows:
        """Those that are chosen."""
        at, count = chosen_indices(is_chosen)
        some: list[Any] = [each.take(at) for each in self]
        return OpenRows(*some).blanked(count)

    def blanked(self, count: int) -> OpenRows:
        """This one; what comes after the first `count` only fills up from now on."""
        for bounds in (self.lower, self.upper):
            bounds[count:] = np.nan
        return self


def joined(parts: Sequence[OpenRows], limits: Wide) -> OpenRows:
    """What the limits of the queries leave open of all parts; they ascend."""
    if len(parts) == 1:
        return parts[0]
    every = OpenRows(*[np.concatenate(each) for each in zip(*parts, strict=True)])
    return every.some(every.lower <= limits[every.places])


def open_rows(lower: Wide, upper: Wide, limits: Wide, base: int) -> OpenRows:
    """Those of a block, (queries, rows), whose lower bound is within their query's limit."""
    is_open = np.less_equal(lower, limits, out=blank_mask(lower.size).reshape(lower.shape))
    at, count = chosen_indices(is_open)
    width = lower.shape[1]
    bounds = (each.ravel().take(at) for each in (lower, upper))
    return OpenRows(at // width, at % width + base, *bounds).blanked(count)


def chosen_indices(is_chosen: Mask) -> tuple[NDArray[np.intp], int]:
    """Flat indices of what is chosen, and how many; the last cell's fills up to _LENGTH_MIN."""
    count = int(np.count_nonzero(is_chosen))
    filled = blank_mask(is_chosen.size + _LENGTH_MIN)
    filled[: is_chosen.size] = is_chosen.ravel()
    filled[is_chosen.size :][: max(0, _LENGTH_MIN - count)] = True
    at = np.flatnonzero(filled)
    return np.minimum(at, is_chosen.size - 1, out=at), count
