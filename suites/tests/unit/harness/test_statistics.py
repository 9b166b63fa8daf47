"""Risk: a bound that says 95 % covers less, so that a gate passes by luck; or a rerun differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import statistics as module
from harness.measurement import Process
from harness.statistics import Interval, error_rate_bound, interval_of, statistic_of

finite = st.floats(-1e6, 1e6)
samples = st.lists(finite, min_size=2, max_size=40)


def of(*processes: Iterable[float], statistic: str = "mean", **more: str) -> Interval:
    taken = [Process(values=list(values)) for values in processes]
    return interval_of(taken, statistic, confidence=0.95, resample=more.get("resample", "process"))


@settings(max_examples=100, deadline=None)
@given(st.lists(finite, min_size=1, max_size=300), st.sampled_from([("p99", 0.99), ("p50", 0.5)]))
def test_a_quantile_is_a_sample_and_never_below_the_nearest_rank(
    values: list[float], wanted: tuple[str, float]
) -> None:
    name, share = wanted
    found = statistic_of(np.array(values), name)
    assert found == sorted(values)[math.ceil(share * (len(values) - 1))]
    nearest_rank = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found >= nearest_rank
    assert sum(value <= found for value in values) >= share * len(values)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("sum", 5050.0), ("mean", 50.5), ("median", 51.0), ("p50", 51.0), ("p99", 100.0)],
)
def test_statistics_of_one_to_a_hundred(name: str, wanted: float) -> None:
    assert statistic_of(np.arange(1.0, 101.0)[::-1], name) == wanted


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(ValueError, match="p95"):
        statistic_of(np.ones(3), "p95")


@pytest.mark.parametrize("statistic", ["sum", "mean"])
def test_a_complete_count_has_no_scatter(statistic: str) -> None:
    found = of([0.0, 2.0], [4.0], statistic=statistic, resample="none")
    wanted = 6.0 if statistic == "sum" else 2.0
    assert (found.low, found.estimate, found.high) == (wanted,) * 3
    assert (found.samples, found.processes) == (3, 2)


@pytest.mark.parametrize("processes", [[], [[]], [[], []]])
def test_nothing_has_no_interval(processes: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="no samples"):
        of(*processes)


@pytest.mark.parametrize("resample", ["process", "sample"])
def test_one_sample_has_no_bounds(resample: str) -> None:
    with pytest.raises(ValueError, match="single sample"):
        of([0.5], resample=resample)


def test_one_block_has_no_bounds() -> None:
    with pytest.raises(ValueError, match="single sample"):
        interval_of(
            [Process(values=[1.0, 2.0, 3.0], block=3)],
            "mean",
            confidence=0.95,
            resample="process",
        )


def test_control_processes_count_for_what_is_added_only() -> None:
    processes = [Process(values=[value]) for value in (10.0, 11.0, 12.0)]
    controls = [Process(values=[value], control=True) for value in (3.0, 4.0, 5.0)]
    plain = interval_of([*processes, *controls], "mean", confidence=0.95, resample="process")
    assert (plain.estimate, plain.processes) == (11.0, 3)
    added = interval_of([*processes, *controls], "added-mean", confidence=0.95, resample="process")
    assert (added.estimate, added.samples, added.processes) == (7.0, 3, 3)
    assert added.low < 7.0 < added.high
    with pytest.raises(ValueError, match="no control"):
        interval_of(processes, "added-mean", confidence=0.95, resample="process")


def test_added_memory_is_as_uncertain_as_its_controls() -> None:
    treated = [Process(values=[10.0]) for _ in range(5)]
    steady = [Process(values=[4.0], control=True) for _ in range(5)]
    restless = [Process(values=[4.0 + at], control=True) for at in (-2, -1, 0, 1, 2)]
    still = interval_of([*treated, *steady], "added-mean", confidence=0.95, resample="process")
    moved = interval_of([*treated, *restless], "added-mean", confidence=0.95, resample="process")
    assert still.low == still.high == 6.0
    assert moved.low < 5.0
    assert moved.high > 7.0


@settings(max_examples=10, deadline=None)
@given(st.lists(samples, min_size=2, max_size=5), st.sampled_from(["mean", "p50", "p99"]))
def test_the_same_samples_give_the_same_interval(
    processes: list[list[float]], statistic: str
) -> None:
    np.random.seed(0)  # the global state must play no part
    first = of(*processes, statistic=statistic)
    np.random.seed(1)
    assert of(*processes, statistic=statistic) == first
    everything = [value for values in processes for value in values]
    assert min(everything) <= first.low + 1e-6
    assert first.low <= first.high <= max(everything) + 1e-6


def test_the_interval_moves_with_the_unit() -> None:
    rng = np.random.default_rng(3)
    processes = [rng.normal(2.0, 0.1, 50) for _ in range(5)]
    seconds = of(*processes, statistic="p99")
    doubled = of(*(2 * values for values in processes), statistic="p99")
    assert doubled.low == 2 * seconds.low
    assert doubled.high == 2 * seconds.high


def test_neighbours_that_depend_on_each_other_are_drawn_together() -> None:
    rng = np.random.default_rng(5)
    values = list(np.repeat(rng.normal(0.0, 1.0, 20), 50))
    widths = []
    for block in (1, 50):
        found = interval_of(
            [Process(values=values, block=block)], "mean", confidence=0.95, resample="process"
        )
        widths.append(found.high - found.low)
    assert widths[1] > 4 * widths[0]


def test_more_processes_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(6)
    widths = []
    for count in (3, 5, 10, 40):
        found = of(*[[level, level] for level in rng.normal(0.0, 1.0, count)])
        widths.append(found.high - found.low)
    assert all(wide > narrow for wide, narrow in pairwise(widths))


def test_five_restless_processes_are_not_made_steady_by_many_samples() -> None:
    rng = np.random.default_rng(8)
    processes = [level + rng.normal(0.0, 1e-3, 500) for level in (1.0, 1.0, 1.0, 1.0, 1.5)]
    found = of(*processes)
    assert found.high > 1.3


def _levels(rng: np.random.Generator) -> list[Process]:
    """Processes that differ: true mean 0."""
    return [Process(values=[level, level]) for level in rng.normal(0.0, 1.0, 5)]


def _scatter(rng: np.random.Generator) -> list[Process]:
    """Equal processes with scatter inside: true mean 0."""
    return [Process(values=list(rng.normal(0.0, 1.0, 20))) for _ in range(5)]


def _skewed(rng: np.random.Generator) -> list[Process]:
    """20 starts with a long tail: true median 0."""
    starts = np.exp(rng.normal(0.0, 0.5, 20)) - 1
    return [Process(values=[value]) for value in starts]


def _added(rng: np.random.Generator) -> list[Process]:
    """Memory of 5 processes and of 5 controls: nothing is added."""
    return [
        Process(values=[level], control=control)
        for control in (False, True)
        for level in rng.normal(5.0, 1.0, 5)
    ]


@pytest.mark.parametrize(
    ("draw", "statistic", "resample", "trials"),
    [
        (_levels, "mean", "process", 200),
        (_scatter, "mean", "process", 60),
        (_skewed, "median", "process", 60),
        (_added, "added-mean", "process", 600),
        (_scatter, "mean", "sample", 250),
    ],
    ids=["processes differ", "scatter inside", "skewed median", "added memory", "pooled"],
)
def test_each_bound_covers_the_truth_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
    draw: Callable[[np.random.Generator], list[Process]],
    statistic: str,
    resample: str,
    trials: int,
) -> None:
    monkeypatch.setattr(module, "_resamples", lambda _: 250)
    rng = np.random.default_rng(20_261_124)
    below = above = 0
    for _ in range(trials):
        found = interval_of(draw(rng), statistic, confidence=0.95, resample=resample)
        below += found.low <= 0.0
        above += found.high >= 0.0
    # plain percentiles of 5 differing processes cover 89 %; chance alone is 1.4 to 2 % here
    assert above / trials >= 0.92
    # the median of an even number of samples is the upper one: its lower bound gives a little
    assert below / trials >= (0.88 if statistic == "median" else 0.92)


def test_a_p99_is_covered_from_above_where_processes_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_resamples", lambda _: 250)
    rng = np.random.default_rng(11)
    truth = 2.3263 * math.hypot(0.3, 1.0)
    trials = 40
    covered = 0
    for _ in range(trials):
        processes = [rng.normal(level, 1.0, 1000) for level in rng.normal(0.0, 0.3, 5)]
        covered += of(*processes, statistic="p99").high >= truth
    assert covered / trials >= 0.85  # plain percentiles: 80 %


def test_many_values_take_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._resamples(1_000) == module._RESAMPLES
    assert module._resamples(10**6) == module._RESAMPLES_MIN
    monkeypatch.setattr(module, "_CELLS_MAX", 10)
    assert of([1.0, 2.0], [3.0, 4.0]).estimate == 2.5


@pytest.mark.parametrize(
    ("trials", "wanted"), [(0, 1.0), (1, 1.0), (3, 1.0), (300, 0.01), (10**6, 3e-6)]
)
def test_no_error_in_n_trials_bounds_the_rate_by_three_over_n(trials: int, wanted: float) -> None:
    assert error_rate_bound(trials) == wanted
