"""Risk: the exit status says something else than the run, or an interrupted run leaves traces."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psutil
import pytest
from click.testing import CliRunner, Result

from harness import cli
from harness.cli import main
from harness.environment import project_root
from harness.errors import HarnessError, UsageError
from harness.run import Options
from harness.targets import load_targets
from harness.workload.trace import load_trace
from suites.tests.unit.harness.small_run import write_run


def harness(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="harness")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "reports" / "run")


# ---------------------------------------------------------------- exit statuses of `gate`


def gate_that(
    monkeypatch: pytest.MonkeyPatch, run: Path, *words: str, **decision: Any
) -> tuple[Result, Options]:
    """`harness gate` with a run that is there already in place of one that takes minutes."""
    seen: list[Options] = []
    verdicts = json.loads((run / "verdicts.json").read_text())
    verdicts["decision"] |= decision
    (run / "verdicts.json").write_text(json.dumps(verdicts))

    def instead(options: Options, _progress: object) -> Path:
        seen.append(options)
        return run

    monkeypatch.setattr(cli, "run_gates", instead)
    return harness("gate", *words), seen[0]


@pytest.mark.parametrize(("verdict", "status"), [("GO", 0), ("NO-GO", 1), ("HOLD", 3), ("HOLD", 1)])
def test_the_exit_status_is_the_decision_of_the_file(
    monkeypatch: pytest.MonkeyPatch, run: Path, verdict: str, status: int
) -> None:
    found, _ = gate_that(monkeypatch, run, verdict=verdict, exit_code=status)
    assert found.exit_code == status


def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    words = ["--profile", "release", "--only", "latency.hot", "--only", "quality.bits"]
    words += ["--config", str(tmp_path / "x.toml"), "--waivers", str(tmp_path / "x.toml")]
    words += ["--corpus", str(tmp_path), "--recorded", str(tmp_path), "--git", str(tmp_path)]
    words += ["--reports", str(tmp_path), "--seed", "7", "--strict", "--keep"]
    _, options = gate_that(monkeypatch, run, *words)
    assert options.profile == "release"
    assert options.only == ("latency.hot", "quality.bits")
    assert options.config == options.waivers == tmp_path / "x.toml"
    assert options.corpus == options.recorded == options.git == options.reports == tmp_path
    assert (options.seed, options.strict, options.keep) == (7, True, True)
    # what only proofs may ask for has no option
    assert (options.empty_body, options.sizes) == (False, None)


def test_no_option_weakens_a_run_by_itself(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    _, options = gate_that(monkeypatch, run)
    assert (options.profile, options.only, options.strict, options.waivers) == (
        "ci",
        (),
        False,
        None,
    )
    assert options.reports == project_root() / "reports"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("no gate 'x'"), 2),
        (HarnessError("the disk is full"), 4),
        (OSError(28, "No space left on device"), 4),
        (AssertionError("cannot be"), 4),
        (ValueError("Out of range"), 4),
        (KeyError("id"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_run_that_fails_never_leaves_with_the_status_of_a_verdict(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def instead(*_: object) -> Path:
        raise error

    monkeypatch.setattr(cli, "run_gates", instead)
    found = harness("gate")
    assert found.exit_code == status
    message = found.stderr.strip().splitlines()[-1]
    assert message.startswith(("harness: ", "interrupted: "))


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["gate", "--profile", "weekly"], "weekly"),
        (["gate", "--corpus", "/no/such"], "/no/such"),
        (["gate", "--config", "/no/such"], "/no/such"),
        (["gate", "--waivers", "/no/such"], "/no/such"),
        (["gate", "--git", "/no/such"], "/no/such"),
        (["gate", "--recorded", "/no/such"], "/no/such"),
        (["gate", "--seed", "-1"], "-1"),
        (["gate", "now"], "now"),
        (["gate", "--fast"], "--fast"),
        (["gates"], "gates"),
        ([], "Usage"),
        (["verify", "/no/such"], "no run /no/such; make one with `harness gate`"),
        (["report", "/no/such"], "no run"),
        (["trace", "git", "/no/such", "--out", "x"], "/no/such"),
        (["trace", "editing"], "--out"),
    ],
)
def test_wrong_use_is_two_and_says_what_is_wrong(words: list[str], word: str) -> None:
    found = harness(*words)
    assert found.exit_code == 2
    assert word in found.stderr + found.stdout


def _numbers(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of each option of a command, and of those below it, that takes a number."""
    for name, below in getattr(command, "commands", {}).items():
        yield from _numbers(below, (*words, name))
    for option in command.params:
        if isinstance(option.type, click.types.FloatParamType):
            yield (*words, option.opts[0])


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize("words", list(_numbers(main, ())), ids=" ".join)
def test_a_number_that_nothing_can_be_compared_with_is_refused(
    words: tuple[str, ...], number: str
) -> None:
    """`compare --max-minutes nan` never ended: no time is later than that."""
    found = harness(*words, number)
    assert found.exit_code == 2
    assert number in found.stderr


