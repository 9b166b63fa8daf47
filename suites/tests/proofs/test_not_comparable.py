"""Risk: `harness compare` passes what it could not compare, or calibrates with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.compare.calibrating import run_calibration
from harness.compare.documents import verify_compare
from harness.compare.progress import CompareProgress
from harness.compare.rawfile import read_rounds
from harness.compare.run import run_compare
from harness.errors import UsageError
from harness.evidence import read_json
from suites.tests.proofs.compared import (
    INIT,
    QUIET,
    SLOWER,
    SUITE,
    Notes,
    needs_valgrind,
    result,
    verdicts,
)
from suites.tests.unit.harness.compare.tiny import STORE, TIMINGS, commit, git, options_of, write


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {SUITE: TIMINGS.replace("time_work", "time_renamed", 1)},
            {
                "counted.Work.time_renamed": "BASE does not have this benchmark",
                "counted.Work.time_work": "HEAD does not have this benchmark",
            },
        ),
        (
            {SUITE: TIMINGS.replace("titanstore.work()", "titanstore.same()")},
            {"counted.Work.time_work": "its body differs between BASE and HEAD"},
        ),
        (
            {SUITE: TIMINGS.replace("        titanstore.work()", "        raise OSError('no')")},
            {"counted.Work.time_work": "its body differs between BASE and HEAD"},
        ),
        (
            {INIT: STORE.replace("def work()", "def gone()")},
            {"counted.Work.time_work": "head: AttributeError"},
        ),
    ],
    ids=["renamed", "changed", "broken", "not in this titanstore"],
)
def test_what_cannot_be_compared_is_never_a_pass(
    root: Path, change: dict[str, str], expected: dict[str, str]
) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, change)
    _, document = result(root, first, "HEAD", benchmark="Work", minutes_max=0.05)
    assert document["decision"]["exit_code"] == 3
    found = {one["id"]: one["reason"] for one in document["benchmarks"]}
    for name, reason in expected.items():
        if reason.startswith("head:") and not found[name].startswith("head:"):
            # time was up before the first round met it
            assert verdicts(document)[name] == "INCONCLUSIVE"
        else:
            assert found[name].startswith(reason)
            assert verdicts(document)[name] == "NOT COMPARABLE"


def without_benchmarks(root: Path) -> str:
    """A commit before the folder of benchmarks; HEAD has it again. Its id."""
    shutil.rmtree(root / "suites")
    older = commit(root, {"x.txt": ""})
    git(root, "checkout", "-q", "HEAD~1", "--", "suites")
    commit(root, {"y.txt": ""})
    return older


@needs_valgrind
@pytest.mark.parametrize("init", [STORE, SLOWER], ids=["as fast", "slower"])
def test_a_base_older_than_its_benchmarks_is_shown_and_never_passes(root: Path, init: str) -> None:
    older = without_benchmarks(root)
    commit(root, {INIT: init})
    notes = Notes()
    options = options_of(root, older, "HEAD", benchmark="Work", instructions=True)
    folder = run_compare(options, notes)
    assert folder is not None
    assert verify_compare(folder) == []
    document = read_json(folder / "compare.json")
    assert verdicts(document) == {"counted.Work.time_work": "NOT COMPARABLE"}
    (line,) = document["benchmarks"]
    assert line["reason"].startswith("BASE has no suites/timings: the checkout's benchmarks are")
    assert any(line["reason"] in note for note in notes.lines)
    assert line["first"]["ratio"] == pytest.approx(1.3 if init == SLOWER else 1.0, abs=0.02)
    assert line["second"] is None
    assert document["decision"]["exit_code"] == 3
    assert ("1.30" if init == SLOWER else "1.00") in (folder / "summary.md").read_text()


def test_times_of_a_base_older_than_its_benchmarks_are_shown_too(root: Path) -> None:
    older = without_benchmarks(root)
    for base, head in ((older, "HEAD"), (older, older)):
        folder, document = result(root, base, head, benchmark="Same.*3", minutes_max=0.1)
        assert verdicts(document) == {"counted.Same.time_same(3)": "NOT COMPARABLE"}
        assert document["decision"]["exit_code"] == 3
        made = len(read_rounds(folder / "rounds.jsonl"))
        assert document["benchmarks"][0]["first"]["rounds"] == made


@pytest.mark.parametrize(
    "edited",
    [TIMINGS.replace("titanstore.work()", "titanstore.same()"), "def half_saved(:\n"],
    ids=["other body", "half saved"],
)
def test_a_benchmark_edited_meanwhile_is_not_comparable(root: Path, edited: str) -> None:
    class Editor(CompareProgress):
        def stage(self, text: str) -> None:
            if text.startswith("calls a sample"):
                write(root, {SUITE: edited})

    options = options_of(root, "HEAD", "HEAD~0", benchmark="Work", minutes_max=0.01)
    folder = run_compare(options, Editor())
    assert folder is not None
    document = read_json(folder / "compare.json")
    assert verdicts(document) == {"counted.Work.time_work": "NOT COMPARABLE"}
    assert document["benchmarks"][0]["reason"] == "its body was edited during the comparison"


def test_rounds_of_a_benchmark_edited_meanwhile_calibrate_nothing(root: Path) -> None:
    class Editor(CompareProgress):
        def stage(self, text: str) -> None:
            if text.endswith("A/A rounds of 1 benchmarks"):
                write(root, {SUITE: TIMINGS.replace("titanstore.work()", "titanstore.same()")})

    options = options_of(root, "HEAD", "HEAD", benchmark="Work")
    with pytest.raises(UsageError, match=r"counted\.Work\.time_work: edited"):
        run_calibration(options, Editor(), rounds=3)
    (session,) = (root / "out" / "calibrations").rglob("*.jsonl")
    assert len(session.read_text().splitlines()) == 1  # the header


@pytest.mark.parametrize("broken_side", ["HEAD", "BASE", "both"])
@pytest.mark.parametrize("instructions", [False, pytest.param(True, marks=needs_valgrind)])
def test_a_side_that_cannot_be_imported_is_not_comparable(
    root: Path, broken_side: str, *, instructions: bool
) -> None:
    good = git(root, "rev-parse", "HEAD")
    bad = commit(root, {INIT: "raise RuntimeError('broken build')\n"})
    pair = {"HEAD": (good, bad), "BASE": (bad, good), "both": (bad, bad)}[broken_side]
    notes = Notes()
    folder = run_compare(options_of(root, *pair, instructions=instructions), notes)
    assert folder is not None
    assert verify_compare(folder) == []
    document = read_json(folder / "compare.json")
    assert set(verdicts(document).values()) == {"NOT COMPARABLE"}
    assert any("Work.time_work" in name for name in verdicts(document))
    why = "titanstore cannot be imported: RuntimeError: broken build"
    sides = ["BASE", "HEAD"] if broken_side == "both" else [broken_side]
    assert document["decision"]["exit_code"] == 3
    (reason,) = document["decision"]["reasons"]  # once, not once a benchmark
    visible = (folder / "summary.md").read_text().split("<details>")[0]
    for text in (reason, visible, (folder / "junit.xml").read_text()):
        assert all(f"{side}: {why}" in text.replace("\\", "") for side in sides)
    assert [line for line in notes.lines if why in line] == [
        f"{side} is NOT COMPARABLE: {why}" for side in sides
    ]


def test_a_calibration_with_a_store_that_cannot_be_imported_calibrates_nothing(root: Path) -> None:
    commit(root, {INIT: "raise RuntimeError('broken build')\n"})
    made = run_calibration(options_of(root, "HEAD", "HEAD"), QUIET, rounds=2)
    assert (made.made, made.standings) == (0, {})
    assert all("broken build" in why for why in made.failed.values())
    assert made.failed


def test_a_benchmark_that_kills_its_process_costs_only_itself(root: Path) -> None:
    """Only on HEAD, after two calls, so that the rounds meet it and not the loops of BASE."""
    first = git(root, "rev-parse", "HEAD")
    dying = "def work():\n    import os\n    os._exit(9)\n"
    commit(root, {INIT: STORE.replace("def work():", f"{dying}\n\ndef before():", 1)})
    _, document = result(root, first, "HEAD", benchmark="Work|Same.*3", minutes_max=0.2)
    lines = {one["id"]: one for one in document["benchmarks"]}
    if lines["counted.Work.time_work"]["verdict"] != "INCONCLUSIVE":  # time was up before
        assert lines["counted.Work.time_work"]["verdict"] == "NOT COMPARABLE"
        assert lines["counted.Work.time_work"]["reason"] == "head: exit status 9: it said nothing"
    assert lines["counted.Same.time_same(3)"]["verdict"] != "NOT COMPARABLE"
    assert document["decision"]["exit_code"] == 3


def test_a_tree_edited_while_it_is_copied_calibrates_nothing(root: Path) -> None:
    class Editor(CompareProgress):
        def stage(self, text: str) -> None:
            if text.startswith("HEAD: "):
                write(root, {INIT: SLOWER})

    write(root, {"new.txt": "x"})
    with pytest.raises(UsageError, match="edited while it was copied"):
        run_calibration(options_of(root, "HEAD", "HEAD"), Editor(), rounds=2)
    assert not (root / "out" / "calibrations").exists()
