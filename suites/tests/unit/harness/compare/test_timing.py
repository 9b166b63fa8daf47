"""Risk: rounds go on after a verdict, stop before one, or the second run takes the wrong ones.

Real processes; what is checked follows from whatever times they happened to have.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from harness.compare.decide import Verdict, decide
from harness.compare.progress import CompareProgress, State
from harness.compare.rawfile import log_ratios, read_rounds
from harness.compare.sides import Bench
from harness.compare.timing import Timing
from suites.tests.unit.harness.compare.tiny import STORE, TIMINGS, side_of, suite_of, write

REST = Bench(name="counted.Rest.time_rest", benchmark="counted.Rest.time_rest", place=None)
SAME = Bench(name="counted.Same.time_same(3)", benchmark="counted.Same.time_same", place=1)


class Seen(CompareProgress):
    def __init__(self) -> None:
        self.turns: list[tuple[str, dict[str, int]]] = []

    def rounds(self, title: str, states: list[State]) -> None:  # type: ignore[override]
        self.turns.append((title, {state.name: state.needed for state in states}))


@pytest.fixture
def timing(tmp_path: Path) -> Timing:
    """HEAD rests 8 times as long as BASE, and works as fast."""
    roots = [tmp_path / name for name in ("base", "head")]
    slow = STORE.replace("sleep(0.004)", "sleep(0.032)")
    for root, store in zip(roots, (STORE, slow), strict=True):
        write(
            root,
            {
                "src/titanstore/__init__.py": store,
                "suites/timings/__init__.py": "",
                "suites/timings/counted.py": TIMINGS,
            },
        )
    work = tmp_path / "work"
    work.mkdir()
    return Timing(
        sides=(side_of(roots[0], "base"), side_of(roots[1], "head")),
        suite=suite_of(roots[0]),
        loops={REST.name: 1, SAME.name: 20},
        work=work,
        path=tmp_path / "rounds.jsonl",
        rng=np.random.default_rng(1),
        begun=time.monotonic(),
        seconds_max=60.0,
        progress=Seen(),
    )


def test_each_benchmark_gets_the_rounds_it_needs_and_regressed_ones_a_second_run(
    timing: Timing,
) -> None:
    timing.compare([REST, SAME])
    rounds = read_rounds(timing.path)
    runs = {run: [one for one in rounds if one.run == run] for run in (1, 2)}
    assert [one.number for one in runs[1]] == list(range(1, len(runs[1]) + 1))
    regressed = set()
    for name in (REST.name, SAME.name):
        ratios = log_ratios(runs[1], name)
        found = decide(ratios)
        assert found.verdict is not None or not timing.is_complete
        assert found.rounds == len(ratios)  # none after its verdict
        if found.verdict is Verdict.REGRESSED:
            regressed.add(name)
    again = {name for one in runs[2] for name in one.samples}
    assert again == regressed or not timing.is_complete
    assert isinstance(timing.progress, Seen)
    title, needed = timing.progress.turns[-1]
    assert title == ("second run" if regressed and again else "first run")
    assert not any(needed.values()) or not timing.is_complete


def test_time_that_is_up_ends_it(timing: Timing) -> None:
    timing.seconds_max = 0.0
    timing.compare([REST, SAME])
    assert not timing.is_complete
    assert read_rounds(timing.path) == []


def test_time_is_kept_for_the_second_run_once_something_is_regressed(timing: Timing) -> None:
    slow, same = decide([0.5] * 10), decide([0.0] * 4)
    states = [
        State(name="slow", decision=slow, needed=0),
        State(name="same", decision=same, needed=6),
    ]
    timing.begun = time.monotonic() - 45.0
    assert timing._is_time_up(1, states)
    assert not timing._is_time_up(1, states[1:])
    assert not timing._is_time_up(2, states)
    timing.seconds_max = None
    assert not timing._is_time_up(1, states)
