"""Risk: an old, edited, partial or foreign proof counts as a current one."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.environment import project_root
from harness.evidence import read_json, seal_files, verdicts_of_run, write_json
from harness.gates import Verdict, decide
from harness.prove.catalogue import CATALOGUE
from harness.prove.matrix import verdict_of
from harness.prove.proof import check_proof, find_proof, gates_digest, judge_proof
from suites.tests.unit.harness.small_run import ENDED_S, write_run

DIGEST = "a" * 32
MADE = datetime.datetime.fromtimestamp(ENDED_S - 3600, datetime.UTC).isoformat(timespec="seconds")


def made_proof(**more: Any) -> dict[str, Any]:
    """A whole proof in which every judge said what was wanted; made by hand, nothing ran."""
    rows = [
        {
            "fault": fault.id,
            "title": fault.title,
            "injected": fault.injected,
            "tier": fault.tier,
            "state": "as expected",
            "reason": "",
            "cells": [
                {
                    "judge": cell.judge,
                    "kind": cell.kind,
                    "wanted": " or ".join(cell.wanted),
                    "seen": cell.wanted[0],
                    "reason": cell.because,
                    "right": True,
                }
                for cell in fault.cells
            ],
            "seconds": 1.0,
            "started": MADE,
            "files": {"evidence": "0" * 64},
        }
        for fault in CATALOGUE
    ]
    return {
        "schema_version": 1,
        "id": "a-proof",
        "verdict": "PROVED",
        "gates_digest": DIGEST,
        "commit": "c" * 40,
        "content_digest": "d" * 32,
        "dirty": False,
        "machine": {},
        "machine_id": "f" * 8,
        "command": ["harness", "prove"],
        "started": MADE,
        "ended": MADE,
        "rows": rows,
        **more,
    }


def test_a_whole_proof_of_these_gates_counts() -> None:
    proof = made_proof()
    assert check_proof(proof) == ""
    assert judge_proof(proof, digest=DIGEST, now=ENDED_S) == ""


def _drop(proof: dict[str, Any]) -> None:
    proof["rows"].pop()


def _repeat(proof: dict[str, Any]) -> None:
    proof["rows"][0] = proof["rows"][1]


def _miss(proof: dict[str, Any]) -> None:
    proof["rows"][0]["state"] = "missed"


def _unable(proof: dict[str, Any]) -> None:
    proof["rows"][0].update(state="could not run", reason="no git", cells=[])


def _quieter(proof: dict[str, Any]) -> None:
    proof["rows"][0]["cells"].pop()


def _wrong_cell(proof: dict[str, Any]) -> None:
    proof["rows"][0]["cells"][0]["right"] = False


def _older(proof: dict[str, Any]) -> None:
    proof["rows"][3]["started"] = "2026-01-01T00:00:00+00:00"


def _later(proof: dict[str, Any]) -> None:
    for row in proof["rows"]:
        row["started"] = "2099-01-01T00:00:00+00:00"


HARM: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another digest": (lambda proof: proof.update(gates_digest="b" * 32), "other code"),
    "a fault left out": (_drop, "INCOMPLETE"),
    "a fault twice": (_repeat, "INCOMPLETE"),
    "a fault missed": (_miss, "NOT PROVED"),
    "a fault that could not run": (_unable, "INCOMPLETE"),
    "a judge left out": (_quieter, "other verdicts than the catalogue"),
    "a judge that was wrong": (_wrong_cell, "other verdicts than the catalogue"),
    "one old row": (_older, "days old, at most 30 count"),
    "from the future": (_later, "days old"),
    "a day that there is not": (
        lambda proof: proof["rows"][2].update(started="2027-13-41T00:00:00+00:00"),
        "days old",
    ),
    "a field too many": (lambda proof: proof.update(score=1), "breaks its schema"),
    "no rows": (lambda proof: proof.update(rows=[]), "INCOMPLETE"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_proof_that_is_not_whole_or_current_does_not_count(harm: str) -> None:
    proof = copy.deepcopy(made_proof())
    change, word = HARM[harm]
    change(proof)
    fault = judge_proof(proof, digest=DIGEST, now=ENDED_S)
    assert word in fault
    assert fault.startswith("no current proof that the gates can fail")


def test_no_proof_says_what_to_do() -> None:
    assert judge_proof(None, digest=DIGEST, now=ENDED_S).endswith("run `harness prove`")


def test_a_verdict_written_by_hand_does_not_help() -> None:
    proof = made_proof(verdict="PROVED")
    _miss(proof)
    assert verdict_of(proof["rows"]) == "NOT PROVED"
    assert judge_proof(proof, digest=DIGEST, now=ENDED_S)


# ---------------------------------------------------------------- which code it is of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("harness/gates.py", "harness/report/page.html", "fixtures/vectors.py", "src/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    (tmp_path / "requirements.lock").write_text("before")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "ends_it"),
    [
        ("harness/gates.py", True),
        ("harness/targets.toml", True),
        ("fixtures/vectors.py", True),
        ("requirements.lock", True),
        ("harness/report/page.html", False),
        ("src/x.py", False),
        ("harness/__pycache__/gates.pyc", False),
    ],
)
def test_a_change_of_what_judges_ends_a_proof(tree: Path, name: str, ends_it: bool) -> None:
    before = gates_digest(tree)
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text("after")
    assert (gates_digest(tree) != before) is ends_it


def test_this_checkout_has_a_digest_that_stays() -> None:
    assert gates_digest(project_root()) == gates_digest(project_root())


def keep(reports: Path, name: str, **more: Any) -> None:
    folder = reports / "proofs" / name
    folder.mkdir(parents=True)
    write_json(folder / "proof.json", made_proof(id=name, **more))


def test_the_proof_that_counts_is_found_before_a_newer_one(tmp_path: Path) -> None:
    keep(tmp_path, "counts")
    keep(tmp_path, "other-gates", gates_digest="b" * 32, ended="2027-01-16T00:00:00+00:00")
    (tmp_path / "proofs" / "broken").mkdir()
    (tmp_path / "proofs" / "broken" / "proof.json").write_text("{")
    found = find_proof(tmp_path, digest=DIGEST, now=ENDED_S)
    assert found is not None
    assert found["id"] == "counts"
    other = find_proof(tmp_path, digest="e" * 32, now=ENDED_S)
    assert other is not None
    assert other["id"] == "other-gates"
    assert find_proof(tmp_path / "nothing", digest=DIGEST, now=ENDED_S) is None


# ---------------------------------------------------------------- what a run makes of it


def run_with(tmp_path: Path, proof: dict[str, Any] | None, **manifest: Any) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    if proof is not None:
        write_json(run / "proof.json", proof)
    sealed = seal_files(run, ["proof.json"])
    return write_run(run, gates_digest=DIGEST, sealed=sealed, **manifest)


def test_a_run_shows_the_matrix_it_relies_on(tmp_path: Path) -> None:
    verdicts = read_json(run_with(tmp_path, made_proof()) / "verdicts.json")
    assert verdicts["proof"]["fault"] == ""
    assert [row["fault"] for row in verdicts["proof"]["rows"]] == [one.id for one in CATALOGUE]


@pytest.mark.parametrize("profile", ["nightly", "release"])
def test_a_release_verdict_without_proof_is_on_hold(tmp_path: Path, profile: str) -> None:
    verdicts = read_json(run_with(tmp_path, None, profile=profile) / "verdicts.json")
    assert any("run `harness prove`" in reason for reason in verdicts["decision"]["reasons"])


def test_the_ci_profile_says_so_and_does_not_depend_on_it(tmp_path: Path) -> None:
    verdicts = read_json(run_with(tmp_path, None) / "verdicts.json")
    assert "run `harness prove`" in verdicts["proof"]["fault"]
    assert not any("harness prove" in reason for reason in verdicts["decision"]["reasons"])


def test_a_proof_in_place_of_the_one_that_was_sealed_is_reported(tmp_path: Path) -> None:
    run = run_with(tmp_path, made_proof())
    write_json(run / "proof.json", made_proof(id="another"))
    verdicts, faults = verdicts_of_run(run)
    assert faults == ["proof.json was changed after the run"]
    assert verdicts["proof"]["fault"]
    (run / "proof.json").unlink()
    assert verdicts_of_run(run)[1] == ["proof.json is missing"]


def test_a_proof_added_afterwards_is_reported_and_does_not_count(tmp_path: Path) -> None:
    run = run_with(tmp_path, None)
    write_json(run / "proof.json", made_proof())
    verdicts, faults = verdicts_of_run(run)
    assert faults == ["proof.json is not in the manifest"]
    assert verdicts["proof"]["fault"]


def passing(profile: str, unproved: str) -> tuple[str, int]:
    from suites.tests.unit.harness.test_decisions import rolled_up

    found = decide([rolled_up(Verdict.PASS)], profile, strict=False, unproved=unproved)
    return found.verdict, found.exit_code


def test_no_profile_but_ci_says_go_without_proof() -> None:
    assert passing("release", "") == ("GO", 0)
    assert passing("release", "none") == ("HOLD", 3)
    assert passing("nightly", "none") == ("HOLD", 3)
    assert passing("ci", "none") == ("GO", 0)
    assert passing("weekly", "none") == ("HOLD", 3)  # a profile that nobody knows


def test_a_failure_stays_a_failure_without_proof() -> None:
    from suites.tests.unit.harness.test_decisions import rolled_up

    found = decide([rolled_up(Verdict.FAIL)], "release", strict=False, unproved="none")
    assert found.verdict == "NO-GO"
