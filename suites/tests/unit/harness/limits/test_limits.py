"""Risk: the distance to the limit is held against less, or more, than the limit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import harness.cli
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.limits import parts
from harness.limits import run as run_module
from harness.limits.commands import limits
from harness.limits.distance import TIMED, Distance, distances
from harness.limits.page import draw_distances, write_limits_page
from harness.limits.run import LimitsOptions, measure_limits
from harness.progress import Progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `harness limits --smoke` leaves."""
    reports = tmp_path_factory.mktemp("limits")
    harness.cli.main(["limits", "--smoke", "--reports", str(reports)])
    return (reports / "limits" / "latest").resolve()


def test_every_part_is_measured_and_nothing_of_the_work_is_left(folder: Path) -> None:
    document = json.loads((folder / "limits.json").read_text())
    (process,) = document["processes"]
    assert {name for name, _, _ in TIMED} <= process.keys()
    assert process["instruments"] == []
    for found in document["bytes"]:
        assert found["evidence"] == "synthetic"
        assert found["bytes_per_vector"] > found["entropy_bound_bytes"] > 1_000
    assert not [path for path in folder.iterdir() if path.name.startswith("work")]


def test_bytes_are_above_their_entropy_and_a_put_above_the_disk(folder: Path) -> None:
    found = distances(json.loads((folder / "limits.json").read_text()))
    for one in found:
        assert one.ratio == pytest.approx(one.ours / one.limit)
        if one.unit == "B":
            assert 1 < one.ratio < 1.5  # synthetic rows know nothing of each dimension
    by_name = {one.name: one for one in found}
    assert by_name["hot"].ratio > 1
    assert by_name["decode"].ratio > 1


def test_the_page_is_one_figure_and_fetches_nothing(folder: Path) -> None:
    text = (folder / "limits.html").read_text()
    assert text.count("<svg") == 1
    assert "http" not in text.replace("http-equiv", "")
    for one in json.loads((folder / "distances.json").read_text())["distances"]:
        assert one["what"] in text
    assert (folder / "limits.png").read_bytes().startswith(b"\x89PNG")


def document(pairs: list[list[float]], weighed: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name, _, _ in TIMED]
    return {"bytes": weighed, "processes": [dict.fromkeys(names, pair) for pair in pairs]}


def test_quotients_are_of_one_process_and_have_intervals() -> None:
    """A machine that is twice as slow for one process changes no quotient."""
    found = distances(document([[3.0, 1.0], [6.2, 2.0], [2.9, 1.0]], []))
    for one in found:
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.ratio < one.high
        assert one.ratio == pytest.approx(3.0, rel=0.02)
        assert one.high / one.low < 1.2
    (single, *_) = distances(document([[3.0, 1.0]], []))
    assert (single.low, single.high) == (None, None)


@pytest.mark.parametrize("pairs", [[[0.0, 1.0]], [[1.0, math.nan]], [[1.0]], []])
def test_what_was_not_measured_has_no_quotient(pairs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="no pairs of times"):
        distances(document(pairs, []))


def test_bounds_that_are_not_known_are_left_out() -> None:
    weighed = {
        "name": "few",
        "bytes_per_vector": 220.0,
        "entropy_bound_bytes": 200.0,
        "entropy_bound_per_dimension_bytes": None,
    }
    found = distances(document([[2.0, 1.0]], [weighed]))
    assert [(one.ratio, one.low) for one in found if one.unit == "B"] == [(1.1, None)]
    told = distances(document([[2.0, 1.0]], [{**weighed, "lattice_bytes": 100.0}]))
    assert [one.ratio for one in told if one.unit == "B"] == [1.1, 2.2]


def test_a_quotient_below_one_is_drawn_too() -> None:
    one = Distance(
        name="search", what="exact search", against="reading the planes once", unit="s",
        ours=0.5, limit=1.0, ratio=0.5, low=0.4, high=0.6,
    )  # fmt: skip
    drawn, png = draw_distances([one])
    assert "0.50 times" in drawn.alternative
    assert png.startswith(b"\x89PNG")


def test_a_wrong_answer_is_no_time() -> None:
    rows = np.ones((2, 4), np.float32)
    with pytest.raises(AssertionError, match="differs"):
        parts._same(rows, -rows)


def test_a_worker_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_weigh", lambda *_: [])
    monkeypatch.setattr(run_module, "_PARTS", "harness.limits.nothing")
    with pytest.raises(HarnessError, match="nothing"):
        measure_limits(LimitsOptions.smoke(tmp_path), Progress())
    assert not list((tmp_path / "limits").iterdir())


def test_an_interruption_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_weigh", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_limits(LimitsOptions.smoke(tmp_path), Progress())
    assert not list((tmp_path / "limits").iterdir())


def test_wrong_use_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limits").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be kept"):
        measure_limits(LimitsOptions.smoke(tmp_path), Progress())
    with pytest.raises(UsageError, match="recorded vectors"):
        run_module._sets(LimitsOptions(reports=tmp_path, recorded=tmp_path))
    monkeypatch.setattr(run_module, "load_recorded", lambda _: [])
    with pytest.raises(UsageError, match="no 40 vectors"):
        run_module._population(LimitsOptions(reports=tmp_path, recorded=tmp_path), tmp_path)
    assert "Judges nothing" in CliRunner().invoke(limits, ["--help"]).output


def test_a_damaged_result_is_no_page(tmp_path: Path) -> None:
    for text in ("{", '{"bytes": []}'):
        (tmp_path / "limits.json").write_text(text)
        with pytest.raises(EvidenceError):
            write_limits_page(tmp_path)
    assert not (tmp_path / "limits.html").exists()
