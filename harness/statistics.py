"""From samples of fresh processes to an interval; pure, and the same for the same input.

Method: the bootstrap of Efron by percentiles, in two stages: processes are drawn with replacement,
then blocks of neighbouring samples within each, because samples of one process are not
independent (SPEC section 2). Each end of the interval is a one-sided bound of its own. The
percentiles are expanded for the small number of processes (Hesterberg 2015, "What Teachers Should
Know About the Bootstrap", section 5.3): plain ones of 5 processes miss 10 % where they say 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.measurement import Process

__all__ = ["Interval", "error_rate_bound", "interval_of", "statistic_of"]

_RESAMPLES = 2_000
_SEED = 20_261_124  # fixed, so that `harness verify` gets the same bounds
_CELLS_MAX = 160_000_000  # values drawn for one interval, some seconds
_RESAMPLES_MIN = 400

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A point estimate with a one-sided bound on either side, in the unit of the samples."""

    estimate: float
    low: float
    high: float
    samples: int
    processes: int


def statistic_of(values: Values, name: str) -> float:
    """One number of all values: "sum", "mean", "median", "p50" or "p99".

    A quantile is always one of the values: the first whose place, counted from 0, is not below
    q * (n - 1), so that rounding never flatters a latency.
    """
    match name:
        case "sum":
            return float(values.sum())
        case "mean" | "added-mean":
            return float(values.mean())
        case "median" | "p50":
            return _quantile(values, 0.5)
        case "p99":
            return _quantile(values, 0.99)
    raise ValueError(f"no statistic {name!r}")


def _quantile(values: Values, share: float) -> float:
    place = math.ceil(share * (values.size - 1))
    return float(np.partition(values, place)[place])


@np.errstate(over="ignore", invalid="ignore")  # what is beyond all numbers comes back as inf
def interval_of(
    processes: Sequence[Process], statistic: str, *, confidence: float, resample: str
) -> Interval:
    """The statistic over all treatment processes, and its bounds.

    Parameters
    ----------
    processes
        At least one with values; control processes count for "added-mean" only.
    confidence
        Of each bound: 0.95 leaves 5 % beyond either end.
    resample
        "process": processes, then blocks within. "sample": single samples of the pooled values.
        "none": the values are a complete count, so both bounds are the estimate.

    Raises
    ------
    ValueError
        No values, one that is not finite, "added-mean" without control processes, or a single
        piece to draw from, which says nothing about the next one.
    """
    treated = _arrays(processes, control=False)
    controls = _arrays(processes, control=True)
    if not treated:
        raise ValueError("no samples")
    if not all(np.isfinite(values).all() for values in (*treated, *controls)):
        raise ValueError("a sample is not a finite number")
    if statistic == "added-mean":
        if not controls:
            raise ValueError("no control process")
        return _added_mean(treated, controls, confidence)
    pooled = np.concatenate(treated)
    estimate = statistic_of(pooled, statistic)
    count = {"samples": int(pooled.size), "processes": len(treated)}
    if resample == "none":
        return Interval(estimate=estimate, low=estimate, high=estimate, **count)
    rng = np.random.default_rng(_SEED)
    if resample == "sample":
        drawn, pieces = _resampled_pool(pooled, statistic, rng), pooled.size
    else:
        blocks = [process.block for process in processes if not process.control and process.values]
        shaped = [_in_blocks(values, block) for values, block in zip(treated, blocks, strict=True)]
        drawn = _resampled_processes(shaped, statistic, rng)
        pieces = len(shaped) if len(shaped) > 1 else len(shaped[0])
    low, high = _bounds(drawn, confidence, pieces)
    return Interval(estimate=estimate, low=low, high=high, **count)


def _bounds(drawn: Values, confidence: float, pieces: int) -> tuple[float, float]:
    """Both percentiles, at the level that covers the truth when only `pieces` were drawn from."""
    if pieces < 2:
        raise ValueError("a single sample has no bounds")
    student = special.stdtrit(pieces - 1, confidence)
    level = float(special.ndtr(math.sqrt(pieces / (pieces - 1)) * student))
    low, high = np.quantile(drawn, [1 - level, level])
    return float(low), float(high)


def _arrays(processes: Sequence[Process], *, control: bool) -> list[Values]:
    return [
        np.asarray(process.values, dtype=np.float64)
        for process in processes
        if process.control is control and process.values
    ]


def _resampled_pool(pooled: Values, statistic: str, rng: np.random.Generator) -> Values:
    resamples = _resamples(pooled.size)
    drawn = np.empty(resamples)
    for turn in range(resamples):
        drawn[turn] = statistic_of(pooled[rng.integers(0, pooled.size, pooled.size)], statistic)
    return drawn


def _resampled_processes(
    shaped: Sequence[Values], statistic: str, rng: np.random.Generator
) -> Values:
    drawn = np.empty(_resamples(sum(rows.size for rows in shaped)))
    count = len(shaped)
    if len({rows.shape for rows in shaped}) == 1:  # as usual: all at once, several times faster
        stacked = np.stack(shaped)
        for turn in range(len(drawn)):
            chosen = rng.integers(0, count, (count, 1))
            blocks = rng.integers(0, stacked.shape[1], stacked.shape[:2])
            drawn[turn] = statistic_of(stacked[chosen, blocks].ravel(), statistic)
        return drawn
    for turn in range(len(drawn)):
        parts = []
        for place in rng.integers(0, count, count):
            rows = shaped[place]
            parts.append(rows[rng.integers(0, len(rows), len(rows))].ravel())
        drawn[turn] = statistic_of(np.concatenate(parts), statistic)
    return drawn


def _resamples(values: int) -> int:
    return max(_RESAMPLES_MIN, min(_RESAMPLES, _CELLS_MAX // max(1, values)))


def _in_blocks(values: Values, block: int) -> Values:
    """Rows of `block` neighbouring samples; a remainder shorter than a block is left out."""
    size = max(1, min(block, values.size))
    return values[: values.size // size * size].reshape(-1, size)


def _added_mean(
    treated: Sequence[Values], controls: Sequence[Values], confidence: float
) -> Interval:
    """Mean of the treated processes minus mean of the controls; both sides are resampled."""
    with_store = np.array([values.mean() for values in treated])
    without = np.array([values.mean() for values in controls])
    rng = np.random.default_rng(_SEED)
    draws = (_RESAMPLES, len(with_store)), (_RESAMPLES, len(without))
    added = with_store[rng.integers(0, len(with_store), draws[0])].mean(axis=1)
    added -= without[rng.integers(0, len(without), draws[1])].mean(axis=1)
    low, high = _bounds(added, confidence, min(len(with_store), len(without)))
    return Interval(
        estimate=float(with_store.mean() - without.mean()),
        low=low,
        high=high,
        samples=int(sum(values.size for values in treated)),
        processes=len(treated),
    )


def error_rate_bound(trials: int) -> float:
    """95 % upper bound of an error rate after `trials` trials without an error: 3/n, at most 1."""
    return 1.0 if trials < 3 else 3.0 / trials
