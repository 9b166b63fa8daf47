"""Risk: two runs look alike though one is worse, or are compared though they cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import harness.cli
from harness.measurement import Process
from harness.report.diff_page import headline, read_diff, row_line, write_diff
from harness.report.run_diff import RowPair, RunDiff
from harness.targets import load_targets
from suites.tests.unit.harness.report.synthetic_run import HOSTILE, build_run
from suites.tests.unit.harness.small_run import OFF, bits, clean_bits, measured, write_run


def compared(tmp_path: Path, before: list[Any], after: list[Any], **manifest: Any) -> RunDiff:
    first = write_run(tmp_path / "one", before)
    return read_diff(first, write_run(tmp_path / "two", after, **manifest))


def row_of(diff: RunDiff, name: str) -> RowPair:
    return next(row for row in diff.rows if row.id == name)


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    diff = compared(tmp_path, clean_bits(), clean_bits())
    assert not any(gate.changed for gate in diff.gates)
    assert not any(row.changed for row in diff.rows)
    assert diff.count("worse") == diff.count("better") == 0
    assert diff.count("no difference seen") == 3
    assert headline(diff).startswith("No gates changed; of ")


def test_one_differing_bit_is_a_changed_verdict_and_comes_first(tmp_path: Path) -> None:
    broken = [bits("quality.bits-emulated", differing=1.0), *clean_bits()[::2]]
    diff = compared(tmp_path, clean_bits(), broken)
    first = diff.rows[0]
    assert (first.id, first.changed, first.seen) == ("quality.bits.emulated", True, "worse")
    assert [(g.id, g.before, g.after) for g in diff.gates if g.changed] == [
        ("quality.bits", "PASS", "FAIL")
    ]
    assert headline(diff).startswith("1 gate changed; ")
    assert "PASS 0 -> FAIL 1: worse" in row_line(first)


def test_what_only_one_run_has_is_said(tmp_path: Path) -> None:
    diff = compared(tmp_path, clean_bits(), clean_bits()[1:])
    row = row_of(diff, "quality.bits.recorded")
    assert row.changed
    assert (row.seen, row.reason) == ("not comparable", "this run has no value")


@pytest.mark.parametrize(
    ("factor", "seen"), [(1.0, "no difference seen"), (1.2, "worse"), (0.8, "better")]
)
def test_a_value_moved_if_both_intervals_say_so(factor: float, seen: str, tmp_path: Path) -> None:
    row = next(one for one in load_targets().rows().values() if one.gate == "startup.time")
    name = row.measurement

    def values(seconds: float) -> Any:
        scattered = [seconds * (1 + 0.01 * (place % 3 - 1)) for place in range(20)]
        processes = [Process(values=[value], instruments=OFF) for value in scattered]
        return measured(name, processes=processes, population={"files": 100})

    diff = compared(tmp_path, [values(0.1)], [values(0.1 * factor)])
    found = row_of(diff, row.id)
    assert found.seen == seen
    assert found.ratio == pytest.approx(factor, rel=1e-3)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= factor <= found.high


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ({"machine": {"id": "another1"}}, "measured on machine ffffffff, this run on another1"),
        ({"config_digest": "0" * 16}, "another configuration"),
    ],
)
def test_runs_of_other_machines_or_settings_are_not_compared(
    manifest: dict[str, Any], told: str, tmp_path: Path
) -> None:
    diff = compared(tmp_path, clean_bits(), clean_bits(), **manifest)
    assert told in diff.strange
    assert {row.seen for row in diff.rows} == {"not comparable"}
    assert all(row.ratio is None for row in diff.rows)
    page = write_diff(diff, tmp_path / "out").read_text(encoding="utf-8")
    assert 'role="alert"' in page
    assert "not comparable" in headline(diff)
    assert (
        json.loads((tmp_path / "out" / "diff.json").read_text())["not_comparable"] == diff.strange
    )


def test_hostile_text_is_text(tmp_path: Path) -> None:
    full = build_run(tmp_path / "full")
    path = full / "manifest.json"
    content = json.loads(path.read_text())
    content["packages"] = {HOSTILE: "1"}
    content["machine"]["id"] = "f" * 8
    path.write_text(json.dumps(content))
    plain = write_run(tmp_path / "plain")
    page = write_diff(read_diff(full, plain), tmp_path / "out").read_text(encoding="utf-8")
    assert "<script" not in page


def test_the_command_writes_both_files_and_says_what_changed(tmp_path: Path) -> None:
    broken = [bits("quality.bits-emulated", differing=1.0), *clean_bits()[::2]]
    runs = write_run(tmp_path / "one"), write_run(tmp_path / "two", broken)
    done = CliRunner().invoke(harness.cli.main, ["diff", *map(str, runs)])
    assert done.exit_code == 0, done.output
    assert "quality.bits.emulated: PASS 0 -> FAIL 1" in done.output
    assert {path.name for path in (tmp_path / "diff").iterdir()} == {"diff.html", "diff.json"}


@pytest.mark.parametrize(("manifest", "status"), [({}, 0), ({"machine": {"id": "another1"}}, 3)])
def test_the_exit_status_says_whether_values_are_comparable(
    manifest: dict[str, Any], status: int, tmp_path: Path
) -> None:
    runs = write_run(tmp_path / "one"), write_run(tmp_path / "two", **manifest)
    words = ["diff", *map(str, runs), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(harness.cli.main, words).exit_code == status


def test_a_folder_that_is_no_run_is_wrong_use_or_no_evidence(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one")
    missing = CliRunner().invoke(harness.cli.main, ["diff", str(one), str(tmp_path / "none")])
    assert missing.exit_code == 2
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(harness.cli.main, ["diff", str(one), str(tmp_path / "empty")])
    assert empty.exit_code == 1
