"""Risk: history of different machines runs together, or what was not measured has a value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asv.results import Results
from asv.runner import BenchmarkResult
from click.testing import CliRunner

from harness.changepoints import find_steps
from harness.cli import main
from harness.history import Point, Series, asv_history, newest, past_runs, run_history
from harness.report.history_page import History, describe_step, write_history
from suites.tests.unit.harness.small_run import bits, clean_bits, write_run

NAME = "codec.Decode.time_decode_32"


def _run(reports: Path, day: int, *, machine: str = "m1", profile: str = "ci", **row: Any) -> Path:
    """The parts of a run's files that history reads; synthetic values."""
    folder = reports / f"2026-11-{day:02}T000000Z-{machine}-{profile}"
    folder.mkdir(parents=True)
    judged = {
        "id": "latency.hot.p99",
        "unit": "s",
        "verdict": "PASS",
        "estimate": 1e-6,
        "low": 9e-7,
        "high": 1.1e-6,
        **row,
    }
    run = {"started": f"2026-11-{day:02}T00:00:00Z", "commit": f"c{day}", "profile": profile}
    verdicts = {"run": run, "gates": [{"rows": [judged]}]}
    (folder / "verdicts.json").write_text(json.dumps(verdicts))
    (folder / "manifest.json").write_text(json.dumps({"machine": {"id": machine}}))
    return folder


def test_rows_of_runs_are_in_order_of_time(tmp_path: Path) -> None:
    for day in (9, 3, 17):
        _run(tmp_path, day, estimate=day * 1e-6)
    (tmp_path / "latest").symlink_to(tmp_path / "2026-11-17T000000Z-m1-ci")
    (series,), unread = run_history(tmp_path)
    assert [point.commit for point in series.points] == ["c3", "c9", "c17"]
    assert [point.value for point in series.points] == [3e-6, 9e-6, 17e-6]
    assert (series.points[0].low, series.points[0].high) == (9e-7, 1.1e-6)
    assert unread == []


def test_machines_and_profiles_never_share_a_series(tmp_path: Path) -> None:
    _run(tmp_path, 1)
    _run(tmp_path, 2, machine="m2")
    _run(tmp_path, 3, profile="release")
    found, _ = run_history(tmp_path)
    assert sorted((one.machine, one.context) for one in found) == [
        ("m1", "ci"),
        ("m1", "release"),
        ("m2", "ci"),
    ]


@pytest.mark.parametrize("verdict", ["INVALID", "NOT RUN"])
def test_what_was_not_measured_has_no_point(tmp_path: Path, verdict: str) -> None:
    _run(tmp_path, 1, verdict=verdict)
    assert run_history(tmp_path) == ([], [])


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    _run(tmp_path, 1)
    (_run(tmp_path, 2) / "verdicts.json").write_text("{")
    (_run(tmp_path, 3) / "manifest.json").unlink()
    found, unread = run_history(tmp_path)
    assert len(found[0].points) == 1
    assert [line.partition("T")[0] for line in unread] == ["2026-11-02", "2026-11-03"]


def _without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


_ROW = ("gates", 0, "rows", 0)


