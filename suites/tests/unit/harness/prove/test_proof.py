"""Risk: an old, edited, partial or foreign proof counts as a current one."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.beside import lay_beside
from harness.environment import project_root
from harness.errors import EvidenceError
from harness.evidence import read_json, verdicts_of_run, write_json
from harness.gates import Verdict, decide
from harness.prove.catalogue import CATALOGUE
from harness.prove.fault import Fault
from harness.prove.matrix import row_of, verdict_of
from harness.prove.proof import Identity, check_proof, gates_digest, judge_proof, proofs_in
from harness.prove.seen import Seen
from suites.tests.unit.harness.small_run import ENDED_S, SETTING, write_run

DIGEST = "a" * 32
WANTED = Identity(
    commit=SETTING.commit,
    content_digest=SETTING.content_digest,
    gates_digest=DIGEST,
    machine=SETTING.machine,
)
DAY_S = 86_400


def at(moment_s: float) -> str:
    return datetime.datetime.fromtimestamp(moment_s, datetime.UTC).isoformat(timespec="seconds")


MADE = at(ENDED_S - 3600)


def right(fault: Fault) -> Seen:
    """What judges would have said who all were right."""
    seen = Seen()
    for cell in fault.all_cells:
        value = None if cell.between is None else sum(cell.between) / 2
        seen.add(cell.judge, cell.wanted[0], cell.because, value)
    return seen


def made_proof(**more: Any) -> dict[str, Any]:
    """A whole proof in which every judge said what was wanted; made by hand, nothing ran."""
    identity = more.get("identity", asdict(WANTED))
    facts = {"seconds": 1.0, "started": MADE, "identity": identity}
    rows = [row_of(one, right(one), **facts, files={"evidence": "0" * 64}) for one in CATALOGUE]
    return {
        "schema_version": 2,
        "id": "a-proof",
        "verdict": "PROVED",
        "identity": identity,
        "dirty": False,
        "machine": {},
        "command": ["harness", "prove"],
        "started": MADE,
        "ended": MADE,
        "rows": rows,
        **more,
    }


def judged(proof: dict[str, Any] | None, now: float = ENDED_S) -> str:
    return judge_proof(proof, wanted=WANTED, now=now)


def test_a_whole_proof_of_these_gates_counts() -> None:
    proof = made_proof()
    assert check_proof(proof) == ""
    assert judged(proof) == ""


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


def _row_of(proof: dict[str, Any], fault: str) -> dict[str, Any]:
    (row,) = (row for row in proof["rows"] if row["fault"] == fault)
    return dict(row)  # its cells are the proof's own


def _cell(change: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """An edit of the first cell that catches something."""

    def edit(proof: dict[str, Any]) -> None:
        _row_of(proof, "hit-ratio-94")["cells"][0].update(change)

    return edit


def _missed_and_hidden(proof: dict[str, Any]) -> None:
    """The row said that the fault was missed; state and cell were edited, the verdict was not."""
    _cell({"seen": "PASS", "right": True})(proof)


def _easier(proof: dict[str, Any]) -> None:
    _cell({"wanted": "PASS", "seen": "PASS"})(proof)


def _older(proof: dict[str, Any]) -> None:
    proof["rows"][3]["started"] = "2026-01-01T00:00:00+00:00"


def _later(proof: dict[str, Any]) -> None:
    for row in proof["rows"]:
        row["started"] = "2099-01-01T00:00:00+00:00"


def _of(name: str, place: int | None = None) -> Callable[[dict[str, Any]], None]:
    """Another commit, content, gates or machine: of all of it, or of one row."""

    def edit(proof: dict[str, Any]) -> None:
        for one in [proof, *proof["rows"]] if place is None else [proof["rows"][place]]:
            one["identity"] = {**one["identity"], name: "b" * 8}

    return edit


HARM: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another commit": (_of("commit"), "of another commit"),
    "another content": (_of("content_digest"), "of another content digest"),
    "other gates": (_of("gates_digest"), "of another gates digest"),
    "another machine": (_of("machine"), "of another machine"),
    "one row of another commit": (_of("commit", 5), "or a row of it is"),
    "one row of another content": (_of("content_digest", 0), "or a row of it is"),
    "one row of another machine": (_of("machine", -1), "or a row of it is"),
    "a fault left out": (_drop, "INCOMPLETE"),
    "a fault twice": (_repeat, "INCOMPLETE"),
    "a fault missed": (_miss, "NOT PROVED"),
    "a fault that could not run": (_unable, "INCOMPLETE"),
    "a judge left out": (_quieter, "not what its judges said"),
    "a judge that was wrong": (_cell({"right": False}), "not what its judges said"),
    "a miss called right": (_missed_and_hidden, "hit-ratio-94 is not what its judges said"),
    "a softer catalogue": (_easier, "not what its judges said"),
    "another reason": (
        lambda proof: _row_of(proof, "other-commit")["cells"][0].update(reason="by accident"),
        "not what its judges said",
    ),
    "another value": (_cell({"value": 0.5}), "not what its judges said"),
    "no value": (_cell({"value": None}), "not what its judges said"),
    "one old row": (_older, "days old, at most 30 count"),
    "from the future": (_later, "the clock was set back"),
    "ended in the future": (
        lambda proof: proof.update(ended=at(ENDED_S + 120)),
        "the clock was set back",
    ),
    "a row begun after the end": (
        lambda proof: proof.update(ended=at(ENDED_S - 7_200)),
        "began after its end",
    ),
    "a day that there is not": (
        lambda proof: proof["rows"][2].update(started="2027-13-41T00:00:00+00:00"),
        "days old",
    ),
    "a field too many": (lambda proof: proof.update(score=1), "breaks its schema"),
    "an older form": (lambda proof: proof.update(schema_version=1), "breaks its schema"),
    "no rows": (lambda proof: proof.update(rows=[]), "INCOMPLETE"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_proof_that_is_not_whole_or_current_does_not_count(harm: str) -> None:
    proof = copy.deepcopy(made_proof())
    change, word = HARM[harm]
    change(proof)
    fault = judged(proof)
    assert word in fault
    assert fault.startswith("no current proof that the gates can fail")


@pytest.mark.parametrize(
    ("days", "counts"), [(-0.01, False), (0, True), (29.9, True), (30.1, False), (400, False)]
)
def test_a_proof_holds_for_30_days_of_a_clock_that_goes_on(days: float, counts: bool) -> None:
    began = ENDED_S - 3600
    assert (judged(made_proof(), now=began + days * DAY_S) == "") is counts


def test_no_proof_says_what_to_do() -> None:
    assert judged(None).endswith("run `harness prove`")


def test_a_verdict_written_by_hand_does_not_help() -> None:
    proof = made_proof(verdict="PROVED")
    _miss(proof)
    assert verdict_of(proof["rows"]) == "NOT PROVED"
    assert judged(proof)


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
