"""Risk: `harness compare` as a whole says something wrong of two real commits.

Where a verdict is demanded, instructions are counted: time never fails a test. The comparisons by
time end by their limit and are checked for what must hold whatever the machine does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.compare.calibrating import run_calibration
from harness.compare.calibrations import load_calibration
from harness.compare.rawfile import read_rounds
from harness.compare.run import run_compare
from harness.environment import project_root
from harness.errors import HarnessError, UsageError
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
from suites.tests.unit.harness.compare.tiny import TIMINGS, commit, git, options_of, write


@needs_valgrind
def test_a_function_slowed_by_30_per_cent_is_regressed_and_no_other(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, {INIT: SLOWER})
    folder, document = result(root, first, "HEAD", instructions=True, benchmark="Work|Same.*3")
    assert verdicts(document) == {
        "counted.Same.time_same(3)": "NO REGRESSION",
        "counted.Work.time_work": "REGRESSED",
    }
    assert document["decision"]["exit_code"] == 1
    assert "CPU work (instructions), not time" in (folder / "compare.html").read_text()
    _, back = result(root, "HEAD", first, instructions=True, benchmark="Work")
    assert verdicts(back) == {"counted.Work.time_work": "IMPROVED"}
    assert back["decision"]["exit_code"] == 0


@needs_valgrind
def test_the_same_commit_twice_is_no_regression(root: Path) -> None:
    _, document = result(root, "HEAD", "HEAD", instructions=True, benchmark="Work")
    assert document["decision"] == {"verdict": "NO REGRESSION", "exit_code": 0, "reasons": []}
    assert document["run"]["is_aa"]


@needs_valgrind
def test_uncommitted_changes_are_compared_as_head(root: Path) -> None:
    write(root, {INIT: SLOWER})
    folder, document = result(root, "HEAD", "HEAD", instructions=True, benchmark="Work")
    assert verdicts(document) == {"counted.Work.time_work": "REGRESSED"}
    assert document["head"]["dirty"]
    assert not document["base"]["dirty"]
    assert document["head"]["content_digest"] in (folder / "summary.md").read_text()


def test_a_comparison_by_time_keeps_its_rounds_and_files(root: Path) -> None:
    folder, document = result(
        root, "HEAD", "HEAD", benchmark="Same", minutes_max=0.1, asv_results=root / "out" / "asv"
    )
    assert {path.name for path in folder.iterdir()} == {
        "calibration.json", "compare.html", "compare.json", "junit.xml", "manifest.json",
        "rounds.jsonl", "summary.md",
    }  # fmt: skip
    rounds = read_rounds(folder / "rounds.jsonl")
    for one in rounds:
        assert one.samples.keys() <= {"counted.Same.time_same(1)", "counted.Same.time_same(3)"}
    # whatever the machine did: without a calibration it can neither pass nor fail
    assert document["decision"]["exit_code"] == 3
    assert bool(rounds) is any((root / "out" / "asv").rglob("*-compare-*.json"))
    assert not list((root / "out" / "reports").glob("latest"))


def test_a_real_comparison_of_equal_code_counts_in_the_calibration(root: Path) -> None:
    options = options_of(root, "HEAD", "HEAD", benchmark="Same.*3")
    made = run_calibration(options, QUIET, rounds=2)
    assert (made.made, made.failed) == (2, {})
    (standing,) = made.standings.values()
    assert (standing.state, standing.rounds) == ("uncalibrated", 2)
    assert run_calibration(options, QUIET, rounds=3).made == 1  # it goes on where it was
    folder, document = result(root, "HEAD", "HEAD", benchmark="Same.*3", minutes_max=0.3)
    (line,) = document["benchmarks"]
    assert line["calibration"]["rounds"] == 3
    counted = line["first"]["look"] is not None
    data = read_json(folder / "manifest.json")["data"]
    bodies = {"counted.Same.time_same(3)": read_json(folder / "manifest.json")["benchmarks"]}
    body = bodies["counted.Same.time_same(3)"]["counted.Same.time_same(3)"]["body"]
    known = load_calibration(
        root / "out" / "calibrations", made.machine, {"counted.Same.time_same(3)": body}, data
    )
    assert [made_ for _, made_ in known.real.values()] == ([1] if counted else [])


def test_a_calibration_ends_in_time(root: Path) -> None:
    options = options_of(root, "HEAD", "HEAD", benchmark="Same.*3", minutes_max=0.05)
    assert run_calibration(options, QUIET, rounds=10_000).made < 10_000


def test_paths_that_do_not_differ_are_nothing_to_compare(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, {"docs/page.md": "x"})
    assert run_compare(options_of(root, first, "HEAD", paths=("src",)), QUIET) is None
    assert not (root / "out").exists()
    with pytest.raises(UsageError, match="neither side has it"):
        run_compare(options_of(root, first, "HEAD", paths=("sources",)), QUIET)


@pytest.mark.parametrize(
    ("more", "word"),
    [({"benchmark": "nothing"}, "none of"), ({"benchmark": "("}, "--benchmark")],
)
def test_wrong_use(root: Path, more: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        run_compare(options_of(root, "HEAD", "HEAD", **more), QUIET)
    with pytest.raises(UsageError, match="no commit 'nowhere'"):
        run_compare(options_of(root, "nowhere", "HEAD"), QUIET)


def test_a_side_whose_benchmarks_are_no_python_is_wrong_use(root: Path) -> None:
    broken = commit(root, {SUITE: "def (\n"})
    commit(root, {SUITE: TIMINGS})
    with pytest.raises(UsageError, match=r"a file of benchmarks cannot be read: counted"):
        run_compare(options_of(root, broken, "HEAD"), QUIET)


def test_a_calibration_begun_anew_counts_from_none(root: Path) -> None:
    options = options_of(root, "HEAD", "HEAD", benchmark="Same.*3")
    assert run_calibration(options, QUIET, rounds=2).made == 2
    notes = Notes()
    assert run_calibration(options, notes, rounds=2, is_fresh=True).made == 2
    assert any("set aside" in line for line in notes.lines)
    assert run_calibration(options, QUIET, rounds=2).made == 0
    assert len(list((root / "out" / "calibrations").iterdir())) == 2


SCRIPT = """
import sys
from pathlib import Path
from suites.tests.unit.harness.compare.tiny import options_of
from harness.compare.progress import CompareProgress
from harness.compare.run import run_compare