@pytest.mark.parametrize(
    "change",
    [
        _without("run", "profile"),
        _without("run", "commit"),
        _without("gates"),
        _without(*_ROW, "unit"),
        _without(*_ROW, "id"),
        _without(*_ROW, "verdict"),
        lambda d: d.update(run="no"),
        lambda d: d.update(gates=None),
        lambda d: d["run"].update(profile=["ci"]),
        lambda d: d["run"].update(started=7),
        lambda d: d["gates"][0]["rows"][0].update(unit=None),
        lambda d: d["gates"][0]["rows"][0].update(estimate="fast"),
        lambda d: d["gates"][0]["rows"][0].update(estimate=float("nan")),
        lambda d: d["gates"][0]["rows"][0].update(low=float("inf")),
    ],
)
def test_a_run_that_is_damaged_anywhere_is_named_and_the_others_are_read(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    _run(tmp_path, 1)
    path = _run(tmp_path, 2) / "verdicts.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    (series,), unread = run_history(tmp_path)
    assert [point.commit for point in series.points] == ["c1"]
    (line,) = unread
    assert line.startswith("2026-11-02")
    assert find_steps([point.value for point in series.points]) == []


def test_no_folder_is_no_history(tmp_path: Path) -> None:
    assert run_history(tmp_path / "none") == ([], [])
    assert asv_history(tmp_path / "none") == ([], [])


@pytest.fixture
def asv_results(tmp_path: Path) -> Path:
    """Written by asv's own classes: three commits, one benchmark, two parameters, one missing."""
    folder = tmp_path / "results"
    benchmark = {
        "name": NAME,
        "params": [["'v1'", "'v2'"]],
        "version": "1",
        "unit": "seconds",
        "type": "time",
        "code": "",
        "param_names": ["serving"],
    }
    (folder / "m1").mkdir(parents=True)
    (folder / "m1" / "machine.json").write_text(json.dumps({"machine": "m1", "version": 1}))
    (folder / "benchmarks.json").write_text(json.dumps({NAME: benchmark, "version": 2}))
    for day in (2, 1, 3):
        result = Results({"machine": "m1"}, {}, str(day) * 40, day * 1000, "3.11", "env", {})
        values = BenchmarkResult(
            result=[day * 1e-3, None],
            samples=[[day * 1e-3] * 5, None],
            number=[1, None],
            errcode=0,
            stderr="",
            profile=None,
        )
        result.add_result(benchmark, values)
        result.save(str(folder))
    return folder


def test_asvs_results_are_read_with_their_parameters(asv_results: Path) -> None:
    (series,), unread = asv_history(asv_results)
    assert (series.name, series.unit) == (f"{NAME}-v1", "s")
    assert [(point.commit, point.value) for point in series.points] == [
        ("1" * 40, 1e-3),
        ("2" * 40, 2e-3),
        ("3" * 40, 3e-3),
    ]
    assert [point.when for point in series.points] == [1, 2, 3]
    assert "version 1" in series.context
    assert unread == []
    (asv_results / "m1" / "damaged.json").write_text("{")
    assert asv_history(asv_results)[1] != []


@pytest.mark.parametrize("text", ["[]", "null", '{"version": 2}', '{"version": 2, "results": 1}'])
def test_a_damaged_result_of_asv_is_named_and_the_others_are_read(
    asv_results: Path, text: str
) -> None:
    (asv_results / "m1" / "damaged.json").write_text(text)
    (asv_results / "benchmarks.json").write_text("{")
    (series,), unread = asv_history(asv_results)
    assert len(series.points) == 3
    assert {line.partition(":")[0] for line in unread} == {"benchmarks.json", "damaged.json"}


def _synthetic(name: str, values: list[float]) -> Series:
    points = tuple(
        Point(when=86_400 * place, commit=f"c{place:06}", value=value, low=value, high=value)
        for place, value in enumerate(values)
    )
    return Series(name=name, machine="m", context="<b>ci</b>", unit="s", points=points)


def _history(name: str, values: list[float]) -> History:
    return History(series=_synthetic(name, values), steps=tuple(find_steps(values)))


def test_only_the_newest_points_are_kept() -> None:
    (kept,) = newest([_synthetic("one", [1.0, 2.0, 3.0])], 2)
    assert [point.value for point in kept.points] == [2.0, 3.0]


def test_the_page_names_the_step_and_draws_it(tmp_path: Path) -> None:
    noise = 1 + 0.01 * np.random.default_rng(4).standard_normal(30)
    flat = _history("flat", (1e-3 * noise).tolist())
    stepped = _history("stepped", (1e-3 * noise * np.repeat([1, 1.25], 15)).tolist())
    (step,) = stepped.steps
    assert describe_step(stepped, step).startswith("1970-01-16, c000015: 1")
    assert "+25" in describe_step(stepped, step) or "+24" in describe_step(stepped, step)
    page = write_history([flat, stepped], ["a run: damaged"], tmp_path / "trend")
    text = page.read_text()
    assert "1 of 2 series took a step" in text
    assert describe_step(stepped, step).replace("+", "+") in text.replace("&#43;", "+")
    assert "<b>ci</b>" not in text
    assert "a run: damaged" in text
    (label,) = re.findall(r'<svg[^>]* aria-label="([^"]*)"', text)
    assert "stepped: 1970-01-16" in label
    assert "flat:" not in label
    assert (tmp_path / "trend" / "trend.png").read_bytes()[:4] == b"\x89PNG"
    stored = json.loads((tmp_path / "trend" / "trend.json").read_text())
    assert [len(one["steps"]) for one in stored["series"]] == [1, 0]


def test_the_page_lists_the_runs_newest_first_with_what_is_open(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    broken = [bits("quality.bits-emulated", differing=1.0), *clean_bits()[::2]]
    write_run(reports / "b", started="2027-01-14T07:00:00+00:00")
    write_run(reports / "a", broken, started="2027-01-15T07:00:00+00:00")
    (reports / "damaged").mkdir()
    (reports / "damaged" / "verdicts.json").write_text("{}")
    (reports / "latest").symlink_to("a")
    (reports / "a" / "report.html").write_text("a report")
    newer, older = past_runs(reports)
    assert (newer.folder, newer.decision) == ("a", "NO-GO")
    assert (older.folder, older.decision) == ("b", "HOLD")
    assert ("quality.bits", "FAIL") in newer.open_gates
    assert "quality.bits" not in dict(older.open_gates)
    series = _history("flat", [1.0, 1.0, 1.0])
    text = write_history([series], [], reports / "trend", past_runs(reports)).read_text()
    assert text.index("NO-GO") < text.index("HOLD")
    assert 'href="../a/report.html"' in text
    assert 'href="../b/report.html"' not in text  # it has none


def test_the_command_reads_both_and_says_where_the_page_is(
    tmp_path: Path, asv_results: Path
) -> None:
    for day in range(1, 13):
        _run(tmp_path / "reports", day, estimate=(2e-6 if day > 6 else 1e-6) * (1 + day % 3 / 100))
    words = ["trend", "--reports", str(tmp_path / "reports"), "--asv", str(asv_results)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "latency.hot.p99: 2026-11-07, c7: " in done.output
    assert "1 of 2 series took a step" in done.output
    assert (tmp_path / "reports" / "trend" / "trend.html").is_file()
    done = CliRunner().invoke(main, [*words, "--only", "codec"])
    assert "0 of 1 series took a step" in done.output


@pytest.mark.parametrize("words", [[], ["--only", "("]], ids=["nothing-there", "bad-pattern"])
def test_the_command_says_what_to_do(tmp_path: Path, words: list[str]) -> None:
    given = ["trend", "--reports", str(tmp_path), "--asv", str(tmp_path / "none"), *words]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 2
    assert "harness gate" in done.output or "--only" in done.output
