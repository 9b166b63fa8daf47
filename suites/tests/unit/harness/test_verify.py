"""Risk: a run that was touched up afterwards still stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EvidenceError
from harness.evidence import read_json, seal_files, seal_samples
from harness.measurement import write_measurement
from harness.verify import verify_run
from suites.tests.unit.harness.small_run import bits, clean_bits, gate_of, judge_again, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    slow = bits("quality.bits-emulated", differing=1.0)
    return write_run(tmp_path / "run", [slow, *clean_bits()[::2]])


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_an_untouched_run_stands(run: Path) -> None:
    assert verify_run(run) == []
    assert verify_run(run) == []


def _pass(verdicts: dict[str, Any]) -> None:
    gate_of(verdicts, "quality.bits")["verdict"] = "PASS"


def _rows_pass(verdicts: dict[str, Any]) -> None:
    _pass(verdicts)
    for row in gate_of(verdicts, "quality.bits")["rows"]:
        row.update(verdict="PASS", estimate=0.0, low=0.0, high=0.0)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a gate": (_pass, "gates[quality.bits].verdict: claimed 'PASS', the evidence gives 'FAIL'"),
    "its rows too": (_rows_pass, "gates[quality.bits].rows[quality.bits.emulated].estimate"),
    "the decision": (
        lambda v: v["decision"].update(verdict="GO", exit_code=0, reasons=[]),
        "decision.verdict: claimed 'GO', the evidence gives 'NO-GO'",
    ),
    "the exit status": (lambda v: v["decision"].update(exit_code=0), "decision.exit_code"),
    "a limit": (
        lambda v: gate_of(v, "quality.bits")["rows"][0].update(limit=9),
        "quality.bits.recorded].limit",
    ),
    "the commit": (lambda v: v["run"].update(commit="a" * 40), "run.commit"),
    "a gate taken out": (lambda v: v["gates"].pop(0), "gates: claimed"),
    "a gate added": (lambda v: v["gates"].append(v["gates"][0]), "gates: claimed"),
    "a field taken out": (lambda v: v.pop("waivers"), "waivers: missing"),
    "a field added": (lambda v: v.update(score=1), "score: not in evidence"),
    "a number as truth": (
        lambda v: gate_of(v, "quality.bits")["rows"][0].update(low=False),
        "low: claimed False",
    ),
    "a waiver": (
        lambda v: v["waivers"].append(dict.fromkeys(("gate", "reason", "owner"), "x")),
        "waivers: claimed",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_of_the_verdicts_is_reported(run: Path, name: str) -> None:
    change, word = EDITS[name]
    edit(run / "verdicts.json", change)
    faults = verify_run(run)
    assert any(word in fault for fault in faults), faults


def test_verdicts_that_break_their_schema_are_reported(run: Path) -> None:
    edit(run / "verdicts.json", lambda v: v.update(gates="all fine"))
    assert any("breaks its schema" in fault for fault in verify_run(run))


@pytest.mark.parametrize("name", ["manifest.json", "targets.json", "waivers.json", "verdicts.json"])
def test_without_its_files_a_run_does_not_stand(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(EvidenceError, match=name):
        verify_run(run)


def test_softer_targets_are_reported_even_if_the_verdicts_follow(run: Path) -> None:
    def soften(document: dict[str, Any]) -> None:
        gate = next(gate for gate in document["gate"] if gate["id"] == "quality.bits")
        gate["rule"] |= {"comparator": "<=", "limit": 5}

    edit(run / "targets.json", soften)
    assert gate_of(judge_again(run), "quality.bits")["verdict"] == "PASS"
    assert verify_run(run) == [
        "targets.json was changed after the run",
        "targets.json is not what this checkout promises (harness/targets.toml)",
    ]
    edit(run / "manifest.json", lambda m: m.update(sealed=seal_files(run, list(m["sealed"]))))
    judge_again(run)
    assert verify_run(run) == [
        "targets.json is not what this checkout promises (harness/targets.toml)"
    ]


def test_a_better_sample_put_in_place_is_reported(run: Path) -> None:
    write_measurement(run, bits("quality.bits-emulated"))
    faults = verify_run(run)
    assert faults[0] == (
        "samples/quality.bits-emulated.json.gz: its raw samples were changed after the run"
    )
    assert any("quality.bits" in fault and "INVALID" in fault for fault in faults)


def test_a_resealed_better_sample_no_longer_agrees_with_the_verdicts(run: Path) -> None:
    write_measurement(run, bits("quality.bits-emulated"))
    edit(run / "manifest.json", lambda m: m.update(samples=seal_samples(run)))
    faults = verify_run(run)
    assert any(".verdict: claimed 'FAIL', the evidence gives 'PASS'" in fault for fault in faults)


def test_long_values_are_cut_in_the_message(run: Path) -> None:
    edit(run / "verdicts.json", lambda v: v["run"].update(commit="a" * 500))
    (fault,) = verify_run(run)
    assert len(fault) < 200
