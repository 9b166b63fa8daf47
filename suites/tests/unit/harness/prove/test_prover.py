"""Risk: a proof that says more than its evidence, or cannot be made to fail itself."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli, environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.progress import Progress
from harness.prove import prover, runs, soaks
from harness.prove.catalogue import by_id
from harness.prove.fault import Fault
from harness.prove.matrix import row_of
from harness.prove.seen import CannotRunError, Seen
from harness.prove.soaker import Leak
from suites.tests.unit.harness.prove.faults import FACTS, QUICK


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
