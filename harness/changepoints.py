"""Where a stored series of values took a step; pure.

Method: exact segmentation by penalised cost (Killick, Fearnhead and Eckley 2012, "Optimal Detection
of Changepoints With a Linear Computational Cost", PELT) of absolute deviations from each segment's
median, so that a single bad run is no step. The penalty is a multiple of log n in units of the
noise, which is taken from differences of neighbours and so knows nothing of the steps themselves.
Why this and not E-divisive or asv's own detection: reports/decisions/0012.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHORTEST", "Step", "find_steps"]

SHORTEST = 4  # values that a level must hold for: fewer may be one bad night
_PENALTY = 4.0  # reports/decisions/0012
_NORMAL = 0.6745  # median absolute deviation of the normal distribution of deviation 1
_NO_NOISE = 1e-9  # relative to the values; of counts, which repeat exactly

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of level.

    Attributes
    ----------
    place
        Index of the first value of the new level.
    before, after
        Medians of the levels on either side, in the unit of the values.
    """

    place: int
    before: float
    after: float

    @property
    def ratio(self) -> float | None:
        """After over before; None where before is 0."""
        return self.after / self.before if self.before else None


def find_steps(values: Sequence[float]) -> list[Step]:
    """Steps of a series, in its order.

    Parameters
    ----------
    values
        Finite, one a run, in order of time. If all are positive a step is a change of their
        ratio, otherwise of their difference.

    Returns
    -------
    list of Step
        Of values without noise (counts that repeat exactly) every change; of others the levels
        that hold for `SHORTEST` values or more. Fewer than `2 * SHORTEST` noisy values have none.

    Raises
    ------
    ValueError
        A value that is not finite.
    """
    series: Values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(series).all():
        raise ValueError("a value of the series is not a finite number")
    if series.size < 2:
        return []
    is_ratio = bool((series > 0).all())
    scaled = np.log(series) if is_ratio else series
    differences = np.abs(np.diff(scaled))
    noise = float(np.median(differences)) / _NORMAL / math.sqrt(2)
    # a difference of logarithms is relative already, whatever the unit of the values
    if noise <= _NO_NOISE * (1.0 if is_ratio else float(np.abs(scaled).max())):
        places = [int(place) + 1 for place in np.flatnonzero(np.diff(series))]
    else:
        places = _segments(scaled / noise)
    return _steps(series, places)


def _segments(scaled: Values) -> list[int]:
    """Where segments begin, but for the first."""
    if scaled.size < 2 * SHORTEST:
        return []
    import ruptures  # with scipy.stats two seconds of every command's start

    search = ruptures.Pelt(model="l1", min_size=SHORTEST, jump=1).fit(scaled)
    ends: list[int] = search.predict(pen=_PENALTY * math.log(scaled.size))
    return ends[:-1]


def _steps(series: Values, places: Sequence[int]) -> list[Step]:
    bounds = [0, *places, series.size]
    levels = [float(np.median(series[first:end])) for first, end in pairwise(bounds)]
    return [
        Step(place=place, before=before, after=after)
        for place, (before, after) in zip(places, pairwise(levels), strict=True)
    ]
