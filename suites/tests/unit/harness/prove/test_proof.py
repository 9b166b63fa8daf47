"""Risk: an old, edited, partial or foreign proof counts as a current one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.environment import project_root
from harness.prove.matrix import verdict_of
from harness.prove.proof import check_proof, gates_digest, judge_proof
from suites.tests.unit.harness.prove.proofs import WANTED, at, made_proof
from suites.tests.unit.harness.small_run import ENDED_S

DAY_S = 86_400


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
