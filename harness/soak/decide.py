"""What follows from a soak's evidence: pure, and the same for the same segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.gates import Verdict
from harness.measurement import Measurement, Process
from harness.soak.evidence import Soak, counted_s
from harness.soak.slopes import BUDGETS, Slope, judge_slope, slope_of

__all__ = ["Growth", "as_measurement", "judge_growth", "missing_samples"]

SAMPLE_S = 300.0  # how often a soak looks at its resources
_SAMPLES_SHARE_MIN = 0.99  # SPEC section 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The verdict on one resource."""

    resource: str
    budget: float
    verdict: Verdict
    slope: Slope | None
    reason: str


def judge_growth(soak: Soak, budgets: Mapping[str, float] = BUDGETS) -> dict[str, Growth]:
    """A verdict for each resource with a budget; never PASS where nothing was seen.

    INVALID if the chain has faults or samples are missing, NOT RUN if none is there, else as
    `judge_slope` says.
    """
    return {name: _growth(soak, name, budget) for name, budget in budgets.items()}


def _growth(soak: Soak, resource: str, budget: float) -> Growth:
    slope, verdict, reason = None, Verdict.INVALID, ""
    times, values = soak.series(resource)
    if soak.faults:
        reason = soak.faults[0]
    elif not values:
        verdict, reason = Verdict.NOT_RUN, f"{resource} was never looked at"
    elif missing_samples(soak, resource):
        reason = missing_samples(soak, resource)
    else:
        try:
            slope = slope_of(times, values)
        except ValueError as error:
            reason = str(error)
        else:
            verdict = judge_slope(slope, budget)
    return Growth(resource=resource, budget=budget, verdict=verdict, slope=slope, reason=reason)


def missing_samples(soak: Soak, resource: str) -> str:
    """What is missing of the expected samples; "" if at least 99 % of them are there."""
    wanted = sum(map(counted_s, soak.segments)) / SAMPLE_S
    seen = len(soak.series(resource)[1])
    if seen >= _SAMPLES_SHARE_MIN * wanted:
        return ""
    return f"{seen} samples of {resource}, {wanted:.0f} expected"


def as_measurement(
    soak: Soak, *, commit: str, config_digest: str, started: float, ended: float
) -> Measurement:
    """The soak as the gate `soak.day` judges it: counted hours, a value a segment.

    Without an observation there are no values, and with a fault or a wrong answer there is a
    failure in their place: neither can pass.
    """
    first = soak.headers[0] if soak.headers else None
    facts: dict[str, Any] = {"observations": soak.observations, "mismatches": soak.mismatches}
    failure = soak.faults[0] if soak.faults else ""
    if not failure and not soak.observations:
        failure = "the soak has no observations"
    if not failure and soak.mismatches:
        failure = f"{soak.mismatches} answers were wrong"
    hours = [counted_s(segment) / 3600 for segment in soak.segments]
    return Measurement(
        id="soak.day",
        unit="count",
        evidence=first.tier if first else "simulated",
        population={"hours": 24, "kills": 0},
        commit=commit,
        content_digest=first.content_digest if first else "",
        config_digest=config_digest,
        machine=first.machine if first else "",
        started=started,
        ended=ended,
        processes=[Process(values=hours, facts=facts)] if soak.observations else [],
        failure=failure,
    )
