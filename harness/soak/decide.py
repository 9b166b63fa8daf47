"""What follows from a soak's evidence: pure, and the same for the same segments."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.compare.decide import Verdict as Decided
from harness.gates import Verdict
from harness.measurement import Measurement, Process
from harness.soak.evidence import GAP_S_MAX, Soak, counted_s
from harness.soak.latency import REFERENCES, Drift, drift_of
from harness.soak.slopes import BUDGETS, Slope, judge_slope, slope_of

__all__ = [
    "HOURS",
    "KILLS",
    "STALL_S_MAX",
    "Growth",
    "Judgement",
    "as_measurement",
    "judge_growth",
    "judge_soak",
    "missing_samples",
    "stalled_s",
]

HOURS, KILLS = 24, 100  # SPEC section 5, and the row soak.day.hours
_HOURS_SLACK = 1e-6
# Longer than any call of a store this small takes, even of one that makes an index, on a machine
# that gives a process of nice 19 a twentieth of a core
STALL_S_MAX = 180.0

SAMPLE_S = 300.0  # how often at least a soak looks at its resources
JUDGED_S_MIN = 6 * 3600.0  # of one process's life: 12 blocks of half an hour
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
    times, values = soak.longest(resource)
    if soak.faults:
        reason = soak.faults[0]
    elif not values:
        verdict, reason = Verdict.NOT_RUN, f"{resource} was never looked at"
    elif missing_samples(soak, resource):
        reason = missing_samples(soak, resource)
    elif times[-1] - times[0] < JUDGED_S_MIN - SAMPLE_S:
        verdict = Verdict.INCONCLUSIVE
        lived = (times[-1] - times[0]) / 3600
        reason = f"{lived:.1f} h in one process, at least {JUDGED_S_MIN / 3600:.0f} wanted"
    else:
        try:
            slope = slope_of(times, values)
        except ValueError as error:
            reason = str(error)
        else:
            verdict = judge_slope(slope, budget)
    return Growth(resource=resource, budget=budget, verdict=verdict, slope=slope, reason=reason)


def missing_samples(soak: Soak, resource: str) -> str:
    """What is missing of the expected samples; "" if at least 99 % of them are there.

    One is expected in each stretch of SAMPLE_S of counted time; more of them in one stretch make up
    for none in another.
    """
    wanted = int(sum(map(counted_s, soak.segments)) // SAMPLE_S)
    times, _ = soak.series(resource)
    seen = len({int(time_s // SAMPLE_S) for time_s in times} & set(range(wanted)))
    if seen >= _SAMPLES_SHARE_MIN * wanted:
        return ""
    return f"{seen} samples of {resource}, {wanted} expected"


def stalled_s(soak: Soak) -> float:
    """The longest time in which the soak was awake and no operation ended, in seconds."""
    longest = 0.0
    for segment in soak.segments:
        waited = 0.0
        for before, after in itertools.pairwise(segment):
            passed = after.time_s - before.time_s
            is_idle = not after.operations and passed <= GAP_S_MAX
            waited = waited + passed if is_idle else 0.0
            longest = max(longest, waited)
    return longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one soak is worth.

    Attributes
    ----------
    hours, hours_wanted
        Counted, and for a PASS.
    wrong
        Why it is a FAIL, whatever is still missing; "" if nothing was wrong.
    unfinished
        Why it can be no PASS yet; "" if nothing is missing.
    """

    verdict: Verdict
    hours: float
    hours_wanted: float
    operations: int
    mismatches: int
    kills: int
    recovered: int
    growth: Mapping[str, Growth]
    drifts: tuple[Drift, ...]
    wrong: str
    unfinished: str
    invalid: str

    @property
    def reason(self) -> str:
        """The first thing to know about the verdict."""
        return self.invalid or self.wrong or self.unfinished


