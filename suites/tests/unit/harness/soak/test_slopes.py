"""Risk: a leak that the slope does not see, or a flat series that it calls a leak."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.gates import Verdict
from harness.soak.slopes import BLOCKS, BUDGETS, Slope, judge_slope, plateau_start, slope_of

HOURS = 24.0
TIMES = np.arange(1, 289) * 300.0  # every 5 minutes of a day


def series(
    rng: np.random.Generator, *, leak: float = 0.0, noise: float = 40_000.0, memory: float = 0.5
) -> NDArray[np.float64]:
    """Anonymous memory in pages: a level, autocorrelated noise, and `leak` bytes an hour."""
    steps = rng.standard_normal(len(TIMES)) * noise * np.sqrt(1 - memory**2)
    walk = np.empty(len(TIMES))
    last = 0.0
    for place, step in enumerate(steps):
        last = walk[place] = memory * last + step
    values = 50e6 + walk + leak * TIMES / 3600
    return np.asarray(np.round(values / 4096) * 4096)


def verdicts(leak: float, count: int, **noise: float) -> list[Verdict]:
    found = []
    for seed in range(count):
        values = series(np.random.default_rng(seed), leak=leak, **noise)
        found.append(judge_slope(slope_of(TIMES.tolist(), values.tolist()), BUDGETS["anonymous"]))
    return found


def test_a_leak_of_40_kb_an_hour_is_always_found() -> None:
    assert set(verdicts(40_000, 40)) == {Verdict.FAIL}


@pytest.mark.parametrize("leak", [0.0, 2_000.0, -40_000.0])
def test_what_is_within_the_budget_never_fails(leak: float) -> None:
    found = verdicts(leak, 40)
    assert Verdict.FAIL not in found
    assert found.count(Verdict.PASS) >= 38


def test_noise_as_large_as_the_leak_is_not_decided() -> None:
    """Neither a pass nor a failure: the soak has to be longer."""
    assert Verdict.INCONCLUSIVE in verdicts(9_000, 20, noise=400_000.0, memory=0.9)


def test_the_slope_is_that_of_the_samples() -> None:
    slope = slope_of(TIMES.tolist(), (1e6 + 100 * TIMES / 3600).tolist())
    assert slope.estimate == pytest.approx(100)
    assert slope.low == pytest.approx(100)
    assert slope.high == pytest.approx(100)
    assert slope.blocks == BLOCKS


def test_a_filling_cache_before_the_plateau_is_no_leak() -> None:
    rng = np.random.default_rng(3)
    filling = -20e6 * np.exp(-TIMES / (1.5 * 3600))
    values = series(rng, noise=20_000) + filling
    slope = slope_of(TIMES.tolist(), values.tolist())
    assert slope.plateau_s > 4 * 3600
    assert judge_slope(slope, BUDGETS["anonymous"]) is Verdict.PASS
    # the whole series, without a plateau cut off, would be a leak
    assert (values[-1] - values[0]) / HOURS > BUDGETS["anonymous"]


def test_the_plateau_of_a_flat_series_is_all_of_it() -> None:
    assert plateau_start(np.full(200, 5.0)) == 0
    assert plateau_start(series(np.random.default_rng(1))) <= 48


def test_what_grows_to_the_end_has_half_of_it_judged() -> None:
    assert plateau_start(np.asarray(TIMES * 1e4, np.float64)) == len(TIMES) // 2


@pytest.mark.parametrize(
    ("times", "values", "word"),
    [
        ([1.0, 2.0], [1.0], "times for"),
        (TIMES.tolist(), [float("nan")] * len(TIMES), "finite"),
        ([1.0] * 100, [1.0] * 100, "do not rise"),
        (TIMES[:71].tolist(), [1.0] * 71, "71 samples, at least 72 wanted"),
    ],
)
def test_what_is_no_series_is_refused(times: list[float], values: list[float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        slope_of(times, values)


def test_hours_without_a_sample_are_refused() -> None:
    times = np.concatenate([TIMES[:90], TIMES[-90:]])
    with pytest.raises(ValueError, match="samples in a twelfth of the time"):
        slope_of(times.tolist(), [1.0] * len(times))


def test_no_slope_is_not_run_and_no_number_is_invalid() -> None:
    assert judge_slope(None, 1.0) is Verdict.NOT_RUN
    nan = float("nan")
    slope = Slope(estimate=nan, low=nan, high=nan, blocks=12, samples=100, plateau_s=0.0)
    assert judge_slope(slope, 1.0) is Verdict.INVALID


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_positive_number(budget: float) -> None:
    with pytest.raises(ValueError, match="budget"):
        judge_slope(None, budget)