class Told(CompareProgress):
    def note(self, text):
        print(text, file=sys.stderr, flush=True)

run_compare(options_of(Path(sys.argv[1]), "HEAD", "HEAD", benchmark="Rest"), Told())
"""


def test_an_interruption_keeps_the_rounds_and_nothing_else(root: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root)],
        cwd=project_root(),
        env={**os.environ, "PYTHONPATH": str(project_root()), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
    )
    reports = root / "out" / "reports"
    deadline = time.monotonic() + 120
    while not any(len(path.read_text()) for path in reports.glob("*/rounds.jsonl")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    assert f"the raw results so far are in {next(reports.iterdir())}".encode() in said
    psutil.wait_procs(children, timeout=60)
    assert not [one for one in children if one.is_running()]
    (folder,) = reports.iterdir()
    assert [path.name for path in folder.iterdir()] == ["rounds.jsonl"]
    assert read_rounds(folder / "rounds.jsonl")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("stage", ["calls a sample", "counting instructions"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, HarnessError])
def test_an_interruption_before_any_round_leaves_no_folder_and_claims_none(
    root: Path, stage: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage.startswith("counting") and shutil.which("callgrind_control") is None:
        pytest.skip("valgrind is not installed")

    def broken_off(*_: object, **__: object) -> None:
        raise error

    notes = Notes()
    monkeypatch.setattr("harness.compare.timing.run_round", broken_off)
    monkeypatch.setattr("harness.compare.callgrind.SideProcess", broken_off)
    options = options_of(
        root, "HEAD", "HEAD", benchmark="Rest", instructions=stage.startswith("counting")
    )
    with pytest.raises(error):
        run_compare(options, notes)
    assert list((root / "out" / "reports").iterdir()) == []
    assert not any("so far" in line for line in notes.lines)


# ---------------------------------------------------------------- the command


def harness(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=project_root(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_refuses_what_it_cannot_compare(tmp_path: Path) -> None:
    reports = ["--reports", str(tmp_path)]
    done = harness("compare", "no-such-branch", *reports)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no commit 'no-such-branch'" in done.stderr or "no git checkout" in done.stderr
    assert harness("compare").returncode == 2
    assert harness("compare", "HEAD", "--max-minutes", "0").returncode == 2
    assert harness("calibrate", "--fresh", "--benchmark", "codec").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_that_nothing_differs(tmp_path: Path) -> None:
    if not (project_root() / ".git").exists():
        pytest.skip("not a git checkout: there are no commits to compare")
    done = harness("compare", "HEAD", "HEAD~0", "--paths", "src", "--reports", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "nothing to compare: no file below src differs\n")


def test_the_pages_are_written_again(root: Path) -> None:
    folder, _ = result(root, "HEAD", "HEAD", benchmark="Same.*3", minutes_max=0.01)
    before = (folder / "compare.html").read_bytes()
    for name in ("compare.html", "junit.xml", "summary.md"):
        (folder / name).unlink()
    done = harness("report", str(folder))
    assert done.returncode == 0
    assert "INCONCLUSIVE" in done.stdout
    assert (folder / "compare.html").read_bytes() == before
    assert harness("verify", str(folder)).returncode == 0
    (folder / "rounds.jsonl").write_text("{}\n")
    assert harness("verify", str(folder)).returncode == 1


def test_the_help_tells_each_exit_status() -> None:
    for command in ("compare", "calibrate"):
        done = harness(command, "--help")
        assert done.returncode == 0
        assert "Exit status" in " ".join(done.stdout.split())
        assert "130 interrupted" in " ".join(done.stdout.split())


def test_the_documents_schema_is_json() -> None:
    path = project_root() / "harness" / "compare" / "compare.schema.json"
    assert json.loads(path.read_text())["title"]
