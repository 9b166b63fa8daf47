"""Does a resource grow? Pure: samples and a budget in, a verdict out.

Method (SPEC section 5): the samples before the measured plateau are left out; what remains is cut
into blocks of equal length in time, whose medians are fitted by Theil and Sen's slope with a 99 %
one-sided bound on either side (Sen 1968, by the distribution of Kendall's S). Medians of blocks,
because neighbouring samples of a process are not independent; not Mann-Kendall, which calls up to
41 % of flat but autocorrelated series growing (FACTS, "Other tools").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from harness.gates import Verdict

__all__ = ["BLOCKS", "BUDGETS", "Slope", "judge_slope", "plateau_start", "slope_of"]

BLOCKS = 12
CONFIDENCE = 0.99
_BLOCK_SAMPLES_MIN = 3  # a median of fewer is a single sample's noise
_HOUR_S = 3600.0
_SPREADS = 3 * 1.4826  # median absolute deviations in 3 standard deviations of a normal law
_PLATEAU_SHARE_MAX = 0.5  # a plateau that begins later leaves too little to judge

# Growth an hour that is still no leak. Anonymous memory: 30 days of it are 7 MB, as much as both
# tiers may hold; 12 block medians of a day tell 40 KB from it always and 2 KB in 98 % of days.
# Files: 12 a day, less than one for each 60 kills, so that a kill that leaves a file behind shows.
# Versions: what a store takes in an hour is some 200; what it keeps moves between its bounds as
# configurations change, by which a day's slope is uncertain by half a version an hour.
BUDGETS: Mapping[str, float] = MappingProxyType(
    {
        "anonymous": 10_000.0,
        "shared memory": 10_000.0,
        "clean file pages": 1_000_000.0,
        "descriptors": 0.5,
        "threads": 0.5,
        "files": 0.5,
        "versions": 2.0,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Growth an hour after the plateau, with one-sided 99 % bounds, in the resource's unit.

    Attributes
    ----------
    plateau_s
        When the plateau began, on the clock of the samples.
    """

    estimate: float
    low: float
    high: float
    blocks: int
    samples: int
    plateau_s: float


def plateau_start(values: NDArray[np.float64]) -> int:
    """Index of the first sample of the plateau.

    That is the first stretch whose median is as near the median of the last quarter as most of the
    last quarter's own samples are (3 standard deviations, by the median absolute deviation). What
    grows to the end has none: then it is the middle, so that half of the samples are judged.
    """
    size = max(1, len(values) // (2 * BLOCKS))
    quarter = values[-max(2, len(values) // 4) :]
    level = float(np.median(quarter))
    spread = float(np.median(np.abs(quarter - level)))
    tolerance = _SPREADS * spread + _resolution(values)
    last = int(len(values) * _PLATEAU_SHARE_MAX)
    for first in range(0, last, size):
        if abs(float(np.median(values[first : first + size])) - level) <= tolerance:
            return first
    return last


def _resolution(values: NDArray[np.float64]) -> float:
    """The smallest step between two different values: memory comes in pages."""
    steps = np.diff(np.unique(values))
    return float(steps.min()) if steps.size else 0.0


def slope_of(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Growth an hour after the plateau.

    Raises
    ------
    ValueError
        Not as many times as values, one that is not finite, times that do not rise, or too few
        samples for `BLOCKS` blocks after the plateau.
    """
    from scipy.stats import theilslopes

    times, sizes = np.asarray(times_s, np.float64), np.asarray(values, np.float64)
    if times.shape != sizes.shape or times.ndim != 1:
        raise ValueError(f"{times.shape} times for {sizes.shape} values")
    if not (np.isfinite(times).all() and np.isfinite(sizes).all()):
        raise ValueError("a sample is not a finite number")
    if not (np.diff(times) > 0).all():
        raise ValueError("the times do not rise")
    wanted = 2 * BLOCKS * _BLOCK_SAMPLES_MIN
    if len(times) < wanted:
        raise ValueError(f"{len(times)} samples, at least {wanted} wanted")
    first = plateau_start(sizes)
    centres, medians = _block_medians(times[first:], sizes[first:])
    fit = theilslopes(medians, centres, alpha=2 * CONFIDENCE - 1)
    return Slope(
        estimate=float(fit.slope) * _HOUR_S,
        low=float(fit.low_slope) * _HOUR_S,
        high=float(fit.high_slope) * _HOUR_S,
        blocks=len(medians),
        samples=len(times) - first,
        plateau_s=float(times[first]),
    )


def _block_medians(
    times_s: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and median of each of BLOCKS stretches of equal length in time.

    Raises ValueError where a stretch has too few samples: what was not seen is not flat.
    """
    edges = np.linspace(times_s[0], times_s[-1], BLOCKS + 1)
    places = np.clip(np.searchsorted(edges, times_s, side="right") - 1, 0, BLOCKS - 1)
    counts = np.bincount(places, minlength=BLOCKS)
    if counts.min() < _BLOCK_SAMPLES_MIN:
        raise ValueError(
            f"{counts.min()} samples in a twelfth of the time, at least {_BLOCK_SAMPLES_MIN} wanted"
        )
    blocks = range(BLOCKS)
    return (
        np.array([np.median(times_s[places == block]) for block in blocks]),
        np.array([np.median(values[places == block]) for block in blocks]),
    )


def judge_slope(slope: Slope | None, budget: float) -> Verdict:
    """Judge growth an hour against a budget.

    PASS if the upper bound is within the budget, FAIL if the lower one is beyond it, INCONCLUSIVE
    between: a longer soak would decide. NOT RUN without a slope.

    Raises
    ------
    ValueError
        A budget that is no positive number.
    """
    if not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"a budget of {budget} an hour")
    if slope is None:
        return Verdict.NOT_RUN
    if not all(map(math.isfinite, (slope.low, slope.estimate, slope.high))):
        return Verdict.INVALID
    if slope.high <= budget:
        return Verdict.PASS
    return Verdict.FAIL if slope.low > budget else Verdict.INCONCLUSIVE
