"""Risk: an exit status that the benchmarks do not bear."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness.compare.calibrate import Rate, Standing
from harness.compare.decide import RULE, Decision, Verdict, decide
from harness.compare.verdicts import Outcome, judge_benchmark, judge_suite

SOME = Rate(count=1, of=100)


def standing(state: str = "calibrated", reason: str = "") -> Standing:
    return Standing(
        state=state,
        reason=reason,
        rounds=256,
        false_regressed=SOME,
        found=SOME,
        real=SOME,
        autocorrelation=None,
    )


@cache
def led(shift: float, spread: float = 0.002, rounds: int = 64) -> Decision:
    noise = np.linspace(-spread, spread, rounds)
    np.random.default_rng(5).shuffle(noise)
    return decide(noise + shift, is_over=True)


SLOW, SAME, FAST, WIDE = led(0.05), led(0.0), led(-0.05), led(0.02, 0.4)


def outcome(
    first: Decision | None,
    second: Decision | None = None,
    state: str = "calibrated",
    name: str = "b",
    reason: str = "",
) -> Outcome:
    return judge_benchmark(name, first, second, standing(state, "why"), reason=reason)


def test_the_examples_are_what_they_are_called() -> None:
    assert [one.verdict for one in (SLOW, SAME, FAST, WIDE)] == [
        "REGRESSED", "NO REGRESSION", "IMPROVED", "INCONCLUSIVE",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "verdict", "word"),
    [
        (SLOW, SLOW, "REGRESSED", ""),
        (SLOW, SAME, "INCONCLUSIVE", "NO REGRESSION in the second"),
        (SLOW, WIDE, "INCONCLUSIVE", "INCONCLUSIVE in the second"),
        (SLOW, FAST, "INCONCLUSIVE", "IMPROVED in the second"),
        (SLOW, None, "INCONCLUSIVE", "time was up before the second run"),
        (SAME, None, "NO REGRESSION", ""),
        (FAST, None, "IMPROVED", ""),
        (WIDE, None, "INCONCLUSIVE", ""),
        (led(0.05, rounds=3), None, "INCONCLUSIVE", "only 3 rounds were made"),
        (None, None, "NOT COMPARABLE", "it was not measured"),
    ],
)
def test_a_slowdown_has_to_recur(
    first: Decision | None, second: Decision | None, verdict: str, word: str
) -> None:
    found = outcome(first, second)
    assert found.verdict == verdict
    assert word in found.reason
    assert (found.p <= 1e-4) is (verdict == "REGRESSED")


def test_what_is_not_comparable_has_no_verdict_of_its_rounds() -> None:
    found = outcome(SAME, reason="its body differs")
    assert (found.verdict, found.reason, found.decides) == (
        Verdict.NOT_COMPARABLE, "its body differs", True,
    )  # fmt: skip
    assert judge_suite([found]).exit_code == 3


@pytest.mark.parametrize(
    ("outcomes", "verdict", "status"),
    [
        ([outcome(SAME)], "NO REGRESSION", 0),
        ([outcome(FAST)], "NO REGRESSION", 0),
        ([outcome(SLOW, SLOW)], "REGRESSED", 1),
        ([outcome(SLOW, SLOW), outcome(WIDE, name="w"), outcome(SAME, name="s")], "REGRESSED", 1),
        ([outcome(SLOW, SAME)], "INCONCLUSIVE", 3),
        ([outcome(SLOW)], "INCONCLUSIVE", 3),
        ([outcome(WIDE), outcome(SAME, name="s")], "INCONCLUSIVE", 3),
        ([outcome(None), outcome(SAME, name="s")], "INCONCLUSIVE", 3),
        ([outcome(SAME, state="uncalibrated")], "INCONCLUSIVE", 3),
        ([outcome(SLOW, SLOW, state="uncalibrated")], "INCONCLUSIVE", 3),
        ([outcome(SLOW, SLOW, state="trend only"), outcome(SAME, name="s")], "NO REGRESSION", 0),
        ([outcome(WIDE, state="trend only"), outcome(SAME, name="s")], "NO REGRESSION", 0),
        ([outcome(SAME, state="trend only")], "INCONCLUSIVE", 3),
        ([], "INCONCLUSIVE", 3),
    ],
)
def test_the_exit_status(outcomes: list[Outcome], verdict: str, status: int) -> None:
    found = judge_suite(outcomes)
    assert (found.verdict, found.exit_code) == (verdict, status)
    assert bool(found.reasons) is (status != 0)
    strict = judge_suite(outcomes, strict=True)
    assert strict.exit_code == (1 if status else 0)
    assert strict.verdict == verdict


def test_a_slowdown_of_a_benchmark_that_is_not_calibrated_says_so() -> None:
    (reason,) = judge_suite([outcome(SLOW, SLOW, state="uncalibrated")]).reasons
    assert reason == "b: REGRESSED, but not calibrated: why"


def test_the_p_value_of_both_runs() -> None:
    found = outcome(SLOW, SLOW)
    assert SLOW.look is not None
    assert SLOW.look.rounds == 10
    assert found.p == pytest.approx((4 * 2**-10) ** 2)
    assert outcome(SAME).p > RULE.alpha
    assert outcome(SLOW, SAME).p == 1.0


def test_holm_holds_down_what_is_one_of_very_many() -> None:
    weakest = Decision(
        verdict=Verdict.REGRESSED,
        look=replace(SLOW.look, p_regressed=RULE.alpha_per_look),  # type: ignore[type-var]
        rounds=10,
    )
    one = outcome(weakest, weakest, name="slow")
    assert one.p == pytest.approx(1e-4)
    others = [outcome(SAME, name=f"same {place}") for place in range(150)]
    assert judge_suite([one, *others[:99]]).verdict == "REGRESSED"
    found = judge_suite([one, *others])
    assert (found.verdict, found.exit_code) == ("INCONCLUSIVE", 3)
    assert "not among so many" in found.reasons[0]


def test_whole_comparisons_of_identical_code_are_hardly_ever_regressed() -> None:
    """20 benchmarks with noise at the margin itself: the worst that must not be REGRESSED."""
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(40):
        outcomes = []
        for place in range(20):
            runs = [decide(rng.normal(math.log1p(0.01), 0.02, 64)) for _ in (1, 2)]
            second = runs[1] if runs[0].verdict is Verdict.REGRESSED else None
            outcomes.append(outcome(runs[0], second, name=str(place)))
        wrong += judge_suite(outcomes).verdict == "REGRESSED"
    assert wrong <= 1


def test_a_stand_in_is_shown_and_decides_that_nothing_is_sure() -> None:
    for first, second in ((SAME, None), (SLOW, SLOW), (FAST, None), (WIDE, None)):
        found = judge_benchmark("b", first, second, None, stand_in="BASE has none")
        assert (found.verdict, found.reason) == (Verdict.NOT_COMPARABLE, "BASE has none")
        assert (found.first, found.second, found.p, found.decides) == (first, second, 1.0, True)
        suite = judge_suite([found, outcome(SAME, name="s")])
        assert (suite.verdict, suite.exit_code) == ("INCONCLUSIVE", 3)
        assert suite.p_holm.keys() == {"s"}


def test_another_reason_outdoes_a_stand_in() -> None:
    found = judge_benchmark("b", SAME, None, None, reason="it failed", stand_in="BASE has none")
    assert (found.reason, found.first) == ("it failed", None)


def test_benchmarks_that_lack_the_same_share_a_sentence() -> None:
    alike = [outcome(None, name=name, reason="HEAD: KeyError") for name in "ab"]
    other = outcome(None, name="c", reason="its body differs")
    assert judge_suite([*alike, other]).reasons == (
        "NOT COMPARABLE, HEAD: KeyError: a, b",
        "c: NOT COMPARABLE (its body differs)",
    )
