"""Risk: a step that nobody sees, and steps that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.changepoints import SHORTEST, Step, find_steps

RUNS = 40
NOISE = 0.02  # from run to run, as on a shared machine


def _series(seed: int, *, step: float = 0.0, at: int = RUNS // 2) -> NDArray[np.float64]:
    """Synthetic milliseconds with normal noise; the level rises by `step` at one place."""
    logs = NOISE * np.random.default_rng(seed).standard_normal(RUNS)
    logs[at:] += math.log1p(step)
    values: NDArray[np.float64] = 1e-3 * np.exp(logs)
    return values


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("at", [8, 20, 33])
def test_a_labelled_step_is_found_where_it_is(seed: int, at: int) -> None:
    (step,) = find_steps(_series(seed, step=0.12, at=at).tolist())
    assert abs(step.place - at) <= 1
    assert step.ratio == pytest.approx(1.12, abs=0.03)


@pytest.mark.parametrize("seed", range(40))
def test_no_step_is_found_where_there_is_none(seed: int) -> None:
    assert find_steps(_series(seed).tolist()) == []


@pytest.mark.parametrize("seed", range(20))
def test_one_bad_run_is_no_step(seed: int) -> None:
    values = _series(seed)
    values[17] *= 3
    assert find_steps(values.tolist()) == []


def test_an_improvement_is_a_step_too_and_both_are_in_order() -> None:
    values = _series(3, step=0.2, at=12)
    values[28:] /= 1.5
    first, second = find_steps(values.tolist())
    assert (first.place, second.place) == (12, 28)
    assert first.before < first.after > second.after
    assert first.after == second.before


def test_a_count_that_repeats_exactly_shows_every_change() -> None:
    assert find_steps([1733.0] * 3 + [1501.0] + [1502.0] * 5) == [
        Step(place=3, before=1733.0, after=1501.0),
        Step(place=4, before=1501.0, after=1502.0),
    ]
    assert find_steps([0.0, 0.0, 0.0, 4.0]) == [Step(place=3, before=0.0, after=4.0)]
    assert Step(place=3, before=0.0, after=4.0).ratio is None


def test_values_of_any_sign_have_steps_of_their_difference() -> None:
    values = np.random.default_rng(1).standard_normal(30)
    values[15:] += 12
    (step,) = find_steps(values.tolist())
    assert step.place == 15


@pytest.mark.parametrize("count", [0, 1, 2 * SHORTEST - 1])
def test_too_few_noisy_values_have_no_step(count: int) -> None:
    assert find_steps(_series(1, step=1.0, at=count // 2)[:count].tolist()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        find_steps([1.0, value])


def test_the_unit_of_the_values_does_not_decide_what_is_noise() -> None:
    """Nanoseconds in seconds, some below 0: slopes, say."""
    values = 1e-9 * np.random.default_rng(1).standard_normal(30)
    assert find_steps(values.tolist()) == find_steps((1e9 * values).tolist()) == []
    values[15:] += 12e-9
    (step,) = find_steps(values.tolist())
    assert step.place == 15
