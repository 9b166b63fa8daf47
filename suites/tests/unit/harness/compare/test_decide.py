"""Risk: a verdict that the rounds do not bear, in either direction."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.compare.decide import (
    RULE,
    Decision,
    Rule,
    Verdict,
    decide,
    decide_many,
    holm,
    log_ratio,
    look_at,
    rounds_needed,
)

MARGIN, TOLERANCE = math.log(1.01), math.log(1.05)
effects = st.floats(-0.3, 0.3, allow_nan=False)
rounds_of = st.lists(effects, min_size=1, max_size=70)


# ---------------------------------------------------------------- against independent code


def enumerated_quantile(count: int, alpha: float) -> int:
    """How many values of T+ lie in the lower tail of at most alpha, by all 2^n sign patterns."""
    totals = sorted(
        sum(rank for rank, positive in enumerate(signs, start=1) if positive)
        for signs in itertools.product((False, True), repeat=count)
    )
    tail = 0
    while sum(total <= tail for total in totals) / len(totals) <= alpha:
        tail += 1
    return tail


@pytest.mark.parametrize("count", [8, 9, 10, 11, 12])
@pytest.mark.parametrize("alpha", [0.0025, 0.01, 0.05])
def test_bounds_are_the_walsh_averages_that_enumeration_picks(count: int, alpha: float) -> None:
    rounds = np.random.default_rng(count).standard_normal(count)
    averages = sorted((rounds[i] + rounds[j]) / 2 for i in range(count) for j in range(i, count))
    place = enumerated_quantile(count, alpha)
    look = look_at(rounds, Rule(looks=(count,), alpha=alpha))
    if place == 0:
        assert (look.low, look.high) == (-math.inf, math.inf)
    else:
        assert (look.low, look.high) == (averages[place - 1], averages[-place])
    assert look.estimate == pytest.approx(np.median(averages))


@given(st.integers(10, 64), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_p_value_is_scipys(count: int, seed: int) -> None:
    rounds = np.random.default_rng(seed).standard_t(2, count) * 0.02
    assume(len(set(np.abs(rounds - math.log1p(0.01)))) == count)
    wanted = stats.wilcoxon(rounds - math.log1p(0.01), alternative="greater", method="exact").pvalue
    assert look_at(rounds).p_regressed == pytest.approx(wanted, rel=1e-9, abs=1e-15)


@given(st.sampled_from(RULE.looks), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_bounds_are_where_scipys_test_turns(count: int, seed: int) -> None:
    rounds = np.random.default_rng(seed).standard_t(3, count) * 0.02
    look = look_at(rounds)
    for bound, side, inward in ((look.low, "greater", 1e-9), (look.high, "less", -1e-9)):
        p_inside, p_outside = (
            stats.wilcoxon(rounds - place, alternative=side, method="exact").pvalue
            for place in (bound + inward, bound - inward)
        )
        assert p_outside <= RULE.alpha_per_look < p_inside


def slow_decide(rounds: list[float]) -> tuple[str, int]:
    """The rule again, by scipy's p values instead of bounds."""
    for count in (10, 16, 32, 64):
        if len(rounds) < count:
            break
        seen = np.array(rounds[:count])

        def p(place: float, side: str, seen: NDArray[np.float64] = seen) -> float:
            tested = stats.wilcoxon(seen - place, alternative=side, method="exact")
            return float(tested.pvalue)

        if p(math.log(1.01), "greater") <= 0.0025:
            return "REGRESSED", count
        if p(-math.log(1.01), "less") <= 0.0025:
            return "IMPROVED", count
        if p(math.log(1.05), "less") <= 0.0025:
            return "NO REGRESSION", count
    return ("INCONCLUSIVE" if len(rounds) >= 64 else "open"), len(rounds)


@given(st.integers(0, 2**32 - 1), st.floats(-0.1, 0.1), st.floats(0.003, 0.2), st.integers(0, 64))
@settings(max_examples=60, deadline=None)
def test_the_rule_is_the_slow_rule(seed: int, shift: float, spread: float, count: int) -> None:
    rounds = list(np.random.default_rng(seed).standard_t(3, count) * spread + shift)
    found = decide(rounds)
    assert (found.verdict or "open", found.rounds) == slow_decide(rounds)


