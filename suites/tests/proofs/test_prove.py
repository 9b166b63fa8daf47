"""Proofs: the command that proves the gates puts real faults into real runs, and can be checked."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli
from harness.prove.injections import VARIABLE

pytestmark = pytest.mark.xdist_group("proofs")

FAULTS = ("control-run", "flipped-bit", "empty-answer")


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """proof.json and its folder; made again where the tree changed meanwhile."""
    reports = tmp_path_factory.mktemp("reports")
    words = ["prove", "--reports", str(reports)]
    for name in FAULTS:
        words += ["--only", name]
    for _ in range(3):
        found = CliRunner().invoke(cli.main, words)
        if "changed during" not in found.stderr + found.stdout:
            break
        shutil.rmtree(reports / "proofs")
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
    assert cells(proof[0], "empty-answer") == {"exit": "4, no verdict"}


def test_its_evidence_is_kept_and_recomputed(
    proof: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(proof[1], tmp_path / "proof"))
    assert {path.name for path in folder.iterdir()} == {*FAULTS, "proof.json", ".lock"}
    kept = {path.name for path in (folder / "flipped-bit" / "run").iterdir()}
    assert kept >= {"manifest.json", "samples", "targets.json", "verdicts.json"}
    assert "work" not in kept
    found = CliRunner().invoke(cli.main, ["verify", str(folder)])
    if "other code that judges" not in found.stdout:  # the tree changed since
        assert found.exit_code == 0, found.stdout
    shutil.copytree(folder / "control-run" / "run", tmp_path / "other")
    shutil.rmtree(folder / "flipped-bit" / "run")
    (tmp_path / "other").rename(folder / "flipped-bit" / "run")
    found = CliRunner().invoke(cli.main, ["verify", str(folder)])
    assert found.exit_code == 1
    assert "flipped-bit: cells: claimed" in found.stdout


def test_three_of_all_faults_are_no_proof(proof: tuple[dict[str, Any], Path]) -> None:
    assert proof[0]["verdict"] == "INCOMPLETE"


def test_nothing_of_a_fault_stays_in_this_process(proof: tuple[dict[str, Any], Path]) -> None:
    assert proof
    assert VARIABLE not in os.environ
    assert "hooks" not in os.environ.get("PYTHONPATH", "")
    assert "PYTHONTRACEMALLOC" not in os.environ
