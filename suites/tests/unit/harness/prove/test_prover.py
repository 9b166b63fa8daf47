"""Risk: a proof that says more than its evidence, or cannot be made to fail itself."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli, environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.progress import Progress
from harness.prove import prover, runs, soaks
from harness.prove.catalogue import CATALOGUE, by_id
from harness.prove.fault import LEFT_OUT, Cell, Fault, catch
from harness.prove.matrix import exit_code_of, left_out, not_run_row, row_of, verdict_of
from harness.prove.seen import CannotRunError, Seen
from harness.prove.soaker import Leak
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


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.94, "as expected"), (0.9, "missed"), (0.96, "missed"), (None, "missed")],
)
def test_a_catch_of_something_of_another_size_is_a_miss(value: float | None, state: str) -> None:
    found = Seen()
    found.add("a", "FAIL", "", value)
    one = fault(catch("a", "FAIL", between=(0.93, 0.95)))
    assert row_of(one, found, **FACTS)["state"] == state


def test_a_fault_whose_control_is_caught_too_is_missed() -> None:
    """Who says FAIL without the fault has not noticed it."""
    one = replace(fault(CATCH, QUIET), control="c")
    assert left_out(one, seen(a="PASS", b="PASS")) == "missed"
    assert left_out(one, seen(a="FAIL", b="PASS")) == "as expected"
    for bare, state in (("missed", "as expected"), ("as expected", "missed"), ("", "missed")):
        found = seen(a="FAIL", b="PASS")
        if bare:
            found.add(LEFT_OUT, bare)
        assert row_of(one, found, **FACTS)["state"] == state


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
    assert silent == controls | {"same-code"}
    caught = {cell.judge for cell in by_id("leak-2k").cells if cell.kind == "catch"}
    assert caught == {"kept by the worker: buffers"}  # that it is there at all, and nobody else


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
    assert {judge for judge in caught if judge in rows} <= quiet
    assert {judge for judge in caught if judge.startswith(("soak: ", "compare: codec"))} <= quiet


def test_every_fault_has_a_control_that_comes_before_it() -> None:
    silent = {one.id for one in CATALOGUE if {cell.kind for cell in one.cells} == {"quiet"}}
    known: set[str] = set()
    for one in CATALOGUE:
        # a worker that observes nothing has nothing in common with one that does
        assert (one.control == "") is (one.id in silent | {QUICK}), one.id
        assert one.control in known | {""}
        assert one.control == "" or by_id(one.control).kind == one.kind
        known.add(one.id)


def test_every_run_watches_all_its_other_rows() -> None:
    for one in CATALOGUE:
        if one.kind == "run" and one.id != "empty-answer":  # which leaves no row at all
            assert "all other rows" in {cell.judge for cell in one.cells}, one.id


def test_a_decision_that_catches_names_the_gate_that_made_it() -> None:
    """A run of one gate is on HOLD anyway."""
    for one in CATALOGUE:
        for cell in one.cells:
            if cell.judge == "decision" and cell.kind == "catch":
                assert cell.because.partition(":")[0] in {gate.id for gate in load_targets().gates}


def test_every_judge_exists() -> None:
    gates = load_targets().gates
    known = {gate.id for gate in gates} | set(load_targets().rows())
    known |= {"decision", "exit", "harness verify", "all other rows"}
    known |= {"compare: decision", "compare: rounds", "compare: sides"}
    known |= {"kept by the worker: buffers", "kept by the worker: mapped pages"}
    for one in CATALOGUE:
        for cell in one.cells:
            assert cell.judge in known or cell.judge.startswith(("soak: ", "compare: codec."))


# ---------------------------------------------------------------- one that is made for real


@pytest.fixture(scope="module")
def made(resting_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert resting_tree == environment.project_root()
    found = prover.prove(tmp_path_factory.mktemp("reports"), Progress(), only=[QUICK])
    assert [row["state"] for row in found.asked] == ["as expected"]
    assert found.verdict == "INCOMPLETE"
    return found.folder


@pytest.fixture
def proof(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "proofs" / made.name))


@pytest.mark.parametrize(
    ("fault_id", "buffers", "pages"),
    [("control-soak", 0, 0), ("leak-40k", 1, 0), ("leak-2k", 1, 0), ("growing-mapping-soak", 0, 1)],
)
def test_a_worker_counts_what_it_holds(
    tmp_path: Path, fault_id: str, buffers: int, pages: int
) -> None:
    """Of a leak that must stay quiet nobody else could say whether it is there."""
    one = by_id(fault_id)
    leak = Leak(
        tmp_path,
        heap_bytes_an_hour=one.settings.get("heap_bytes_an_hour", 0),
        mapped_bytes_an_hour=one.settings.get("mapped_bytes_an_hour", 0),
    )
    assert leak.kept() == {"buffers": 0, "mapped pages": 0}
    for hour in range(1, 25):
        leak.reach(hour * 3_600.0)
    kept = leak.kept()
    leak.close()
    leak.close()
    assert {name: int(size > 0) for name, size in kept.items()} == {
        "buffers": buffers,
        "mapped pages": pages,
    }
    found = Seen()
    for name, size in kept.items():
        found.add(f"kept by the worker: {name}", "some" if size else "none", "", size)
    cells = {cell["judge"]: cell["right"] for cell in row_of(one, found, **FACTS)["cells"]}
    assert all(right for judge, right in cells.items() if judge.startswith("kept by the worker"))


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


def _resealed(folder: Path, origin: dict[str, Any]) -> None:
    """Edit where the evidence says it is from, and the seal with it."""
    path = folder / QUICK / "origin.json"
    write_json(path, read_json(path) | origin)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit_row(lambda proof: proof["rows"][0]["files"].update({"origin.json": sha}))(folder)


def _younger(folder: Path) -> None:
    day = "2099-01-01T00:00:00+00:00"
    _resealed(folder, {"started": day})
    _edit_row(lambda proof: [one.update(started=day) for one in (proof, proof["rows"][0])])(folder)


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "a verdict": (
        _edit_row(lambda proof: proof["rows"][0]["cells"][0].update(seen="PASS")),
        "cells: claimed",
    ),
    "a state": (_edit_row(lambda proof: proof["rows"][0].update(state="missed")), "state: claimed"),
    "the whole verdict": (_edit_row(lambda proof: proof.update(verdict="PROVED")), "verdict"),
    "the digest of the gates": (
        _edit_row(lambda proof: proof["identity"].update(gates_digest="0" * 32)),
        "other code",
    ),
    "the commit": (
        _edit_row(lambda proof: proof["identity"].update(commit="0" * 40)),
        "of another commit than the proof",
    ),
    "the machine, everywhere": (
        _edit_row(
            lambda proof: [
                one["identity"].update(machine="0" * 8) for one in (proof, proof["rows"][0])
            ]
        ),
        "identity: claimed",
    ),
    "a younger row": (
        _edit_row(lambda proof: proof["rows"][0].update(started="2099-01-01T00:00:00+00:00")),
        "started: claimed",
    ),
    "a younger proof": (
        _edit_row(lambda proof: proof.update(started="2099-01-01T00:00:00+00:00")),
        "started: not when its oldest row began",
    ),
    "a younger row, evidence and seal": (
        lambda folder: _younger(folder),
        "started: its evidence was begun",
    ),
    "a reason": (
        _edit_row(lambda proof: proof["rows"][0]["cells"][0].update(reason="of no matter")),
        "cells: claimed",
    ),
    "evidence of another fault": (
        lambda folder: _resealed(folder, {"fault": "leak-40k"}),
        "its evidence is that of leak-40k",
    ),
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


def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a fault is put in when the proof in `folder` is gone on with."""
    times = []
    honest = soaks.inject

    def inject(*given: Any) -> None:
        times.append(1)
        honest(*given)

    monkeypatch.setattr(soaks, "inject", inject)
    found = prover.prove(folder.parent.parent, Progress(), only=[QUICK])
    assert [row["state"] for row in found.asked] == ["as expected"]
    assert prover.verify_proof(found.folder) == []
    return len(times)