def test_many_at_once_is_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    shifts = rng.choice([-0.04, 0.0, 0.005, 0.03, 0.0488, 0.08], (400, 1))
    spreads = rng.choice([0.004, 0.02, 0.08], (400, 1))
    windows = np.round(rng.standard_t(2, (400, 64)) * spreads + shifts, 3)  # with ties
    single = [decide(window).verdict for window in windows]
    assert decide_many(windows) == single
    assert set(single) == set(Verdict) - {Verdict.NOT_COMPARABLE}


# ---------------------------------------------------------------- properties


@given(rounds_of)
@settings(deadline=None)
def test_mirrored_rounds_have_mirrored_bounds(rounds: list[float]) -> None:
    look, mirrored = look_at(rounds), look_at([-value for value in rounds])
    assert (mirrored.low, mirrored.high) == (-look.high, -look.low)
    assert mirrored.estimate == pytest.approx(-look.estimate, abs=1e-15)
    assert look.low <= look.estimate <= look.high


@given(rounds_of, st.floats(0, 0.2))
@settings(deadline=None)
def test_a_slower_head_is_never_judged_better(rounds: list[float], added: float) -> None:
    order = {
        Verdict.REGRESSED: 0, Verdict.INCONCLUSIVE: 1, Verdict.NO_REGRESSION: 2,
        Verdict.IMPROVED: 3,
    }  # fmt: skip
    rule = Rule(looks=(min(len(rounds), 64),))
    before = decide(rounds, rule, is_over=True).verdict
    after = decide([value + added for value in rounds], rule, is_over=True).verdict
    assert before is not None
    assert after is not None
    assert order[after] <= order[before]


@given(st.lists(effects, min_size=64, max_size=64), st.lists(effects, max_size=5))
@settings(max_examples=30, deadline=None)
def test_rounds_after_the_verdict_change_nothing(rounds: list[float], more: list[float]) -> None:
    assert decide(rounds + more).look == decide(rounds).look
    done = decide(rounds)
    if done.verdict is not Verdict.INCONCLUSIVE:
        assert decide(rounds[: done.rounds]) == done


@given(st.lists(effects, max_size=40))
@settings(max_examples=40, deadline=None)
def test_rounds_needed_are_a_lower_bound_that_can_be_reached(rounds: list[float]) -> None:
    needed = rounds_needed(rounds)
    state = decide(rounds)
    assert (needed == 0) is (state.verdict is not None)
    if needed:
        reached = [decide([*rounds, *[end] * needed]).verdict for end in (1e3, -1e3)]
        assert any(reached)
        sooner = [decide([*rounds, *[end] * (needed - 1)]).verdict for end in (1e3, -1e3)]
        assert not any(sooner)


def test_the_first_verdict_needs_ten_rounds() -> None:
    assert rounds_needed([]) == 10
    assert rounds_needed([0.0] * 4) == 6
    assert decide([0.5] * 9) == Decision(verdict=None, look=None, rounds=9)
    assert decide([0.5] * 10).verdict is Verdict.REGRESSED
    # one faster round of the first ten: REGRESSED needs the next look
    assert rounds_needed([0.5] * 9 + [-0.5]) == 6


# ---------------------------------------------------------------- ties, zeros, odd input


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.0, Verdict.NO_REGRESSION),
        (math.log1p(0.01), Verdict.NO_REGRESSION),  # at the margin is not beyond it
        (math.log1p(0.011), Verdict.REGRESSED),
        (math.log1p(0.2), Verdict.REGRESSED),
        (-math.log1p(0.01), Verdict.NO_REGRESSION),
        (-math.log1p(0.011), Verdict.IMPROVED),
    ],
)
def test_rounds_that_all_say_the_same(value: float, verdict: Verdict) -> None:
    found = decide([value] * 10)
    assert (found.verdict, found.rounds) == (verdict, 10)
    assert found.look is not None
    assert found.look.low == found.look.high == found.look.estimate == value


def test_at_the_tolerance_nothing_is_certified() -> None:
    spread = np.linspace(-0.4, 0.4, 64) + math.log1p(0.05)
    assert decide(list(spread), Rule(looks=(64,))).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_round_that_is_no_number_is_refused(odd: float) -> None:
    for call in (decide, look_at, rounds_needed):
        with pytest.raises(ValueError, match="finite"):
            call([0.0] * 20 + [odd])
    with pytest.raises(ValueError, match="finite"):
        decide_many(np.full((2, 64), odd))


