"""Risk: a proof that says more than its evidence, or cannot be made to fail itself."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.prove import prover, soaks
from harness.prove.catalogue import CATALOGUE, Cell, Fault, by_id
from harness.prove.matrix import exit_code_of, not_run_row, row_of, verdict_of
from harness.prove.seen import CannotRunError, Seen
from harness.run import Progress
from harness.targets import load_targets

QUICK = "empty-soak"  # a real worker, in seconds
FACTS = {"seconds": 1.0, "started": "2027-01-01T00:00:00+00:00", "files": {}}


def seen(**verdicts: str) -> Seen:
    found = Seen()
    for judge, verdict in verdicts.items():
        found.add(judge, verdict, "a reason with words in it")
    return found


def fault(*cells: Cell) -> Fault:
    return Fault(id="f", title="t", injected="i", kind="run", tier="emulated", cells=cells)


CATCH = Cell(judge="a", wanted=("FAIL",), kind="catch", because="words")
QUIET = Cell(judge="b", wanted=("PASS",), kind="quiet")


# ---------------------------------------------------------------- the matrix, pure


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        ({"a": "FAIL", "b": "PASS"}, "as expected"),
        ({"a": "PASS", "b": "PASS"}, "missed"),
        ({"a": "INVALID", "b": "PASS"}, "missed"),
        ({"a": "FAIL", "b": "FAIL"}, "tripped"),
        ({"a": "PASS", "b": "FAIL"}, "missed"),
        ({"a": "FAIL"}, "tripped"),  # a judge who said nothing did not keep quiet
        ({"b": "PASS"}, "missed"),
        ({}, "missed"),
    ],
)
def test_a_row_is_what_its_judges_said(verdicts: dict[str, str], state: str) -> None:
    assert row_of(fault(CATCH, QUIET), seen(**verdicts), **FACTS)["state"] == state


def test_a_catch_by_accident_is_a_miss() -> None:
    other = Cell(judge="a", wanted=("FAIL",), kind="catch", because="another reason")
    assert row_of(fault(other), seen(a="FAIL"), **FACTS)["state"] == "missed"


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["as expected"], 0),
        (["as expected", "missed"], 1),
        (["tripped", "could not run"], 1),
        (["as expected", "could not run"], 3),
        ([], 3),
    ],
)
def test_exit_statuses(states: list[str], code: int) -> None:
    assert exit_code_of([{"fault": "f", "state": state} for state in states]) == code


def test_some_rows_prove_nothing_yet() -> None:
    rows = [{"fault": one.id, "state": "as expected"} for one in CATALOGUE]
    assert verdict_of(rows) == "PROVED"
    assert verdict_of(rows[1:]) == "INCOMPLETE"
    assert verdict_of([]) == "INCOMPLETE"
    assert verdict_of([*rows[1:], not_run_row(CATALOGUE[0], "no git", **FACTS)]) == "INCOMPLETE"


# ---------------------------------------------------------------- the catalogue

SPECIFIED = {
    "slowdown",
    "leak-40k",
    "leak-2k",
    "growing-mapping-soak",
    "growing-mapping-run",
    "flipped-bit",
    "lost-update",
    "stale-search",
    "another-digit",
    "hit-ratio-94",
    "other-commit",
    "deleted-evidence",
    "empty-answer",
    "empty-soak",
    "tracemalloc",
    "renamed-benchmark",
    "expired-waiver",
    "same-code",
}


def test_the_catalogue_has_every_fault_of_the_specification_and_controls() -> None:
    ids = [one.id for one in CATALOGUE]
    assert len(set(ids)) == len(ids)
    assert {name for name in ids if not name.startswith("control-")} == SPECIFIED


def test_every_fault_is_caught_by_somebody_but_those_that_must_stay_quiet() -> None:
    silent = {one.id for one in CATALOGUE if {cell.kind for cell in one.cells} == {"quiet"}}
    controls = {one.id for one in CATALOGUE if one.id.startswith("control-")}
    assert silent == controls | {"leak-2k", "same-code"}


def test_every_judge_that_catches_is_quiet_where_nothing_is_broken() -> None:
    """Else catching would mean nothing."""
    quiet = {
        cell.judge
        for one in CATALOGUE
        for cell in one.cells
        if cell.kind == "quiet" and cell.wanted[0] in ("PASS", "NO REGRESSION", "stands")
    }
    rows = load_targets().rows()
    caught = {cell.judge for one in CATALOGUE for cell in one.cells if cell.kind == "catch"}
    assert {judge for judge in caught if judge in rows} - quiet == {"memory.steady.clean"}
    assert {judge for judge in caught if judge.startswith(("soak: ", "compare: codec"))} <= quiet


def test_every_judge_exists() -> None:
    gates = load_targets().gates
    known = {gate.id for gate in gates} | set(load_targets().rows())
    known |= {"decision", "exit", "harness verify", "compare: decision"}
    for one in CATALOGUE:
        for cell in one.cells:
            assert cell.judge in known or cell.judge.startswith(("soak: ", "compare: codec."))


# ---------------------------------------------------------------- one that is made for real


def quiet_proof(reports: Path) -> prover.Proof:
    """Made again where the tree changed meanwhile, as a developer's may."""
    for _ in range(3):
        try:
            return prover.prove(reports, Progress(), only=[QUICK])
        except HarnessError as error:
            if "changed during the proof" not in str(error):
                raise
    raise AssertionError("the tree changed during each of three proofs")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = quiet_proof(tmp_path_factory.mktemp("reports"))
    assert [row["state"] for row in found.asked] == ["as expected"]
    assert found.verdict == "INCOMPLETE"
    return found.folder


