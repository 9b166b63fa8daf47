"""Risk: a kill "at every write step" that leaves steps out, or kills after the step."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from harness.probes.writes import TracingError, kill_after, run_traced, why_not

REASON = why_not()
pytestmark = [
    pytest.mark.skipif(bool(REASON), reason=f"children cannot be traced here: {REASON}"),
    # a traced child is waited for by whatever thread comes first
    pytest.mark.xdist_group("traced"),
]

STEPS = ("openat", "pwrite64", "fdatasync", "pwrite64", "fdatasync", "rename")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def work_in(folder: Path) -> None:
    descriptor = os.open(folder / "new", os.O_CREAT | os.O_RDWR)
    for place in range(2):
        os.pwrite(descriptor, b"abc", 3 * place)
        os.fdatasync(descriptor)
    os.lseek(descriptor, 0, 0)
    os.read(descriptor, 6)
    os.close(descriptor)
    (folder / "new").rename(folder / "done")


def test_steps_are_the_calls_that_change_a_file_in_order(folder: Path) -> None:
    trial = run_traced(lambda: work_in(folder))
    assert trial.steps in (STEPS, tuple("renameat" if s == "rename" else s for s in STEPS))
    assert not trial.was_killed
    assert trial.status == 0
    assert (folder / "done").read_bytes() == b"abcabc"


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_what_is_killed_before_a_step_has_not_made_it(folder: Path, step: int) -> None:
    trial = run_traced(lambda: work_in(folder), kill_before=step)
    assert trial.was_killed
    assert len(trial.steps) == step + 1
    assert not (folder / "done").exists()
    written = {0: None, 1: 0, 2: 3, 3: 3, 4: 6, 5: 6}[step]
    seen = (folder / "new").stat().st_size if (folder / "new").exists() else None
    assert seen == written


def test_past_the_last_step_it_ends_by_itself(folder: Path) -> None:
    trial = run_traced(lambda: work_in(folder), kill_before=len(STEPS))
    assert not trial.was_killed
    assert (folder / "done").exists()


def test_steps_of_other_threads_are_counted(folder: Path) -> None:
    def work() -> None:
        thread = threading.Thread(target=work_in, args=[folder])
        thread.start()
        thread.join()

    assert len(run_traced(work).steps) == len(STEPS)
    assert run_traced(work, kill_before=3).was_killed


def test_an_error_of_the_work_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ValueError("no such thing")

    assert run_traced(work).status == 1
    assert "no such thing" in capfd.readouterr().err


def test_killed_at_a_moment_or_not_at_all(folder: Path) -> None:
    assert kill_after(signal.pause, 0.02).was_killed
    trial = kill_after(lambda: work_in(folder), None)
    assert not trial.was_killed
    assert trial.status == 0
    assert (folder / "done").exists()


def test_an_unknown_processor_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(TracingError, match="vax"):
        run_traced(lambda: None)
    assert "vax" in why_not()