def test_no_rounds_are_no_verdict() -> None:
    assert decide([]) == Decision(verdict=None, look=None, rounds=0)
    over = decide([], is_over=True)
    assert (over.verdict, over.smallest_effect) == (Verdict.INCONCLUSIVE, None)
    with pytest.raises(ValueError, match="no rounds"):
        look_at([])


def test_time_that_is_up_leaves_what_the_last_look_saw() -> None:
    rng = np.random.default_rng(5)
    rounds = rng.normal(0.03, 0.04, 20)
    assert decide(rounds).verdict is None
    over = decide(rounds, is_over=True)
    assert (over.verdict, over.rounds) == (Verdict.INCONCLUSIVE, 20)
    assert over.look is not None
    assert over.look.rounds == 16


def test_the_smallest_effect_is_the_smallest_that_would_have_shown() -> None:
    rounds = np.random.default_rng(2).normal(0.02, 0.15, 64)
    found = decide(rounds)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.look is not None
    assert found.smallest_effect is not None
    assert found.smallest_effect > 1.01
    missing = math.log(found.smallest_effect) - found.look.estimate
    assert look_at(rounds + missing + 1e-9).low > MARGIN
    assert look_at(rounds + missing - 1e-9).low < MARGIN


def test_lower_quartiles_are_compared() -> None:
    base, head = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 6.0, 8.0, 1e6]
    assert log_ratio(base, head) == pytest.approx(math.log(2))
    assert log_ratio(head, base) == pytest.approx(-math.log(2))


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [-1.0], [math.nan], [math.inf]])
def test_a_sample_that_is_no_time_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        log_ratio(bad, [1.0])
    with pytest.raises(ValueError, match="sample"):
        log_ratio([1.0], bad)


@pytest.mark.parametrize(
    "bad",
    [{"looks": ()}, {"looks": (16, 10)}, {"looks": (0,)}, {"alpha": 0.0}, {"margin": 0.05}],
)
def test_a_rule_that_makes_no_sense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"need|rise"):
        Rule(**bad)  # type: ignore[arg-type]


# ---------------------------------------------------------------- how often it is wrong


def share(verdicts: list[Verdict], wanted: Verdict) -> float:
    return verdicts.count(wanted) / len(verdicts)


def heavy_tailed(rng: np.random.Generator, count: int, scale: float) -> NDArray[np.float64]:
    """Noise as of a machine with neighbours: mostly small, now and then 20 times as large."""
    noise = rng.standard_t(2.5, (count, 64)) * scale
    hit = rng.random((count, 64)) < 0.05
    return noise + hit * rng.normal(0, 20 * scale, (count, 64))


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.03])
def test_identical_code_is_hardly_ever_regressed(scale: float) -> None:
    verdicts = decide_many(heavy_tailed(np.random.default_rng(11), 2_000, scale))
    assert share(verdicts, Verdict.REGRESSED) <= 0.01
    assert share(verdicts, Verdict.IMPROVED) <= 0.01


def test_alpha_holds_at_the_margin_itself() -> None:
    """The worst case that must not be REGRESSED: slower by exactly the margin."""
    noise = heavy_tailed(np.random.default_rng(12), 4_000, 0.01) + MARGIN
    regressed = share(decide_many(noise), Verdict.REGRESSED)
    assert 0.0005 < regressed <= stats.binom.ppf(0.9999, 4_000, 0.01) / 4_000


def test_alpha_holds_at_the_tolerance_itself() -> None:
    noise = heavy_tailed(np.random.default_rng(13), 4_000, 0.05) + TOLERANCE
    certified = share(decide_many(noise), Verdict.NO_REGRESSION)
    assert certified <= stats.binom.ppf(0.9999, 4_000, 0.01) / 4_000


def test_five_per_cent_are_found() -> None:
    noise = heavy_tailed(np.random.default_rng(14), 2_000, 0.01) + math.log1p(0.05)
    assert share(decide_many(noise), Verdict.REGRESSED) >= 0.95


# ---------------------------------------------------------------- many benchmarks


def test_holm_on_the_example_of_the_textbook() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_never_makes_a_p_value_smaller_or_changes_the_order(given: dict[str, float]) -> None:
    adjusted = holm(given)
    assert adjusted.keys() == given.keys()
    assert all(given[name] <= adjusted[name] <= 1 for name in given)
    for one, other in itertools.combinations(given, 2):
        if given[one] < given[other]:
            assert adjusted[one] <= adjusted[other]