@pytest.mark.parametrize("words", [["--help"], ["gate", "-h"], ["trace", "git", "--help"]])
def test_help_is_no_failure(words: list[str]) -> None:
    found = harness(*words)
    assert found.exit_code == 0
    assert "Usage: harness" in found.stdout


# ---------------------------------------------------------------- verify, report, targets, doctor


def test_verify_agrees_with_an_untouched_run(run: Path) -> None:
    found = harness("verify", run)
    assert (found.exit_code, found.stdout) == (
        0,
        "run: every verdict follows from the raw samples\n",
    )


def test_verify_names_each_difference(run: Path) -> None:
    path = run / "verdicts.json"
    path.write_text(path.read_text().replace('"NOT RUN"', '"PASS"', 1))
    found = harness("verify", run)
    assert found.exit_code == 1
    assert "claimed 'PASS', the evidence gives 'NOT RUN'" in found.stdout
    assert re.search(r"run does not stand: \d+ differences", found.stderr)


@pytest.mark.parametrize("name", ["manifest.json", "verdicts.json", "targets.json"])
def test_verify_of_half_a_run_is_one_with_a_reason(run: Path, name: str) -> None:
    (run / name).unlink()
    found = harness("verify", run)
    assert found.exit_code == 1
    assert f"{name} is missing" in found.stderr


def test_report_writes_the_pages_anew_and_judges_nothing(run: Path) -> None:
    before = (run / "verdicts.json").read_bytes()
    found = harness("report", run)
    assert found.exit_code == 0
    assert "CI HOLD" in found.stdout
    assert (run / "report.html").is_file()
    assert (run / "verdicts.json").read_bytes() == before


def test_report_of_no_run_is_one_with_a_reason(tmp_path: Path) -> None:
    found = harness("report", tmp_path)
    assert found.exit_code == 1
    assert "verdicts.json" in found.stderr


def test_targets_lists_every_row() -> None:
    found = harness("targets")
    assert found.exit_code == 0
    for gate in load_targets().gates:
        assert gate.id in found.stdout
        for row in gate.rows:
            assert f"{row.id}: " in found.stdout


def test_doctor_tells_a_machine_that_cannot_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.doctor import Finding

    fine = Finding(what="git", state="good", seen="found")
    poor = Finding(what="load", state="worse", seen="9", advice="wait")
    gone = Finding(what="disk", state="missing", seen="full", advice="make room")
    monkeypatch.setattr(cli, "diagnose", lambda: [fine, poor])
    assert harness("doctor").exit_code == 0
    monkeypatch.setattr(cli, "diagnose", lambda: [fine, poor, gone])
    found = harness("doctor")
    assert found.exit_code == 3
    assert "MISS  disk: full\n      make room" in found.stdout


# ---------------------------------------------------------------- traces


def test_a_trace_that_is_written_replays(tmp_path: Path) -> None:
    out = tmp_path / "trace.jsonl.gz"
    words: list[str | Path] = ["trace", "editing", "--out", out, "--reads", "500", "--seed", "3"]
    assert harness(*words).exit_code == 0
    first = load_trace(out)
    assert first.reads >= 500
    harness(*words)
    assert load_trace(out).digest == first.digest


def test_a_trace_of_a_folder_without_history_is_wrong_use(tmp_path: Path) -> None:
    found = harness("trace", "git", tmp_path, "--out", tmp_path / "x.gz")
    assert found.exit_code == 2
    assert "git log" in found.stderr


# ---------------------------------------------------------------- interruptions of a real run


def is_worker(process: psutil.Process) -> bool:
    try:
        return "harness.worker" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


def start_gate(reports: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A real `harness gate`, and its workers once they are there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "gate", "--only", "latency.hot", "--reports", reports],
        cwd=project_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        workers = [
            one for one in psutil.Process(process.pid).children(recursive=True) if is_worker(one)
        ]
        if len(workers) == 2:
            return process, workers
        time.sleep(0.02)
    process.kill()
    _, err = process.communicate()
    raise AssertionError(f"no workers: {err.decode()}")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "cancelled"]
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    reports = tmp_path / "reports"
    process, workers = start_gate(reports)
    assert len(list(reports.iterdir())) == 1
    os.kill(process.pid, number)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, err.decode()
    assert out == b""
    assert b"Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    assert list(reports.iterdir()) == []