def judge_soak(
    soak: Soak, *, hours: float = HOURS, kills: int = KILLS, budgets: Mapping[str, float] = BUDGETS
) -> Judgement:
    """Judge the whole of a soak by SPEC section 5; the same segments give the same judgement."""
    growth = judge_growth(soak, budgets)
    drifts = tuple(drift_of(soak, kind) for kind in REFERENCES)
    counted = sum(map(counted_s, soak.segments)) / 3600
    invalid = soak.faults[0] if soak.faults else ""
    wrong = _wrong(soak, growth, drifts)
    missing = [
        f"{counted:.1f} of {hours:g} h counted" if counted < hours - _HOURS_SLACK else "",
        f"{soak.recovered} of {kills} kills recovered" if soak.recovered < kills else "",
        *_open_growth(growth),
        *(
            f"latency of {one.kind}: {one.verdict or 'too few samples'}"
            for one in drifts
            if one.verdict in (None, Decided.INCONCLUSIVE)
        ),
    ]
    unfinished = "; ".join(filter(None, missing))
    verdict = Verdict.PASS
    if not soak.observations:
        verdict = Verdict.NOT_RUN
    elif invalid:
        verdict = Verdict.INVALID
    elif wrong:
        verdict = Verdict.FAIL
    elif unfinished:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(
        verdict=verdict,
        hours=counted,
        hours_wanted=hours,
        operations=soak.operations,
        mismatches=soak.mismatches,
        kills=soak.kills,
        recovered=soak.recovered,
        growth=growth,
        drifts=drifts,
        wrong=wrong,
        unfinished=unfinished,
        invalid=invalid,
    )


def _open_growth(growth: Mapping[str, Growth]) -> list[str]:
    """What is not decided of growth, resources with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, one in growth.items():
        if one.verdict not in (Verdict.PASS, Verdict.FAIL):
            by_reason.setdefault(one.reason or str(one.verdict), []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _wrong(soak: Soak, growth: Mapping[str, Growth], drifts: Sequence[Drift]) -> str:
    found = []
    if soak.mismatches:
        notes = [one.note for _, one in soak.timeline() if one.note]
        found.append(
            f"{soak.mismatches} wrong answers{': ' if notes else ''}{notes[0] if notes else ''}"
        )
    stalled = stalled_s(soak)
    if stalled > STALL_S_MAX:
        found.append(f"no operation ended for {stalled:.0f} s, at most {STALL_S_MAX:.0f} allowed")
    for name, one in growth.items():
        if one.verdict is Verdict.FAIL:
            assert one.slope is not None
            found.append(
                f"{name} grows by {one.slope.low:.4g} an hour at least, {one.budget:.4g} allowed"
            )
    found += [
        f"latency of {one.kind}: {one.ratio:.3f} times that of the first quarter"
        for one in drifts
        if one.verdict is Decided.REGRESSED
    ]
    return "; ".join(found)


def as_measurement(
    soak: Soak,
    *,
    commit: str,
    config_digest: str,
    started: float,
    ended: float,
    instruments: Mapping[str, bool] = MappingProxyType({}),
) -> Measurement:
    """The soak as the gate `soak.day` judges it: counted hours, a value a segment.

    Without an observation there are no values, and with a fault of the evidence there is a failure
    in their place; a wrong answer of the store is `wrong`, and what is missing `unfinished`: none
    of them can pass.
    """
    first = soak.headers[0] if soak.headers else None
    judged = judge_soak(soak)
    failure = judged.invalid
    if not failure and not soak.observations:
        failure = "the soak has no observations"
    return Measurement(
        id="soak.day",
        unit="count",
        evidence=first.tier if first else "simulated",
        population={"hours": HOURS, "kills": KILLS},
        commit=commit,
        content_digest=first.content_digest if first else "",
        config_digest=config_digest,
        machine=first.machine if first else "",
        started=started,
        ended=ended,
        processes=[
            Process(
                values=[counted_s(segment) / 3600 for segment in soak.segments],
                instruments=dict(instruments),
            )
        ]
        if soak.observations
        else [],
        context=_context(soak, judged),
        failure=failure,
        wrong=judged.wrong,
        unfinished=judged.unfinished,
    )


def _context(soak: Soak, judged: Judgement) -> dict[str, Any]:
    """What a report shows beside the hours."""
    return {
        "counted_hours": judged.hours,
        "operations": judged.operations,
        "mismatches": judged.mismatches,
        "kills": judged.kills,
        "kills_recovered": judged.recovered,
        "segments": len(soak.segments),
        "growth_an_hour": {
            name: f"{one.verdict}: "
            + (
                f"{one.slope.estimate:.4g} ({one.slope.low:.4g} to {one.slope.high:.4g})"
                if one.slope
                else one.reason
            )
            + f", at most {one.budget:.4g}"
            for name, one in judged.growth.items()
        },
        "last_quarter_latency": {
            one.kind: f"{one.verdict or 'too few samples'}"
            + (f", {one.ratio:.3f} times the first" if one.ratio else "")
            for one in judged.drifts
        },
    }
