"""Risk: the report believes a run that contradicts itself, or breaks on one it should refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.report.model import read_report
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_rows import gate, row
from suites.tests.unit.harness.report.synthetic_run import build_run, content, manifest, passing


def alarms(tmp_path: Path, verdicts: dict[str, Any]) -> tuple[str, ...]:
    return read_report(build_run(tmp_path, verdicts)).alarms


def test_an_honest_run_raises_no_alarm(tmp_path: Path) -> None:
    assert alarms(tmp_path / "open", content()) == ()
    assert alarms(tmp_path / "go", passing()) == ()


@pytest.mark.parametrize("verdict", ["FAIL", "INFEASIBLE", "INVALID", "NOT RUN", "INCONCLUSIVE"])
def test_go_over_an_open_gate_is_an_alarm(tmp_path: Path, verdict: str) -> None:
    verdicts = passing()
    verdicts["gates"].append(gate("soak.day", verdict, "", row("all", verdict)))
    (alarm,) = alarms(tmp_path, verdicts)
    assert "soak.day" in alarm


def test_go_without_a_blocking_gate_is_an_alarm(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["gates"] = []
    assert "no gate blocks" in alarms(tmp_path, verdicts)[0]


def test_a_gate_better_than_its_rows_is_an_alarm(tmp_path: Path) -> None:
    verdicts = passing()
    fine, failing = row("a", "PASS", estimate=1.0), row("b", "FAIL", estimate=9.0)
    verdicts["gates"].append(gate("query.latency", "PASS", "", fine, failing))
    assert alarms(tmp_path, verdicts) == ("query.latency says PASS, but not its rows b.",)


def test_a_pass_without_a_measurement_is_an_alarm(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["gates"].append(gate("query.latency", "PASS", ""))
    assert alarms(tmp_path, verdicts) == ("query.latency says PASS, but nothing was measured.",)


@pytest.mark.parametrize(("verdict", "code"), [("GO", 1), ("NO-GO", 0), ("HOLD", 0), ("NO-GO", 3)])
def test_an_exit_code_of_another_decision_is_an_alarm(
    tmp_path: Path, verdict: str, code: int
) -> None:
    verdicts = passing()
    verdicts["decision"] |= {"verdict": verdict, "exit_code": code}
    assert f"the exit code is {code}" in alarms(tmp_path, verdicts)[0]


@pytest.mark.parametrize("name", ["id", "commit", "content_digest", "config_digest", "profile"])
def test_a_manifest_of_another_run_is_an_alarm(tmp_path: Path, name: str) -> None:
    run = build_run(tmp_path, passing())
    (run / "manifest.json").write_text(json.dumps(manifest() | {name: "other"}), encoding="utf-8")
    (alarm,) = read_report(run).alarms
    assert f"disagree on {name}" in alarm


def test_blocking_gates_come_first_and_the_worst_of_them_on_top(rendered: Rendered) -> None:
    gates = rendered.report.gates
    assert [g.blocking for g in gates] == sorted((g.blocking for g in gates), reverse=True)
    assert gates[0].verdict == "FAIL"
    assert [g.id for g in gates[-2:]] == ["compression.saving", "query.throughput"]


def test_the_leading_row_is_the_one_that_decides(rendered: Rendered) -> None:
    leads = {gate.id: gate.lead for gate in rendered.report.gates}
    saving, memory = leads["compression.saving"], leads["memory.steady"]
    assert saving is not None
    assert saving.label == "titan-embed-text-v1"
    assert memory is not None
    assert memory.verdict == "INCONCLUSIVE"
    assert leads["sharing.zero_copy"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "version 2"),
        ({"decision": {"verdict": "MAYBE", "exit_code": 0}}, "MAYBE"),
        ({"gates": [{"id": "x"}]}, "contract"),
        ({"gates": [gate("x", "PASS", "", row("r", "OK"))]}, "contract"),
        ({"gates": 7}, "contract"),
    ],
)
def test_a_broken_contract_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = build_run(tmp_path, passing())
    (run / "verdicts.json").write_text(json.dumps(passing() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_report(run)
