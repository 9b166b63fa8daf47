"""Risk: PASS or GO for something that is missing, not valid, or not clear."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gates import (
    GateVerdict,
    Verdict,
    compare,
    decides,
    headroom,
    judge_gate,
    judge_row,
)
from harness.measurement import Bound, Measurement, Process, Rival
from harness.statistics import Interval
from harness.targets import Gate
from harness.verdicts import gate_as_json
from suites.tests.unit.harness.small_run import (
    ENDED_S,
    OFF,
    SETTING,
    gates,
    measured,
    one_gate,
    target_row,
)

COMPARATORS = ("<", "<=", ">", ">=", "==")
numbers = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]))


def interval(low: float, estimate: float, high: float) -> Interval:
    return Interval(low=low, estimate=estimate, high=high, samples=10, processes=5)


def good(comparator: str, value: float, limit: float) -> bool:
    """Written out anew: the truth that `compare` is held to."""
    return {
        "<": value < limit,
        "<=": value <= limit,
        ">": value > limit,
        ">=": value >= limit,
        "==": value == limit,
    }[comparator]


@settings(max_examples=300)
@given(st.sampled_from(COMPARATORS), numbers, numbers, numbers, numbers)
def test_pass_only_when_both_bounds_and_the_estimate_are_good(
    comparator: str, limit: float, low: float, estimate: float, high: float
) -> None:
    found = compare(comparator, limit, interval(low, estimate, high))
    all_good = [good(comparator, value, limit) for value in (low, estimate, high)]
    assert (found is Verdict.PASS) is all(all_good)
    assert (found is Verdict.FAIL) is not any(all_good)
    if any(math.isnan(value) for value in (low, estimate, high, limit)):
        assert found is not Verdict.PASS


@pytest.mark.parametrize(
    ("comparator", "value", "verdict"),
    [("<", 1.0, "FAIL"), ("<=", 1.0, "PASS"), (">", 1.0, "FAIL"), (">=", 1.0, "PASS")],
)
def test_the_limit_itself_belongs_to_one_side(comparator: str, value: float, verdict: str) -> None:
    assert compare(comparator, 1.0, interval(value, value, value)) == verdict


def test_an_unknown_comparator_is_refused() -> None:
    with pytest.raises(ValueError, match="~"):
        compare("~", 1.0, interval(0, 0, 0))


def test_the_bound_decides_and_not_the_estimate() -> None:
    row = target_row(statistic="mean")
    spread = [Process(values=[level] * 10, instruments=OFF) for level in (0.5, 0.6, 0.7, 0.9, 1.6)]
    found = judge_row(row, measured(processes=spread), SETTING)
    assert found.interval is not None
    assert found.interval.estimate < row.limit < found.interval.high
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", "the interval straddles the limit")


def test_a_clear_case_passes_and_its_opposite_fails() -> None:
    assert judge_row(target_row(), measured(), SETTING).verdict is Verdict.PASS
    assert judge_row(target_row(), measured(values=[1.5] * 10), SETTING).verdict is Verdict.FAIL


def processes(count: int = 5, size: int = 10, **more: Any) -> list[Process]:
    fields = {"values": [0.5] * size, "instruments": OFF, **more}
    return [Process(**fields) for _ in range(count)]


# Each would pass if only its values were looked at
NOT_VALID: dict[str, tuple[Measurement, str]] = {
    "other commit": (measured(commit="a" * 40), "another commit"),
    "other tree": (measured(content_digest="a"), "another content digest"),
    "other configuration": (measured(config_digest="a"), "another config digest"),
    "other machine": (measured(machine="a"), "another machine"),
    "stale": (measured(started=0.0, ended=ENDED_S - 86_401), "at most 86400 count"),
    "from the future": (measured(ended=ENDED_S + 61), "61 s after the end of the run"),
    "other unit": (measured(unit="B"), "measured in 'B'"),
    "made-up vectors": (measured(evidence="synthetic"), "shown, never judged"),
    "a tier nobody knows": (measured(evidence=""), "shown, never judged"),
    "a failed worker": (measured(failure="it died", processes=()), "it died"),
    "a failure beside values": (measured(failure="it died"), "it died"),
    "nothing at all": (measured(processes=()), "0 processes"),
    "too few processes": (measured(processes=processes(4)), "4 processes, at least 5"),
    "only controls": (measured(processes=processes(control=True)), "0 processes"),
    "too few samples": (measured(processes=processes(size=9)), "9 samples in a process"),
    "one process too short": (
        measured(processes=[*processes(4), *processes(1, size=9)]),
        "9 samples in a process",
    ),
    "empty sample": (measured(processes=processes(size=0)), "0 samples in a process"),
    "NaN": (measured(values=[0.5] * 9 + [math.nan]), "not a finite number"),
    "infinite": (measured(values=[0.5] * 9 + [-math.inf]), "not a finite number"),
    "tracemalloc on": (
        measured(processes=processes(instruments={**OFF, "tracemalloc": True})),
        "tracemalloc was on",
    ),
    "on in one process": (
        measured(processes=[*processes(4), *processes(1, instruments={**OFF, "tracing": True})]),
        "tracing was on, off wanted",
    ),
    "instruments unknown": (measured(processes=processes(instruments={})), "in unknown state"),
    "instruments not said": (
        measured(processes=processes(instruments={**OFF, "tracemalloc": "off"})),
        "tracemalloc was in unknown state",
    ),
    "instruments as numbers": (
        measured(processes=processes(instruments=dict.fromkeys(OFF, 0))),
        "in unknown state",
    ),
}


@pytest.mark.parametrize("name", NOT_VALID)
def test_what_is_not_valid_never_passes_and_says_why(name: str) -> None:
    measurement, word = NOT_VALID[name]
    found = judge_row(target_row(), measurement, SETTING)
    assert found.verdict is Verdict.INVALID
    assert word in found.reason
    assert (found.interval, found.headroom) == (None, None)


def test_an_age_that_is_no_number_is_not_fresh() -> None:
    found = judge_row(target_row(), measured(), replace(SETTING, now=math.nan))
    assert found.verdict is Verdict.INVALID


def test_what_is_not_measured_is_not_run() -> None:
    found = judge_row(target_row(), None, SETTING, absent="nobody asked")
    assert (found.verdict, found.reason) == ("NOT RUN", "nobody asked")


def test_a_measurement_whose_file_is_damaged_does_not_count_even_if_it_is_there() -> None:
    found = judge_row(target_row(), measured(), SETTING, damaged="a bit is gone")
    assert (found.verdict, found.reason) == ("INVALID", "a bit is gone")
    assert found.measurement is None


def test_too_few_controls_are_not_valid() -> None:
    row = target_row(statistic="added-mean", samples_min=1)
    four = [*processes(size=1), *processes(4, size=1, control=True)]
    found = judge_row(row, measured(processes=four), SETTING)
    assert found.reason == "4 control processes, at least 5 wanted"
    five = [*four, *processes(1, size=1, control=True)]
    assert judge_row(row, measured(processes=five), SETTING).verdict is Verdict.PASS


def test_a_control_with_an_instrument_on_is_not_valid() -> None:
    row = target_row(statistic="added-mean", samples_min=1)
    wrong = processes(1, size=1, control=True, instruments={**OFF, "tracemalloc": True})
    taken = [*processes(size=1), *processes(4, size=1, control=True), *wrong]
    assert judge_row(row, measured(processes=taken), SETTING).verdict is Verdict.INVALID


def test_a_single_sample_is_not_valid_whatever_the_target_wants() -> None:
    row = target_row(processes_min=1, samples_min=1)
    found = judge_row(row, measured(processes=processes(1, size=1)), SETTING)
    assert (found.verdict, found.reason) == ("INVALID", "a single sample has no bounds")


def test_a_sum_beyond_all_numbers_is_not_valid() -> None:
    row = target_row(statistic="sum", resample="none", comparator=">")
    found = judge_row(row, measured(values=[1e308] * 10), SETTING)
    assert (found.verdict, found.reason) == ("INVALID", "the sum is not a finite number")


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [(100, "PASS"), (100.0, "PASS"), (12, "INVALID"), ("100", "INVALID"), (None, "INVALID")],
)
def test_another_population_than_the_target_names_is_not_valid(seen: Any, verdict: str) -> None:
    row = target_row(population={"files": 100, "cache": "warm"})
    found = judge_row(row, measured(population={"files": seen, "cache": "any words"}), SETTING)
    assert found.verdict == verdict


def test_a_bound_beyond_the_limit_is_infeasible_and_not_a_miss() -> None:
    row = target_row(statistic="mean", unit="1", comparator=">=", limit=0.5)
    bound = Bound(value=0.2, reason="entropy")
    low = measured(unit="1", values=[0.15] * 10, bound=bound)
    found = judge_row(row, low, SETTING)
    assert found.verdict is Verdict.INFEASIBLE
    assert "entropy" in found.reason
    reachable = replace(low, bound=Bound(value=0.6, reason=""))
    assert judge_row(row, reachable, SETTING).verdict is Verdict.FAIL


@pytest.mark.parametrize(("comparator", "bound"), [(">=", 0.2), ("<", 3.0)])
def test_what_beats_its_own_bound_never_passes(comparator: str, bound: float) -> None:
    """Vectors stored repeated would, or a bound that is none."""
    row = target_row(statistic="mean", comparator=comparator, limit=0.5 if bound < 1 else 2.0)
    beaten = measured(values=[0.7] * 10, bound=Bound(value=bound, reason=""))
    found = judge_row(row, beaten, SETTING)
    assert found.verdict is Verdict.INVALID
    assert "one of the two is wrong" in found.reason


def test_a_measurement_at_its_bound_is_infeasible() -> None:
    row = target_row(statistic="mean", comparator=">=", limit=0.5)
    bound = Bound(value=0.1 + 0.2, reason="")
    at = measured(values=[0.3] * 10, bound=bound)
    assert judge_row(row, at, SETTING).verdict is Verdict.INFEASIBLE


@pytest.mark.parametrize(
    ("comparator", "limit", "estimate", "left"),
    [("<", 2.0, 0.5, 0.75), ("<=", 2.0, 3.0, -0.5), (">=", 0.5, 0.75, 0.5), (">", -2.0, -1.0, 0.5)],
)
def test_headroom_is_the_part_of_the_limit_that_is_left(
    comparator: str, limit: float, estimate: float, left: float
) -> None:
    assert headroom(target_row(comparator=comparator, limit=limit), estimate) == left


@pytest.mark.parametrize("rule", [{"comparator": "==", "limit": 3}, {"limit": 0}])
def test_a_limit_without_room_has_no_headroom(rule: dict[str, Any]) -> None:
    assert headroom(target_row(**rule), 0.0) is None


# ---------------------------------------------------------------- as JSON


def judged(gate: Gate, *measurements: Measurement, **more: Any) -> GateVerdict:
    return judge_gate(gate, {one.id: one for one in measurements}, SETTING, **more)


def test_a_rival_without_figures_is_shown_without_figures() -> None:
    rivals = [
        Rival(subject="silent", processes=()),
        Rival(subject="empty", processes=[Process()]),
        Rival(subject="broken", processes=[Process(values=[math.nan] * 10)]),
        Rival(subject="fine", processes=processes()),
    ]
    found = judged(one_gate(), measured(beside=rivals))
    (row,) = gate_as_json(found, "ci")["rows"]
    shown = {one["subject"]: one["estimate"] for one in row["beside"]}
    assert shown == {"silent": None, "empty": None, "broken": None, "fine": 0.5}
    assert found.verdict is Verdict.PASS


def test_a_rival_never_decides() -> None:
    beside = [Rival(subject="faster", processes=processes(values=[0.1] * 10))]
    found = judged(one_gate(), measured(values=[2.0] * 10, beside=beside))
    assert found.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("comparator", "statistic"), list(product(COMPARATORS, ("mean", "p50", "p99", "median")))
)
def test_every_row_of_the_real_kinds_becomes_json(comparator: str, statistic: str) -> None:
    row = {"rule": {"comparator": comparator, "statistic": statistic}}
    (gate,) = gates({"id": "speed.limit", "row": [row]}).gates
    (shown,) = gate_as_json(judged(gate, measured()), "ci")["rows"]
    assert (shown["low"], shown["estimate"], shown["high"]) == (0.5, 0.5, 0.5)
    assert (shown["samples"], shown["processes"]) == (50, 5)
    assert shown["measurement"] == "samples/speed-0.json.gz"


# ---------------------------------------------------------------- settings of its own


def test_a_row_about_another_setting_wants_to_see_it() -> None:
    row = {"settings": {"search_index": "lance"}, "advisory": True}
    gate = one_gate(None, {}, row)
    own = measured("speed-1", config_digest="0" * 16, population={"search_index": "lance"})
    found = judge_gate(gate, {one.id: one for one in (measured(), own)}, SETTING)
    assert [str(judged.verdict) for judged in found.rows] == ["PASS", "PASS"]
    assert not decides(found.rows[1], SETTING.profile)
    other = measured("speed-1", config_digest="0" * 16, population={"search_index": "flat"})
    judged = judge_row(gate.rows[1], other, SETTING)
    assert judged.verdict is Verdict.INVALID
    assert "search_index = flat, the row is about search_index = lance" in judged.reason
    assert judge_row(gate.rows[0], replace(own, id="speed-0"), SETTING).verdict is Verdict.INVALID
