"""Interval and target in, verdict out. No clock, no file, no default.

Source: SPEC section 3. Nothing missing may pass: whatever is not measured, not valid, or not clear
has a verdict of its own, and none of them is PASS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from harness.measurement import Measurement, Process
from harness.statistics import Interval, interval_of
from harness.targets import Gate, Row

__all__ = [
    "Decision",
    "GateVerdict",
    "RowVerdict",
    "Setting",
    "Verdict",
    "decide",
    "decides",
    "judge_gate",
    "row_interval",
]


class Verdict(StrEnum):
    """The seven verdicts, worst first."""

    FAIL = "FAIL"
    INFEASIBLE = "INFEASIBLE"
    INVALID = "INVALID"
    NOT_RUN = "NOT RUN"
    INCONCLUSIVE = "INCONCLUSIVE"
    WAIVED = "WAIVED"
    PASS = "PASS"  # noqa: S105  # not a password


_WORST_FIRST = list(Verdict)
_CLOCK_STEP_S = 60  # the wall clock may be set back while a run is under way
_SERIES_MIN = 10  # equal series of fewer times could be chance, on a coarse clock
_MADE_BEFORE = ("real-time", "simulated")  # tiers whose evidence a run finds and does not make
EXIT_CODES = {"GO": 0, "NO-GO": 1, "HOLD": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a measurement must belong to in order to count."""

    profile: str
    commit: str
    content_digest: str
    config_digest: str
    machine: str
    now: float  # seconds since the epoch, when the run ended
    started: float = -math.inf  # the same, when it began


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVerdict:
    """One judged row."""

    row: Row
    verdict: Verdict
    reason: str
    interval: Interval | None
    headroom: float | None
    measurement: Measurement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """One judged gate."""

    gate: Gate
    blocking: bool
    verdict: Verdict
    reason: str
    rows: tuple[RowVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """GO, NO-GO or HOLD."""

    verdict: str
    label: str
    exit_code: int
    reasons: tuple[str, ...]


def judge_row(
    row: Row,
    measurement: Measurement | None,
    setting: Setting,
    *,
    absent: str = "no measurement in this run",
    damaged: str = "",
) -> RowVerdict:
    """Judge one row.

    Parameters
    ----------
    absent
        Why there is no measurement, where there is none.
    damaged
        What is wrong with the file of a measurement that was made; an empty string if nothing is.
    """
    if damaged:
        return _without_interval(row, Verdict.INVALID, damaged, None)
    if measurement is None:
        return _without_interval(row, Verdict.NOT_RUN, absent, None)
    fault = _invalid_because(row, measurement, setting)
    if fault:
        return _without_interval(row, Verdict.INVALID, fault, measurement)
    if measurement.wrong:
        return _without_interval(row, Verdict.FAIL, measurement.wrong, measurement)
    try:
        interval = row_interval(row, measurement.processes)
    except ValueError as error:
        return _without_interval(row, Verdict.INVALID, str(error), measurement)
    verdict = compare(row.comparator, row.limit, interval)
    reason = ""
    bound = measurement.bound
    if bound is not None and not _is_good(row.comparator, bound.value, row.limit):
        if _is_beaten(row.comparator, bound.value, interval.estimate):
            fault = f"{interval.estimate:.4g} is better than its bound of {bound.value:.4g}: "
            fault += "one of the two is wrong"
            return _without_interval(row, Verdict.INVALID, fault, measurement)
        verdict = Verdict.INFEASIBLE
        reason = f"the best this data allows is on the wrong side of the limit: {bound.reason}"
    elif measurement.unfinished:
        verdict, reason = Verdict.INCONCLUSIVE, measurement.unfinished
    elif verdict is Verdict.INCONCLUSIVE:
        reason = "the interval straddles the limit"
    return RowVerdict(
        row=row,
        verdict=verdict,
        reason=reason,
        interval=interval,
        headroom=headroom(row, interval.estimate),
        measurement=measurement,
    )


def row_interval(row: Row, processes: Sequence[Process]) -> Interval:
    """The row's statistic of some processes; raises ValueError unless all of it is finite."""
    interval = interval_of(
        processes, row.statistic, confidence=row.confidence, resample=row.resample
    )
    if not all(map(math.isfinite, (interval.estimate, interval.low, interval.high))):
        raise ValueError(f"the {row.statistic} is not a finite number")
    return interval


def compare(comparator: str, limit: float, interval: Interval) -> Verdict:
    """PASS if estimate and both bounds are good, FAIL if all are bad, INCONCLUSIVE otherwise."""
    values = (interval.low, interval.estimate, interval.high)
    good = [_is_good(comparator, value, limit) for value in values]
    if all(good):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE if any(good) else Verdict.FAIL


def _is_good(comparator: str, value: float, limit: float) -> bool:
    match comparator:
        case "<":
            return value < limit
        case "<=":
            return value <= limit
        case ">":
            return value > limit
        case ">=":
            return value >= limit
        case "==":
            return value == limit
    raise ValueError(f"no comparator {comparator!r}")


def _is_beaten(comparator: str, bound: float, estimate: float) -> bool:
    margin = 1e-9 * abs(bound)  # both are sums of floating point numbers
    if comparator.startswith(">"):
        return estimate > bound + margin
    return comparator.startswith("<") and estimate < bound - margin


def headroom(row: Row, estimate: float) -> float | None:
    """Part of the limit that is left: 0.6 means 60 %; negative when missed; None at limit 0."""
    if row.limit == 0 or row.comparator == "==":
        return None
    sign = 1.0 if row.comparator.startswith("<") else -1.0
    return sign * (row.limit - estimate) / abs(row.limit)


def _without_interval(
    row: Row, verdict: Verdict, reason: str, measurement: Measurement | None
) -> RowVerdict:
    return RowVerdict(
        row=row,
        verdict=verdict,
        reason=reason,
        interval=None,
        headroom=None,
        measurement=measurement,
    )


def _invalid_because(row: Row, measurement: Measurement, setting: Setting) -> str:
    """Why a measurement cannot count; an empty string if it can."""
    if measurement.failure:
        return measurement.failure
    for name in ("commit", "content_digest", "config_digest", "machine"):
        seen, wanted = getattr(measurement, name), getattr(setting, name)
        # a row with settings of its own never decides; which they were is looked at below
        if seen != wanted and not (name == "config_digest" and row.settings):
            return f"measured with another {name.replace('_', ' ')}: {seen}, this run has {wanted}"
    age = setting.now - measurement.ended
    if not age <= row.age_max_s:  # "not": NaN is of no age that counts
        return f"measured {age:.0f} s before the end of the run, at most {row.age_max_s:.0f} count"
    if age < -_CLOCK_STEP_S:
        return f"measured {-age:.0f} s after the end of the run"
    is_earlier = measurement.started < setting.started - _CLOCK_STEP_S
    if is_earlier and measurement.evidence not in _MADE_BEFORE:
        return "measured before this run began: its raw samples are of another run"
    if measurement.unit != row.unit:
        return f"measured in {measurement.unit!r}, the target is in {row.unit!r}"
    if measurement.evidence not in row.accepts:
        return f"{measurement.evidence} data is shown, never judged; wanted: " + ", ".join(
            row.accepts
        )
    for name, wanted in row.settings.items():
        seen = measurement.population.get(name)
        if seen != wanted:
            return f"measured with setting {name} = {seen}, the row is about {name} = {wanted}"
    for name, wanted in row.population.items():
        seen = measurement.population.get(name)
        if isinstance(wanted, int | float) and seen != wanted:
            return f"measured with {name} = {seen}, the target is about {name} = {wanted}"
    return _invalid_samples(row, measurement)


def _invalid_samples(row: Row, measurement: Measurement) -> str:
    treated = [process for process in measurement.processes if not process.control]
    controls = [process for process in measurement.processes if process.control]
    if len(treated) < row.processes_min:
        return f"{len(treated)} processes, at least {row.processes_min} wanted"
    if row.statistic == "added-mean" and len(controls) < row.processes_min:
        return f"{len(controls)} control processes, at least {row.processes_min} wanted"
    for process in measurement.processes:
        if len(process.values) < (1 if process.control else row.samples_min):
            return f"{len(process.values)} samples in a process, at least {row.samples_min} wanted"
        if not all(math.isfinite(value) for value in process.values):
            return "a sample is not a finite number"
        for name, wanted in row.instruments.items():
            seen = process.instruments.get(name)
            if seen is not wanted:
                state = ("on" if seen else "off") if isinstance(seen, bool) else "in unknown state"
                return f"{name} was {state}, {'on' if wanted else 'off'} wanted"
    return _repeated(row, treated)


def _repeated(row: Row, processes: Sequence[Process]) -> str:
    """Two processes never take the same series of times: else one of them did not run."""
    series = [tuple(process.values) for process in processes]
    series = [one for one in series if len(one) >= _SERIES_MIN and len(set(one)) > 1]
    if row.unit == "s" and len(set(series)) < len(series):
        return "two processes have the same samples: they are one process, twice"
    return ""


def judge_gate(
    gate: Gate,
    measurements: Mapping[str, Measurement],
    setting: Setting,
    *,
    absent: Mapping[str, str] = MappingProxyType({}),
    damaged: Mapping[str, str] = MappingProxyType({}),
    waived: Mapping[str, str] = MappingProxyType({}),
    expired: Mapping[str, str] = MappingProxyType({}),
) -> GateVerdict:
    """Judge all rows of a gate and roll them up: the worst of the rows that decide.

    Parameters
    ----------
    measurements
        By name (`Row.measurement`).
    absent
        Why a measurement that is not there was not made, by name.
    damaged
        What is wrong with the files of measurements that were made, by name.
    waived, expired
        Reasons of waivers in force, and of those that have run out, by gate.
    """
    rows = tuple(
        judge_row(
            row,
            measurements.get(row.measurement),
            setting,
            absent=absent.get(row.measurement, "no measurement in this run"),
            damaged=damaged.get(row.measurement, ""),
        )
        for row in gate.rows
    )
    deciding = [row for row in rows if decides(row, setting.profile)]
    blocking = bool(deciding)
    # where no row decides in this profile, those that do in another speak for the gate
    counting = deciding or [row for row in rows if row.row.blocking] or list(rows)
    verdict = worst([row.verdict for row in counting])
    reason = next((row.reason for row in counting if row.verdict is verdict), "")
    if gate.id in expired:
        # a miss that was accepted for a time: renew it or take it out, whatever is measured today
        more = "; without it the gate would pass" if verdict is Verdict.PASS else ""
        verdict, reason = Verdict.FAIL, f"its waiver has expired: {expired[gate.id]}{more}"
    elif gate.id in waived and verdict is not Verdict.PASS:
        verdict, reason = Verdict.WAIVED, f"{verdict}, waived: {waived[gate.id]}"
    return GateVerdict(gate=gate, blocking=blocking, verdict=verdict, reason=reason, rows=rows)


def decides(judged: RowVerdict, profile: str) -> bool:
    """Does this row count in this profile? An optional one does if it was measured at all."""
    is_given = not judged.row.optional or judged.verdict is not Verdict.NOT_RUN
    return profile in judged.row.blocking and is_given


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of some verdicts; NOT RUN of none."""
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.NOT_RUN)


def decide(
    gates: Sequence[GateVerdict], profile: str, *, strict: bool, unproved: str = ""
) -> Decision:
    """GO if every blocking gate is PASS or WAIVED, NO-GO if one is FAIL or INFEASIBLE, else HOLD.

    Parameters
    ----------
    strict
        Turns the exit status of HOLD, 3, into 1.
    unproved
        Why there is no current proof that the gates can fail; then a release verdict, which is
        one of any profile but ci, is HOLD where it would be GO.
    """
    blocking = [gate for gate in gates if gate.blocking]
    open_gates = [gate for gate in blocking if gate.verdict not in (Verdict.PASS, Verdict.WAIVED)]
    failed = [gate for gate in open_gates if gate.verdict in (Verdict.FAIL, Verdict.INFEASIBLE)]
    verdict = "NO-GO" if failed else "HOLD" if open_gates or not blocking else "GO"
    reasons = tuple(f"{gate.gate.id}: {gate.verdict}" for gate in (failed or open_gates))
    if not blocking:
        reasons = ("no gate blocks in this profile",)
    if unproved and profile != "ci" and verdict != "NO-GO":
        verdict, reasons = "HOLD", (*reasons, unproved)
    label = verdict
    if profile == "ci":
        word = {"GO": "PASS", "NO-GO": "FAIL", "HOLD": "HOLD"}[verdict]
        label = f"CI {word}, not a release verdict"
    exit_code = EXIT_CODES[verdict]
    return Decision(
        verdict=verdict,
        label=label,
        exit_code=1 if strict and exit_code == 3 else exit_code,
        reasons=reasons,
    )
