"""Risk: growth is taken for noise, noise for growth, or an account hides what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.gates import Verdict
from harness.memory.accounts import account_of, added_by, before_store, mean_added, page_type_growth
from harness.memory.findings import (
    Finding,
    exit_code_of,
    fit,
    growth_findings,
    line_finding,
    overall,
    worst_growth,
)

TYPES = ("anonymous", "shared memory", "swapped", "dirty file pages", "clean file pages")


def timeline(
    growth_an_hour: float, *, count: int = 200, hours: float = 20.0
) -> list[dict[str, Any]]:
    """A session that fills in a tenth of its time, then grows so much, in pages, with noise."""
    rng = np.random.default_rng(3)
    found = []
    for place in range(count):
        hour = hours * (place + 1) / count
        filled = 2e6 * min(1.0, hour / (0.1 * hours))
        size = filled + growth_an_hour * hour + rng.normal(0, 8_192)
        pages = int(size) // 4_096 * 4_096
        by_type = {**dict.fromkeys(TYPES, 0), "anonymous": pages}
        found.append(
            {
                "operations": 100 * (place + 1),
                "hours": hour,
                "by_type": by_type,
                "resources": {"descriptors": 9, "threads": 2},
            }
        )
    return found


def growth(samples: list[dict[str, Any]]) -> dict[str, Finding]:
    found = growth_findings("s", samples, [one["hours"] for one in samples])
    return {one.name.removeprefix("s: growth of "): one for one in found}


def test_a_plateau_passes_and_a_leak_fails() -> None:
    quiet, leaking = growth(timeline(0)), growth(timeline(60_000))
    assert quiet["anonymous"].verdict is Verdict.PASS
    assert leaking["anonymous"].verdict is Verdict.FAIL
    assert leaking["anonymous"].estimate == pytest.approx(60_000, rel=0.2)
    for name in ("shared memory", "descriptors", "threads"):
        assert leaking[name].verdict is Verdict.PASS


def test_growth_near_the_budget_is_not_decided() -> None:
    assert growth(timeline(10_000))["anonymous"].verdict is Verdict.INCONCLUSIVE


def test_too_few_samples_say_nothing() -> None:
    found = growth(timeline(0, count=40))["anonymous"]
    assert found.verdict is Verdict.NOT_RUN
    assert found.estimate is None
    assert "40 samples" in found.reason


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_process_that_leaks_is_found_among_those_that_do_not(place: int) -> None:
    timelines = [timeline(0), timeline(0), timeline(0, count=300)]
    assert worst_growth("s", timelines)[0].verdict is Verdict.PASS
    timelines[place] = timeline(60_000)
    found = worst_growth("s", timelines)
    assert (found[0].name, found[0].verdict) == ("s: growth of anonymous", Verdict.FAIL)
    assert "of 3 processes the one that grew most" in found[0].reason
    timelines[place] = timeline(0, count=40)  # one that was hardly seen is no pass either
    assert worst_growth("s", timelines)[0].verdict is Verdict.NOT_RUN


def test_a_figure_that_stays_has_bounds_too() -> None:
    line = fit([1.0, 2.0, 3.0], [8.0, 8.0, 8.0])
    assert (line.slope, line.low, line.high) == (0, 0, 0)


def test_a_line_is_found_with_its_bounds() -> None:
    rng = np.random.default_rng(5)
    places = np.repeat([1e3, 1e4, 1e5, 1e6], 3)
    values = 2e6 + 0.75 * places + rng.normal(0, 20_000, places.size)
    line = fit(places.tolist(), values.tolist())
    assert line.low < 0.75 < line.high
    assert line.high - line.low < 0.1
    assert line.intercept == pytest.approx(2e6, rel=0.02)


@pytest.mark.parametrize(
    ("places", "values"),
    [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [1, 2, np.nan])],
)
def test_what_is_no_line_says_so(places: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError):
        fit(places, values)
    finding, line = line_finding(
        "x", places, values, at_least=0, at_most=1, unit="B", wanted="little"
    )
    assert line is None
    assert finding.verdict is Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("slope", "noise", "wanted"),
    [
        (0.0, 0.01, Verdict.PASS),
        (0.45, 0.2, Verdict.INCONCLUSIVE),
        (2.0, 0.01, Verdict.FAIL),
    ],
)
def test_a_slope_is_held_against_its_bounds(slope: float, noise: float, wanted: Verdict) -> None:
    rng = np.random.default_rng(1)
    places = np.repeat(np.arange(1.0, 5.0), 3)
    values = slope * places + rng.normal(0, noise, places.size)
    finding, _ = line_finding(
        "x", places.tolist(), values.tolist(), at_least=-1, at_most=0.5, unit="B", wanted=""
    )
    assert finding.verdict is wanted


def test_the_worst_finding_is_the_exit_status() -> None:
    def of(*verdicts: Verdict) -> list[Finding]:
        nothing: dict[str, Any] = {"estimate": None, "low": None, "high": None, "unit": "B"}
        return [Finding(name="x", verdict=one, wanted="", **nothing) for one in verdicts]

    assert exit_code_of(of(Verdict.PASS, Verdict.PASS)) == 0
    assert exit_code_of(of(Verdict.PASS, Verdict.NOT_RUN)) == 3
    assert exit_code_of(of(Verdict.INCONCLUSIVE, Verdict.FAIL)) == 1
    assert exit_code_of([]) == 3
    assert overall([]) is not Verdict.PASS


def process(added: float, **mapping: float) -> dict[str, Any]:
    tiers = {"hot_rows": 100, "hot_bytes": 500_000, "warm_frames": 40, "warm_bytes": 60_000}
    by_type = {**dict.fromkeys(TYPES, 0.0), "anonymous": added}
    return {"added": added, "facts": {"tiers": tiers, "by_mapping": mapping, "by_type": by_type}}


def test_an_account_adds_up_and_names_what_is_missing() -> None:
    session = {
        "processes": [process(2_100_000, heap=900_000), process(2_300_000, heap=1_000_000)],
        "controls": [process(180_000, heap=40_000), process(220_000, heap=60_000)],
    }
    recorded = {"held": 400_000, "tiers": session["processes"][0]["facts"]["tiers"]}
    account = account_of(session, recorded, 1024)
    sizes = [entry.size for entry in account.entries]
    assert account.total == sum(sizes) == 2_000_000
    rows, kept, warm, other, nobody = sizes
    assert (rows, rows + kept, warm) == (409_600, 500_000, 60_000)
    assert other == 400_000 - kept - warm
    assert nobody == 2_000_000 - 500_000 - 60_000 - other
    assert account.tiers_share == pytest.approx(0.28)
    assert account.unnamed_share == pytest.approx(nobody / 2_000_000)
    assert account.by_mapping == {"heap": 900_000}


def test_controls_are_taken_off() -> None:
    processes, controls = [process(10, heap=4), process(20, heap=6)], [process(3, heap=1)]
    assert mean_added(processes, controls) == 12
    assert added_by("by_mapping", processes, controls) == {"heap": 4}


def test_before_the_store_is_what_the_session_saw_itself() -> None:
    facts = {
        "process_total": {"anonymous": 30, "swapped": 2},
        "by_type": {"anonymous": 7, "swapped": 0},
    }
    assert before_store({"facts": facts}) == {"anonymous": 23, "swapped": 2}


def test_a_stack_is_drawn_of_growth_alone() -> None:
    samples = timeline(0)
    samples[-1]["by_type"]["swapped"] = -5
    before = {**samples[0]["by_type"], "anonymous": samples[0]["by_type"]["anonymous"] - 1_200_000}
    layers = page_type_growth(samples, before)
    # what the tiers took before the first look from outside was left out once
    assert layers["anonymous"][0] == 1_200_000
    assert min(layers["swapped"]) == 0
    assert set(layers) == set(TYPES)
