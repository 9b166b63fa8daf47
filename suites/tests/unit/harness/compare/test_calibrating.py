"""Risk: a person takes a benchmark for calibrated that is not, or cannot read which one it is."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from harness.compare.calibrating import Calibrated, render_standings
from suites.tests.unit.harness.compare.small_compare import calibration

QUIET, FEW = "m.Quiet.time_a_rather_long_name('v2-2024')", "m.Few.time_b"


def shown(width: int) -> str:
    standings = {
        QUIET: calibration([QUIET]).standing(QUIET),
        FEW: calibration([FEW], rounds=7).standing(FEW),
    }
    found = Calibrated(machine="m", standings=standings, failed={"m.C": "base: KeyError"}, made=3)
    out = io.StringIO()
    Console(file=out, width=width).print(render_standings(found, width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 130])
def test_each_benchmark_has_its_standing(width: int) -> None:
    text = shown(width)
    assert all(len(line) <= width for line in text.splitlines())
    first = {line.split()[0]: line for line in text.splitlines() if line.startswith(" m.")}
    few = first[FEW]
    assert "uncalibrated" in few
    assert few.count("not known") >= 1
    quiet = next(line for name, line in first.items() if QUIET.startswith(name))
    assert "calibrated" in quiet
    assert "uncalibrated" not in quiet
    assert "KeyError" in re.sub(r"\s+", " ", text)


def test_rates_have_their_bounds() -> None:
    text = re.sub(r"\s+", " ", shown(130))
    assert re.search(r"of 3003, at most 0\.\d\d%", text)
    assert re.search(r"of 3000, at least 9\d\.\d%|of 3000, at least 100\.0%", text)