def _edit_kept(**change: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        write_json(folder / QUICK / "row.json", read_json(folder / QUICK / "row.json") | change)

    return edit


def _spoil_reason(folder: Path) -> None:
    row = read_json(folder / QUICK / "row.json")
    row["cells"][0]["reason"] = "no observations, says somebody"
    write_json(folder / QUICK / "row.json", row)


AGAIN: dict[str, Callable[[Path], object]] = {
    "its evidence was edited": _append,
    "its evidence is gone": lambda folder: (folder / QUICK / "soak.json").unlink(),
    "its row was edited": _spoil_reason,
    "its row is of another commit": _edit_kept(
        identity={
            **dict.fromkeys(("content_digest", "gates_digest", "machine"), "0"),
            "commit": "1",
        }
    ),
    "its row is none": _edit_kept(files="all there"),
    "its row is of tomorrow": _edit_kept(started="2099-01-01T00:00:00+00:00"),
    "its row is old": _edit_kept(started="2020-01-01T00:00:00+00:00"),
}


@pytest.mark.parametrize("harm", AGAIN)
def test_a_kept_row_that_does_not_stand_is_made_again(
    proof: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    assert counted(proof, monkeypatch) == 0
    AGAIN[harm](proof)
    assert counted(proof, monkeypatch) == 1


def test_rows_of_another_tree_are_never_mixed_in(
    resting_tree: Path, proof: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted, edited, resumed: the rows before the edit are of another proof."""
    readme = resting_tree / "README.md"
    before = readme.read_bytes()
    try:
        readme.write_bytes(before + b"\nedited\n")
        assert counted(proof, monkeypatch) == 1
        assert len(list(proof.parent.iterdir())) == 2
    finally:
        readme.write_bytes(before)
    assert counted(proof, monkeypatch) == 0


def test_a_row_during_which_the_tree_was_edited_is_not_kept(
    resting_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, honest = resting_tree / "README.md", soaks.inject
    before = readme.read_bytes()

    def inject(*given: Any) -> None:
        honest(*given)
        readme.write_bytes(before + b"\nedited\n")

    monkeypatch.setattr(soaks, "inject", inject)
    try:
        with pytest.raises(HarnessError, match="another content digest than when the proof began"):
            prover.prove(tmp_path, Progress(), only=[QUICK])
    finally:
        readme.write_bytes(before)
    (folder,) = (tmp_path / "proofs").iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]


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


@pytest.mark.usefixtures("resting_tree")
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


@pytest.mark.usefixtures("resting_tree")
def test_what_a_killed_proof_had_prepared_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def interrupted(_: Fault, folder: Path, __: Progress) -> None:
        home = folder.parent
        seen.extend([path for path in home.iterdir() if path.name == runs.PREPARED])
        (home / runs.PREPARED / "half").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(soaks, "inject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prover.prove(tmp_path, Progress(), only=[QUICK])
    (folder,) = (tmp_path / "proofs").iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    (folder / runs.PREPARED / "half").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        prover.prove(tmp_path, Progress(), only=[QUICK])
    assert seen == []


@pytest.mark.usefixtures("resting_tree")
def test_what_cannot_be_run_here_is_told_and_is_status_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> None:
        raise CannotRunError("git: not installed")

    monkeypatch.setattr(soaks, "inject", unable)
    found = CliRunner().invoke(cli.main, ["prove", "--only", QUICK, "--reports", str(tmp_path)])
    assert found.exit_code == 3
    assert "git: not installed" in found.stdout


@pytest.mark.usefixtures("resting_tree")
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
