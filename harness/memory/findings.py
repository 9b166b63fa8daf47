"""What the figures of a profile say. Pure: numbers in, findings out.

Growth is judged as the soak judges it (harness.soak.slopes): on the clock of the session, whose
person thinks between two visits, and by the same budgets. Memory against N, and what the kernel
adds for each byte that a tier states, are straight lines with 95 % bounds (ordinary least squares,
Student's t): processes are independent, so their scatter is the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.gates import Verdict
from harness.soak.slopes import BUDGETS, judge_slope, slope_of

__all__ = [
    "BYTES_A_VECTOR",
    "GROWING",
    "TIER_TOLERANCE",
    "Finding",
    "Line",
    "exit_code_of",
    "fit",
    "growth_findings",
    "line_finding",
    "overall",
    "worst_growth",
]

# A million vectors must not cost half a megabyte: what the limit leaves beside the rest
BYTES_A_VECTOR = 0.5
TIER_TOLERANCE = 0.10  # a tier's statement and the kernel's must agree so well
GROWING = ("anonymous", "shared memory", "descriptors", "threads")
_CONFIDENCE = 0.95
_POINTS_MIN = 3
_SHORT_H = 12.0  # hours of a session; its heap is full after some five


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line with bounds on its slope."""

    slope: float
    low: float
    high: float
    intercept: float
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was asked.

    Attributes
    ----------
    estimate, low, high
        In `unit`; None: not known, `reason` says why.
    wanted
        What it is held against, in words.
    """

    name: str
    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    unit: str
    wanted: str
    reason: str = ""


def fit(places: Sequence[float], values: Sequence[float]) -> Line:
    """Least squares with two-sided 95 % bounds.

    Raises
    ------
    ValueError
        Not as many places as values, fewer than 3, all at one place, or one that is not finite.
    """
    from scipy.stats import linregress, t

    x, y = np.asarray(places, np.float64), np.asarray(values, np.float64)
    if x.shape != y.shape or x.size < _POINTS_MIN:
        raise ValueError(f"{x.size} places and {y.size} values, at least {_POINTS_MIN} wanted")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a figure is not a finite number")
    if np.ptp(x) == 0:
        raise ValueError("all figures are of one place: no slope")
    found = linregress(x, y)
    error = float(found.stderr) if np.ptp(y) else 0.0  # SciPy has no number for equal values
    half = float(t.ppf((1 + _CONFIDENCE) / 2, x.size - 2)) * error
    return Line(
        slope=float(found.slope),
        low=float(found.slope) - half,
        high=float(found.slope) + half,
        intercept=float(found.intercept),
        points=int(x.size),
    )


def growth_findings(
    name: str, samples: Sequence[Mapping[str, Any]], hours: Sequence[float]
) -> list[Finding]:
    """Growth of each resource of one session.

    Parameters
    ----------
    samples
        As `Watch.as_json` gives them.
    hours
        The session's own clock at each of them.
    """
    found = []
    times = [3600 * hour for hour in hours]
    for resource in GROWING:
        values = [_value(sample, resource) for sample in samples]
        budget = BUDGETS[resource]
        is_bytes = resource in ("anonymous", "shared memory")
        common: dict[str, Any] = {
            "name": f"{name}: growth of {resource}",
            "unit": "B" if is_bytes else "count",
            "wanted": f"at most {budget:g} {'B ' if is_bytes else ''}an hour of the session",
        }
        try:
            slope = slope_of(times, values)
        except ValueError as error:
            nothing: dict[str, Any] = {"estimate": None, "low": None, "high": None}
            found.append(Finding(verdict=Verdict.NOT_RUN, reason=str(error), **nothing, **common))
            continue
        reason = f"plateau after {slope.plateau_s / 3600:.1f} of {hours[-1]:.1f} h"
        verdict = judge_slope(slope, budget)
        if verdict is not Verdict.PASS and hours[-1] < _SHORT_H:
            reason += "; so short a session is still filling: take 100 000 operations"
        found.append(
            Finding(
                verdict=verdict,
                estimate=slope.estimate,
                low=slope.low,
                high=slope.high,
                reason=reason,
                **common,
            )
        )
    return found


def worst_growth(name: str, timelines: Sequence[Sequence[Mapping[str, Any]]]) -> list[Finding]:
    """`growth_findings` of several processes: of each resource that of the one that grew most."""
    every = [
        growth_findings(name, timeline, [one["hours"] for one in timeline])
        for timeline in timelines
    ]
    found = []
    for of_one in zip(*every, strict=True):
        worst = max(of_one, key=_badness)
        if len(of_one) > 1:
            told = f"of {len(of_one)} processes the one that grew most"
            worst = replace(worst, reason="; ".join(filter(None, (worst.reason, told))))
        found.append(worst)
    return found


def _badness(finding: Finding) -> tuple[int, float]:
    rank = {Verdict.FAIL: 2, Verdict.PASS: 0}.get(finding.verdict, 1)
    return rank, finding.high if finding.high is not None else math.inf


def _value(sample: Mapping[str, Any], resource: str) -> float:
    return float({**sample["by_type"], **sample["resources"]}[resource])


def line_finding(
    name: str,
    places: Sequence[float],
    values: Sequence[float],
    *,
    at_least: float,
    at_most: float,
    unit: str,
    wanted: str,
) -> tuple[Finding, Line | None]:
    """Is the slope between two bounds? PASS: wholly; FAIL: wholly outside; else INCONCLUSIVE."""
    try:
        line = fit(places, values)
    except ValueError as error:
        nothing: dict[str, Any] = {"estimate": None, "low": None, "high": None}
        return (
            Finding(
                name=name,
                verdict=Verdict.NOT_RUN,
                unit=unit,
                wanted=wanted,
                reason=str(error),
                **nothing,
            ),
            None,
        )
    if at_least <= line.low and line.high <= at_most:
        verdict = Verdict.PASS
    elif line.high < at_least or line.low > at_most:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
    finding = Finding(
        name=name,
        verdict=verdict,
        estimate=line.slope,
        low=line.low,
        high=line.high,
        unit=unit,
        wanted=wanted,
        reason=f"{line.points} processes",
    )
    return finding, line


def overall(findings: Sequence[Finding]) -> Verdict:
    """The worst: FAIL if one fails; PASS only if all pass, and there is one."""
    verdicts = {one.verdict for one in findings}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCONCLUSIVE


def exit_code_of(findings: Sequence[Finding]) -> int:
    """0 nothing grows and the accounts agree, 1 something does not, 3 it cannot be said."""
    return {Verdict.PASS: 0, Verdict.FAIL: 1}.get(overall(findings), 3)
