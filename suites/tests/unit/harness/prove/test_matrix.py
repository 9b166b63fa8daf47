"""Risk: a row says more than its judges did, or the catalogue leaves out a fault or its control."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from harness import cli
from harness.prove.catalogue import CATALOGUE, by_id
from harness.prove.fault import LEFT_OUT, Cell, catch
from harness.prove.matrix import exit_code_of, left_out, not_run_row, row_of, verdict_of
from harness.prove.seen import Seen
from harness.targets import load_targets
from suites.tests.unit.harness.prove.faults import FACTS, QUICK, fault, seen

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


def test_the_list_names_every_fault() -> None:
    found = CliRunner().invoke(cli.main, ["prove", "--list"])
    assert found.exit_code == 0
    assert all(one.id in found.stdout for one in CATALOGUE)


def test_a_judge_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="each of its judges once"):
        fault(CATCH, CATCH)
    with pytest.raises(KeyError):
        by_id("none")
