"""From rounds, calibration and manifest to what a comparison says; pure, as `harness verify` needs.

One benchmark: the rule of `decide`. REGRESSED must recur in a second run of new processes, or it is
INCONCLUSIVE. A benchmark decides if it is calibrated on this machine.

All benchmarks: Holm over the p values at their stopping looks. A single run's p value is that of
its look times the number of looks. Both runs are independent, and a benchmark counts as REGRESSED
only if both say so; the larger p value of the two, squared, is then that of both together. With
alpha 0.01 a run this is at most 1e-4, so that Holm lets a confirmed slowdown among up to 100
benchmarks stand, and still errs in at most 1 of 100 whole comparisons (decision 0013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.compare.calibrate import Standing
from harness.compare.decide import RULE, Decision, Rule, Verdict, holm

__all__ = ["Outcome", "Suite", "judge_benchmark", "judge_suite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is said of one benchmark.

    Attributes
    ----------
    decides
        False: it is shown, and the exit status does not depend on it.
    first, second
        Where each run led; None if it was not made.
    p
        Of "no slower than the margin", over all looks and both runs.
    """

    name: str
    verdict: Verdict
    reason: str
    decides: bool
    first: Decision | None
    second: Decision | None
    standing: Standing | None
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What is said of all of them together, and Holm's p values of those that decide."""

    verdict: str
    exit_code: int
    reasons: tuple[str, ...]
    p_holm: Mapping[str, float]


def judge_benchmark(
    name: str,
    first: Decision | None,
    second: Decision | None,
    standing: Standing | None,
    *,
    reason: str = "",
    stand_in: str = "",
    rule: Rule = RULE,
) -> Outcome:
    """Judge one benchmark by what each run decided.

    Parameters
    ----------
    first
        Its verdict is not None; only with a reason may it be missing.
    second
        None: the second run was not made.
    standing
        None: none is needed (instruction counts).
    reason
        Why it is not comparable; empty if it is.
    stand_in
        Why it is not comparable though both sides ran it: its runs are kept to be shown.
    """
    if stand_in and not reason and first is not None:
        return Outcome(
            name=name,
            verdict=Verdict.NOT_COMPARABLE,
            reason=stand_in,
            decides=True,
            first=first,
            second=second,
            standing=standing,
            p=1.0,
        )
    if reason or first is None:
        return Outcome(
            name=name,
            verdict=Verdict.NOT_COMPARABLE,
            reason=reason or "it was not measured",
            decides=True,
            first=None,
            second=None,
            standing=standing,
            p=1.0,
        )
    verdict, why = _confirmed(first, second)
    decides = standing is None or standing.state != "trend only"
    if not decides and standing is not None:
        why = "; ".join(filter(None, [why, f"trend only: {standing.reason}"]))
    return Outcome(
        name=name,
        verdict=verdict,
        reason=why,
        decides=decides,
        first=first,
        second=second,
        standing=standing,
        p=_p_value(first, second, verdict, rule),
    )


def _confirmed(first: Decision, second: Decision | None) -> tuple[Verdict, str]:
    assert first.verdict is not None
    if first.verdict is Verdict.INCONCLUSIVE and first.look is None:
        return first.verdict, f"only {first.rounds} rounds were made"
    if first.verdict is not Verdict.REGRESSED:
        return first.verdict, ""
    if second is None or second.look is None:
        return Verdict.INCONCLUSIVE, "REGRESSED, but time was up before the second run told"
    if second.verdict is not Verdict.REGRESSED:
        return Verdict.INCONCLUSIVE, f"REGRESSED in the first run, {second.verdict} in the second"
    return Verdict.REGRESSED, ""


def _p_value(first: Decision, second: Decision | None, verdict: Verdict, rule: Rule) -> float:
    looks = len(rule.looks)
    if verdict is Verdict.REGRESSED:
        assert first.look is not None
        assert second is not None
        assert second.look is not None
        both = (first.look.p_regressed, second.look.p_regressed)
        return float((looks * max(both)) ** 2)
    if first.look is None or first.verdict is Verdict.REGRESSED:  # what did not recur
        return 1.0
    return min(1.0, looks * first.look.p_regressed)


def judge_suite(outcomes: Sequence[Outcome], *, strict: bool = False, rule: Rule = RULE) -> Suite:
    """Roll up: 1 only for a slowdown that is sure, 0 only if nothing is open, else 3.

    `strict` turns 3 into 1.
    """
    deciding = [one for one in outcomes if one.decides]
    judged = [one for one in deciding if one.verdict is not Verdict.NOT_COMPARABLE]
    p_holm = holm({one.name: one.p for one in judged})
    regressed = [
        one
        for one in deciding
        if one.verdict is Verdict.REGRESSED and p_holm[one.name] <= rule.alpha
    ]
    sure = [one for one in regressed if _is_calibrated(one)]
    if sure:
        reasons = tuple(_sentence(one) for one in sure)
        return Suite(verdict="REGRESSED", exit_code=1, reasons=reasons, p_holm=p_holm)
    reasons = tuple(_open_questions(deciding, p_holm, rule))
    if not deciding:
        reasons = ("no benchmark decides",)
    if reasons:
        status = 1 if strict else 3
        return Suite(verdict="INCONCLUSIVE", exit_code=status, reasons=reasons, p_holm=p_holm)
    return Suite(verdict="NO REGRESSION", exit_code=0, reasons=(), p_holm=p_holm)


def _is_calibrated(one: Outcome) -> bool:
    return one.standing is None or one.standing.state == "calibrated"


def _sentence(one: Outcome) -> str:
    return f"{one.name}: {one.verdict}{f' ({one.reason})' if one.reason else ''}"


def _open_questions(
    deciding: Sequence[Outcome], p_holm: Mapping[str, float], rule: Rule
) -> list[str]:
    """One sentence a benchmark; those that say the same, or only lack a calibration, share one."""
    found: list[str] = []
    unfit: dict[str, list[Outcome]] = {}
    uncalibrated: dict[str, list[str]] = {}
    for one in deciding:
        if one.verdict is Verdict.NOT_COMPARABLE:
            unfit.setdefault(one.reason, []).append(one)
        elif one.verdict is Verdict.INCONCLUSIVE:
            found.append(_sentence(one))
        elif not _is_calibrated(one):
            assert one.standing is not None
            if one.verdict is Verdict.REGRESSED:
                found.append(f"{_sentence(one)}, but not calibrated: {one.standing.reason}")
            else:
                uncalibrated.setdefault(one.standing.reason, []).append(one.name)
        elif one.verdict is Verdict.REGRESSED:
            seen = f"Holm {p_holm[one.name]:.2g} > {rule.alpha}"
            found.append(f"{one.name}: REGRESSED, but not among so many ({seen})")
    for reason, alike in unfit.items():
        names = ", ".join(one.name for one in alike)
        found.append(
            _sentence(alike[0]) if len(alike) == 1 else f"NOT COMPARABLE, {reason}: {names}"
        )
    for reason, without in uncalibrated.items():
        found.append(f"not calibrated, {reason}: {', '.join(without)}")
    return found
