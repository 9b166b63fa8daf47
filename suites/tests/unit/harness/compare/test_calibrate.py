"""Risk: a benchmark decides on a machine that cannot tell, or does not where it could."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.compare.calibrate import ROUNDS, Rate, assess
from harness.compare.decide import Verdict, decide_many

NONE = Rate(count=0, of=0)


def noise(scale: float, count: int = ROUNDS, seed: int = 1) -> list[float]:
    return list(np.random.default_rng(seed).standard_t(3, count) * scale)


@given(st.integers(1, 3_000), st.data())
def test_bounds_are_clopper_and_pearsons(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, of))
    found = Rate(count=count, of=of)
    wanted = stats.binomtest(count, of).proportion_ci(0.90, method="exact")
    assert found.low == pytest.approx(wanted.low, abs=1e-12)
    assert found.high == pytest.approx(wanted.high, abs=1e-12)


def test_nothing_tried_is_nothing_known() -> None:
    assert (NONE.low, NONE.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="4 of 3"):
        Rate(count=4, of=3)


def test_a_quiet_benchmark_is_calibrated() -> None:
    found = assess("quiet", noise(0.01), NONE)
    assert (found.state, found.reason, found.rounds) == ("calibrated", "", 256)
    assert found.false_regressed.of == found.found.of == 3_000
    assert found.false_regressed.high <= 0.01
    assert found.found.low >= 0.95


def test_a_noisy_benchmark_is_a_trend_only_because_it_misses_slowdowns() -> None:
    found = assess("noisy", noise(0.12), NONE)
    assert found.state == "trend only"
    assert found.found.low < 0.95
    assert "of slowdowns by 5% are found" in found.reason


def test_what_only_one_run_finds_is_not_found() -> None:
    """The exit status wants both runs, which find less than the first one alone."""
    rounds = noise(0.043)
    drawn = np.random.default_rng(3).integers(0, ROUNDS, (3_000, 64))
    slowed = np.array(rounds)[drawn] + math.log1p(0.05)
    one_run = Rate(count=decide_many(slowed).count(Verdict.REGRESSED), of=3_000)
    assert one_run.low >= 0.95
    assert assess("x", rounds, NONE).state == "trend only"


def test_a_biased_benchmark_is_a_trend_only_because_it_calls_equals_slower() -> None:
    found = assess("biased", [value + 0.03 for value in noise(0.01)], NONE)
    assert found.state == "trend only"
    assert "of identical code would be REGRESSED" in found.reason


def test_too_few_rounds_are_no_calibration() -> None:
    found = assess("few", noise(0.001, ROUNDS - 1), NONE)
    assert found.state == "uncalibrated"
    assert found.reason.startswith("255 of 256 A/A rounds are known")
    assert assess("none", [], NONE).state == "uncalibrated"


def test_real_comparisons_count() -> None:
    quiet = noise(0.01)
    alone = assess("a", quiet, NONE).false_regressed
    with_real = assess("a", quiet, Rate(count=0, of=300)).false_regressed
    assert (with_real.count, with_real.of) == (alone.count, alone.of + 300)
    found = assess("a", quiet, Rate(count=40, of=300))
    assert found.state == "trend only"


def test_the_same_input_has_the_same_result_and_another_name_another_draw() -> None:
    rounds = noise(0.06)
    assert assess("a", rounds, NONE) == assess("a", rounds, NONE)
    assert assess("a", rounds, NONE).found != assess("b", rounds, NONE).found


def test_autocorrelation_tells_of_rounds_that_know_each_other() -> None:
    steps = np.random.default_rng(3).standard_normal(400)
    walk = np.cumsum(steps) / 400
    assert (assess("walk", list(walk), NONE).autocorrelation or 0) > 0.9
    assert abs(assess("steps", list(steps / 400), NONE).autocorrelation or 1) < 0.15
    assert assess("flat", [0.0] * 300, NONE).autocorrelation is None
    assert assess("two", [0.0, 1.0], NONE).autocorrelation is None


def test_a_round_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        assess("nan", [*noise(0.01), math.nan], NONE)
