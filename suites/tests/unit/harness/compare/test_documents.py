"""Risk: compare.json says something else than the raw rounds, and `harness verify` lets it pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.compare.documents import check_document, compute_document, seal, verify_compare
from harness.compare.rawfile import append_line, read_lines, read_rounds
from harness.errors import EvidenceError, UsageError
from harness.evidence import read_json, write_json
from harness.verifiers import verify_folder
from suites.tests.unit.harness.compare.small_compare import (
    calibration,
    document,
    manifest,
    write_folder,
)

SLOW, SAME = "m.Slow.time_a", "m.Same.time_b(3)"


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in found["benchmarks"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "compare-x", {SLOW: 0.06, SAME: 0.0})


def test_a_slowdown_and_a_benchmark_without_one(folder: Path) -> None:
    found = read_json(folder / "compare.json")
    assert found["decision"] == {
        "verdict": "REGRESSED", "exit_code": 1, "reasons": [f"{SLOW}: REGRESSED"],
    }  # fmt: skip
    lines = by_name(found)
    assert lines[SAME]["verdict"] == "NO REGRESSION"
    assert lines[SAME]["second"] is None
    slow = lines[SLOW]
    assert (slow["verdict"], slow["second"]["verdict"]) == ("REGRESSED", "REGRESSED")
    assert slow["second"]["low"] > 1.01
    assert slow["second"]["low"] < slow["second"]["ratio"] < slow["second"]["high"]
    assert slow["base_s"] == pytest.approx(2e-3, rel=0.02)
    assert slow["head_s"] / slow["base_s"] == pytest.approx(1.06, rel=0.01)
    assert slow["p"] == slow["p_holm"] / 2 <= 1e-4
    assert check_document(found) == ""


def test_a_slowdown_that_does_not_recur(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "c", {SLOW: 0.06}, {SLOW: 0.0})
    found = read_json(folder / "compare.json")
    assert found["decision"]["exit_code"] == 3
    assert (
        by_name(found)[SLOW]["reason"] == "REGRESSED in the first run, NO REGRESSION in the second"
    )


def test_without_a_calibration_nothing_is_sure() -> None:
    for shift in (0.0, 0.06):
        few = document({SLOW: shift}, known=calibration([SLOW], rounds=200))
        assert few["decision"]["exit_code"] == 3
        assert "200 of 256 A/A rounds" in few["decision"]["reasons"][0]


def test_a_calibration_of_another_machine_is_none() -> None:
    found = document({SAME: 0.0}, known=calibration([SAME], machine="ffffffff"))
    assert found["decision"]["exit_code"] == 3
    assert by_name(found)[SAME]["calibration"]["state"] == "uncalibrated"


def test_a_machine_that_changed_meanwhile_is_not_comparable() -> None:
    found = document({SAME: 0.0}, machine={"id": "0123abcd", "id_after": "ffffffff"})
    assert by_name(found)[SAME]["verdict"] == "NOT COMPARABLE"
    assert found["decision"]["exit_code"] == 3


def test_what_cannot_be_compared_is_listed_and_never_passes() -> None:
    found = document({SAME: 0.0}, incomparable={"m.Old.time_c": "HEAD does not have it"})
    old = by_name(found)["m.Old.time_c"]
    assert (old["verdict"], old["first"]) == ("NOT COMPARABLE", None)
    assert found["decision"]["exit_code"] == 3
    assert found["decision"]["reasons"] == ["m.Old.time_c: NOT COMPARABLE (HEAD does not have it)"]
    assert check_document(found) == ""


def test_a_benchmark_without_rounds_is_inconclusive() -> None:
    content = manifest([SAME, SLOW])
    found = compute_document(content, [], [], calibration([SAME, SLOW]))
    assert {one["verdict"] for one in found["benchmarks"]} == {"INCONCLUSIVE"}
    assert found["decision"]["exit_code"] == 3
    assert check_document(found) == ""


def test_no_benchmark_at_all_is_no_pass() -> None:
    found = compute_document(manifest([]), [], [], calibration([]))
    assert found["decision"]["exit_code"] == 3


@pytest.mark.parametrize("shift", [0.0, 0.06, -0.06])
def test_a_base_without_benchmarks_is_shown_and_never_passes(shift: float) -> None:
    found = document({SAME: shift}, stand_in="BASE has no suites/timings")
    line = by_name(found)[SAME]
    assert (line["verdict"], line["reason"]) == ("NOT COMPARABLE", "BASE has no suites/timings")
    assert line["first"]["ratio"] == pytest.approx(1 + shift, abs=0.02)
    assert line["p_holm"] is None
    assert found["decision"]["exit_code"] == 3
    assert check_document(found) == ""


def test_the_oldest_round_is_told_where_it_is_known() -> None:
    known = dataclasses.replace(calibration([SAME]), oldest=5.0)
    found = document({SAME: 0.0}, known=known)
    assert found["calibration"] == {"newest": 1_000.0, "oldest": 5.0, "machine": "0123abcd"}
    assert check_document(found) == ""
    assert "oldest" not in document({SAME: 0.0})["calibration"]


# ---------------------------------------------------------------- instruction counts


def counted(*lines: tuple[int, str, int, int]) -> dict[str, Any]:
    names = sorted({name for _, name, _, _ in lines})
    content = manifest(names, tier="instructions", loops={})
    given = [
        {"run": run, "name": name, "calls": 3, "base": base, "head": head, "failed": ""}
        for run, name, base, head in lines
    ]
    found = compute_document(content, [], given, calibration([]))
    assert check_document(found) == ""
    return found


@pytest.mark.parametrize(
    ("head", "verdict", "status"),
    [(1_000, "NO REGRESSION", 0), (1_010, "NO REGRESSION", 0), (900, "IMPROVED", 0)],
)
def test_counts_within_the_margin(head: int, verdict: str, status: int) -> None:
    found = counted((1, "a", 1_000, head))
    assert found["benchmarks"][0]["verdict"] == verdict
    assert found["decision"]["exit_code"] == status


def test_a_count_that_rose_has_to_rise_again() -> None:
    assert counted((1, "a", 1_000, 1_011), (2, "a", 1_000, 1_011))["decision"]["exit_code"] == 1
    assert counted((1, "a", 1_000, 1_011), (2, "a", 1_000, 1_000))["decision"]["exit_code"] == 3
    assert counted((1, "a", 1_000, 1_011))["decision"]["exit_code"] == 3


def test_counts_without_benchmarks_of_base_never_pass() -> None:
    content = manifest(["a"], tier="instructions", loops={}, stand_in="BASE has none")
    line = {"run": 1, "name": "a", "calls": 3, "base": 1_000, "head": 1_000, "failed": ""}
    found = compute_document(content, [], [line], calibration([]))
    assert (found["decision"]["exit_code"], found["benchmarks"][0]["first"]["ratio"]) == (3, 1.0)


def test_a_benchmark_that_was_not_counted_is_not_comparable() -> None:
    content = manifest(["a"], tier="instructions", loops={})
    found = compute_document(content, [], [], calibration([]))
    assert found["benchmarks"][0]["verdict"] == "NOT COMPARABLE"
    short = compute_document({**content, "is_complete": False}, [], [], calibration([]))
    assert short["benchmarks"][0]["verdict"] == "INCONCLUSIVE"
    line = {"run": 1, "name": "a", "calls": 3, "base": 0, "head": 0, "failed": "head: KeyError"}
    found = compute_document(content, [], [line], calibration([]))
    assert found["benchmarks"][0]["reason"] == "head: KeyError"


# ---------------------------------------------------------------- verify


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_an_untouched_comparison_stands(folder: Path) -> None:
    assert verify_compare(folder) == []
    assert verify_folder(folder) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d["decision"].update(exit_code=0, verdict="NO REGRESSION"), "exit_code"),
        (lambda d: d["benchmarks"][1].update(verdict="NO REGRESSION"), "verdict: claimed"),
        (lambda d: d["benchmarks"][1]["second"].update(low=1.0), "second.low"),
        (lambda d: d["benchmarks"].pop(), "benchmarks: claimed"),
        (lambda d: d["head"].update(commit="f" * 40), "head.commit"),
        (lambda d: d.update(score=1), "score: not in evidence"),
        (lambda d: d.update(benchmarks="fine"), "breaks its schema"),
    ],
)
def test_each_edit_is_reported(
    folder: Path, change: Callable[[dict[str, Any]], Any], word: str
) -> None:
    edit(folder / "compare.json", change)
    assert any(word in fault for fault in verify_compare(folder))


def test_better_rounds_put_in_place_are_reported(folder: Path) -> None:
    path = folder / "rounds.jsonl"
    lines = read_lines(path)
    path.unlink()
    for line in lines:
        line["samples"] = {name: [base, base] for name, (base, _) in line["samples"].items()}
        append_line(path, line)
    faults = verify_compare(folder)
    assert "rounds.jsonl: changed after the comparison" in faults
    edit(folder / "manifest.json", lambda m: m.update(raw=seal(folder)))
    faults = verify_compare(folder)
    assert any("claimed 'REGRESSED', the evidence gives 'NO REGRESSION'" in one for one in faults)


def test_a_round_left_out_is_reported(folder: Path) -> None:
    path = folder / "rounds.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert verify_compare(folder)[0] == "rounds.jsonl: changed after the comparison"


def test_a_softer_rule_is_reported(folder: Path) -> None:
    edit(folder / "manifest.json", lambda m: m["rule"].update(margin=0.04))
    assert any("not the rule of this checkout" in fault for fault in verify_compare(folder))


def test_a_better_calibration_put_in_place_is_reported(folder: Path) -> None:
    write_json(folder / "calibration.json", calibration([SLOW, SAME], rounds=300).as_json())
    assert "calibration.json: changed after the comparison" in verify_compare(folder)


@pytest.mark.parametrize("name", ["manifest.json", "calibration.json", "rounds.jsonl"])
def test_without_its_files_nothing_stands(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EvidenceError, match=name):
        verify_compare(folder)


@pytest.mark.parametrize("text", ["[]", "{", '{"raw": 1}', '{"raw": {}, "rule": {}}'])
def test_a_damaged_manifest_is_no_crash(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(EvidenceError, match=r"manifest\.json"):
        verify_compare(folder)


def test_samples_that_are_no_times_are_no_evidence(folder: Path) -> None:
    lines = read_lines(folder / "rounds.jsonl")
    lines[0]["samples"][SAME][1][0] = -5
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(EvidenceError, match="no time"):
        verify_compare(folder)


def test_a_torn_last_line_is_not_read(folder: Path) -> None:
    path = folder / "rounds.jsonl"
    whole = len(read_rounds(path))
    with path.open("a") as file:
        file.write('{"run": 1, "num')
    assert len(read_rounds(path)) == whole
    append_line(path, read_lines(path)[0])
    assert len(read_rounds(path)) == whole + 1


def test_a_folder_of_nothing_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        verify_folder(tmp_path)
