"""Proofs: the command that proves the gates puts real faults into real runs, and can be checked."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli
from harness.environment import project_root
from harness.prove import runs
from harness.prove.catalogue import by_id
from harness.prove.fault import LEFT_OUT, quiet
from harness.prove.injections import VARIABLE
from harness.prove.matrix import row_of

pytestmark = [pytest.mark.xdist_group("proofs"), pytest.mark.usefixtures("resting_tree")]

# the others of small runs are put in by test_gates.py and test_faulty_runs.py, and all of them by
# `harness prove` itself
FAULTS = ("control-run", "flipped-bit", "deleted-evidence", "empty-answer")


CELLS = (quiet("all other rows", "quiet"),)  # of one that names no row


@pytest.fixture(scope="module")
def proof(
    resting_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """proof.json and its folder."""
    assert resting_tree == project_root()
    reports = tmp_path_factory.mktemp("reports")
    words = ["prove", "--reports", str(reports)]
    for name in FAULTS:
        words += ["--only", name]
    found = CliRunner().invoke(cli.main, words)
    assert found.exit_code == 0, found.stdout + found.stderr
    (path,) = reports.glob("proofs/*/proof.json")
    return json.loads(path.read_text()), path.parent


def cells(proof: dict[str, Any], fault: str) -> dict[str, str]:
    row = next(row for row in proof["rows"] if row["fault"] == fault)
    return {cell["judge"]: cell["seen"] for cell in row["cells"]}


def test_a_real_flipped_bit_turns_the_verdict_that_passes_without_it(
    proof: tuple[dict[str, Any], Path],
) -> None:
    emulated = "quality.bits.emulated"
    assert cells(proof[0], "control-run")[emulated] == "PASS"
    assert cells(proof[0], "flipped-bit")[emulated] == "FAIL"
    assert cells(proof[0], "flipped-bit")["decision"] == "NO-GO"


def test_an_empty_answer_leaves_no_verdict(proof: tuple[dict[str, Any], Path]) -> None:
    assert cells(proof[0], "empty-answer")["exit"] == "4, no verdict"


@pytest.mark.parametrize("name", FAULTS[1:])
def test_each_fault_is_missed_where_it_is_left_out(
    proof: tuple[dict[str, Any], Path], name: str
) -> None:
    """The same run without the fault is that of the control."""
    assert cells(proof[0], name)[LEFT_OUT] == "missed"
    bare = runs.look(by_id(name), proof[1] / "control-run")
    row = row_of(replace(by_id(name), control=""), bare)
    assert row["state"] == "missed"
    assert any(cell["kind"] == "catch" and not cell["right"] for cell in row["cells"])


def test_a_fault_that_another_one_caught_is_tripped(
    proof: tuple[dict[str, Any], Path],
) -> None:
    """A run with a flipped bit, taken for one without: who notices was to keep quiet."""
    seen = runs.look(by_id("control-run"), proof[1] / "flipped-bit")
    row = row_of(by_id("control-run"), seen)
    assert row["state"] == "tripped"
    others = runs.look(replace(by_id("control-run"), cells=CELLS), proof[1] / "flipped-bit")
    assert others.verdicts["all other rows"] == "not quiet"
    assert "quality.bits.emulated: FAIL" in others.reasons["all other rows"]


def test_its_evidence_is_kept_and_recomputed(
    proof: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(proof[1], tmp_path / "proof"))
    assert {path.name for path in folder.iterdir()} == {*FAULTS, "proof.json", ".lock"}
    kept = {path.name for path in (folder / "flipped-bit" / "run").iterdir()}
    assert kept >= {"manifest.json", "samples", "targets.json", "verdicts.json"}
    assert "work" not in kept
    found = CliRunner().invoke(cli.main, ["verify", str(folder)])
    assert found.exit_code == 0, found.stdout
    shutil.copytree(folder / "control-run" / "run", tmp_path / "other")
    shutil.rmtree(folder / "flipped-bit" / "run")
    (tmp_path / "other").rename(folder / "flipped-bit" / "run")
    found = CliRunner().invoke(cli.main, ["verify", str(folder)])
    assert found.exit_code == 1
    assert "flipped-bit: cells: claimed" in found.stdout


def test_some_of_all_faults_are_no_proof(proof: tuple[dict[str, Any], Path]) -> None:
    assert proof[0]["verdict"] == "INCOMPLETE"


def test_a_row_has_the_tier_of_its_evidence(proof: tuple[dict[str, Any], Path]) -> None:
    tiers = {row["fault"]: row["tier"] for row in proof[0]["rows"]}
    assert tiers["control-run"] == "emulated, synthetic"
    assert tiers["deleted-evidence"] == "synthetic"  # what is left of it
    assert "" not in tiers.values()


def test_nothing_of_a_fault_stays_in_this_process(proof: tuple[dict[str, Any], Path]) -> None:
    assert proof
    assert VARIABLE not in os.environ
    assert "hooks" not in os.environ.get("PYTHONPATH", "")
    assert "PYTHONTRACEMALLOC" not in os.environ