@pytest.fixture
def proof(made: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(made, tmp_path / "proofs" / made.name))


def test_an_untouched_proof_stands(proof: Path) -> None:
    assert prover.verify_proof(proof) == []
    found = CliRunner().invoke(cli.main, ["verify", str(proof)])
    assert found.exit_code == 0, found.output


def _edit_row(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = read_json(folder / "proof.json")
        change(content)
        write_json(folder / "proof.json", content)

    return edit


def _append(folder: Path) -> None:
    path = folder / QUICK / "soak" / "segment-0000.jsonl"
    line = json.dumps({"time_s": 1.0, "operations": 1})
    path.write_text(f"{path.read_text()}{line}\n")


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "a verdict": (
        _edit_row(lambda proof: proof["rows"][0]["cells"][0].update(seen="PASS")),
        "cells: claimed",
    ),
    "a state": (_edit_row(lambda proof: proof["rows"][0].update(state="missed")), "state: claimed"),
    "the whole verdict": (_edit_row(lambda proof: proof.update(verdict="PROVED")), "verdict"),
    "the digest": (_edit_row(lambda proof: proof.update(gates_digest="0" * 32)), "other code"),
    "a fault that is none": (
        _edit_row(lambda proof: proof["rows"][0].update(fault="none")),
        "no such fault",
    ),
    "an observation": (_append, "soak/segment-0000.jsonl: changed"),
    "a file taken out": (lambda folder: (folder / QUICK / "soak.json").unlink(), "missing"),
    "a file added": (lambda folder: (folder / QUICK / "more.json").write_text("{}"), "new"),
}


@pytest.mark.parametrize("harm", HARM)
def test_each_edit_of_a_proof_is_reported(proof: Path, harm: str) -> None:
    change, word = HARM[harm]
    change(proof)
    faults = prover.verify_proof(proof)
    assert any(word in one for one in faults), faults


def test_a_proof_that_breaks_its_schema_does_not_stand(proof: Path) -> None:
    _edit_row(lambda content: content.update(rows="all fine"))(proof)
    with pytest.raises(EvidenceError, match="breaks its schema"):
        prover.verify_proof(proof)


def test_what_is_done_is_kept_and_the_rest_goes_on(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("it was to be kept")

    monkeypatch.setattr(soaks, "inject", never)
    found = prover.prove(made.parent.parent, Progress(), only=[QUICK])
    assert [row["state"] for row in found.asked] == ["as expected"]
    with pytest.raises(AssertionError, match="to be kept"):
        prover.prove(made.parent.parent, Progress(), only=[QUICK], is_fresh=True)
    assert prover.verify_proof(made) == []


def test_an_interrupted_fault_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Fault, folder: Path, __: Progress) -> None:
        (folder / "half").write_text("written")
        raise KeyboardInterrupt

    monkeypatch.setattr(soaks, "inject", interrupted)
    found = CliRunner().invoke(cli.main, ["prove", "--only", QUICK, "--reports", str(tmp_path)])
    assert found.exit_code == 130
    assert "call it again" in found.stderr
    (folder,) = (tmp_path / "proofs").iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_what_cannot_be_run_here_is_told_and_is_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> None:
        raise CannotRunError("git: not installed")

    monkeypatch.setattr(soaks, "inject", unable)
    found = CliRunner().invoke(cli.main, ["prove", "--only", QUICK, "--reports", str(tmp_path)])
    assert found.exit_code == 3
    assert "git: not installed" in found.stdout


def test_a_gate_that_does_not_catch_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof of the proof: with a judge that lets an empty soak pass, the matrix says so."""
    honest = soaks.look

    def blind(fault: Fault, folder: Path) -> Seen:
        found = honest(fault, folder)
        found.add("soak.day", "PASS", "nothing wrong was observed")
        return found

    monkeypatch.setattr(soaks, "look", blind)
    found = CliRunner().invoke(cli.main, ["prove", "--only", QUICK, "--reports", str(tmp_path)])
    assert found.exit_code == 1
    assert "missed" in found.stdout
    assert "NOT PROVED" in found.stdout


def test_two_proofs_do_not_share_a_folder(made: Path) -> None:
    with (made / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another `harness prove` is at work"):
            prover.prove(made.parent.parent, Progress(), only=[QUICK])


def test_an_unknown_fault_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no fault 'none'; there are control-run"):
        prover.prove(tmp_path, Progress(), only=["none"])
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_every_fault() -> None:
    found = CliRunner().invoke(cli.main, ["prove", "--list"])
    assert found.exit_code == 0
    assert all(one.id in found.stdout for one in CATALOGUE)


def test_a_judge_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="each of its judges once"):
        fault(CATCH, CATCH)
    with pytest.raises(KeyError):
        by_id("none")
