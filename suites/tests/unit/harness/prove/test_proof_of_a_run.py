"""Risk: a run relies on another proof than it says, or on none and says nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.beside import lay_beside
from harness.errors import EvidenceError
from harness.evidence import read_json, verdicts_of_run, write_json
from harness.gates import Verdict, decide
from harness.prove.catalogue import CATALOGUE
from harness.prove.proof import judge_proof, proofs_in
from suites.tests.unit.harness.prove.proofs import DIGEST, WANTED, at, made_proof
from suites.tests.unit.harness.small_run import ENDED_S, write_run


def keep(reports: Path, name: str, **more: Any) -> Path:
    folder = reports / "proofs" / name
    folder.mkdir(parents=True)
    write_json(folder / "proof.json", made_proof(id=name, **more))
    return folder


OTHER = asdict(replace(WANTED, gates_digest="b" * 32))


def test_the_proof_that_counts_is_found_before_a_newer_one(tmp_path: Path) -> None:
    keep(tmp_path, "counts")
    keep(tmp_path, "other-gates", identity=OTHER, ended=at(ENDED_S - 10))
    (tmp_path / "proofs" / "broken").mkdir()
    (tmp_path / "proofs" / "broken" / "proof.json").write_text("{")
    found = proofs_in(tmp_path, wanted=WANTED, now=ENDED_S)
    assert [(folder.name, fault == "") for folder, _, fault in found] == [
        ("counts", True),
        ("other-gates", False),
    ]
    assert proofs_in(tmp_path / "nothing", wanted=WANTED, now=ENDED_S) == []


def laid(reports: Path, verify: Callable[[Path], list[str]]) -> tuple[str, dict[str, Any] | None]:
    """What a run says of the proofs below `reports`, and the one that it copies."""
    run = reports / "run"
    run.mkdir(exist_ok=True)
    fault = lay_beside(run, reports, anchor=None, wanted=WANTED, now=ENDED_S, verify=verify)
    copied = read_json(run / "proof.json") if (run / "proof.json").is_file() else None
    return judge_proof(copied, wanted=WANTED, now=ENDED_S, fault=fault), copied


def test_a_run_recomputes_the_proof_that_it_relies_on(tmp_path: Path) -> None:
    keep(tmp_path, "counts")
    asked: list[str] = []
    assert laid(tmp_path, lambda folder: asked.append(folder.name) or [])[0] == ""  # type: ignore[func-returns-value]
    assert asked == ["counts"]
    fault, copied = laid(tmp_path, lambda _: ["flipped-bit: run/manifest.json: changed"])
    assert "does not stand: flipped-bit: run/manifest.json: changed" in fault
    assert copied is not None

    def unreadable(_: Path) -> list[str]:
        raise EvidenceError("row.json is missing")

    assert "does not stand: row.json is missing" in laid(tmp_path, unreadable)[0]


def test_a_proof_that_stands_is_taken_where_a_copy_of_it_does_not(tmp_path: Path) -> None:
    keep(tmp_path, "stands")
    keep(tmp_path, "tampered", ended=at(ENDED_S - 10))
    fault, copied = laid(tmp_path, lambda folder: [] if folder.name == "stands" else ["edited"])
    assert fault == ""
    assert copied is not None
    assert copied["id"] == "stands"


def test_a_proof_without_its_evidence_does_not_count(tmp_path: Path) -> None:
    """The real check, of a proof.json made by hand."""
    keep(tmp_path, "counts")
    run = tmp_path / "run"
    run.mkdir()
    fault = lay_beside(run, tmp_path, anchor=None, wanted=WANTED, now=ENDED_S)
    assert "does not stand" in fault


@pytest.mark.parametrize(
    ("name", "is_later"),
    [
        ("2099-01-01T000000Z-ffffffff-cccccccccc", True),
        ("2020-01-01T000000Z-ffffffff-cccccccccc", False),
        ("2099-99-99T000000Z-ffffffff-cccccccccc", False),
        ("compare-2099-01-01T000000Z-cccccccc-cccccccc", False),
    ],
)
def test_with_a_run_of_tomorrow_no_proof_has_an_age(
    tmp_path: Path, name: str, is_later: bool
) -> None:
    keep(tmp_path, "counts")
    (tmp_path / name).mkdir()
    fault, _ = laid(tmp_path, lambda _: [])
    assert ("the clock was set back" in fault) is is_later


# ---------------------------------------------------------------- what a run makes of it


def run_with(tmp_path: Path, proof: dict[str, Any] | None, **manifest: Any) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    if proof is not None:
        write_json(run / "proof.json", proof)
    return write_run(run, gates_digest=DIGEST, **manifest)


def test_a_run_shows_the_matrix_it_relies_on(tmp_path: Path) -> None:
    verdicts = read_json(run_with(tmp_path, made_proof()) / "verdicts.json")
    assert verdicts["proof"]["fault"] == ""
    assert [row["fault"] for row in verdicts["proof"]["rows"]] == [one.id for one in CATALOGUE]


def test_what_was_wrong_with_its_evidence_stays_with_the_run(tmp_path: Path) -> None:
    fault = "the newest does not stand: flipped-bit: cells"
    run = run_with(tmp_path, made_proof(), proof_fault=fault, profile="release")
    verdicts = read_json(run / "verdicts.json")
    assert fault in verdicts["proof"]["fault"]
    assert any(fault in reason for reason in verdicts["decision"]["reasons"])


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
