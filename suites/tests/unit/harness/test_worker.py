"""Risk: a worker that dies, hangs or lies gives samples, or outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.environment import project_root
from harness.worker import WorkerError, run_worker, run_workers

# Measures that only these tests have, put beside the real ones in the workers they start
MEASURES = {
    "echo": "return {'values': job['values'], 'block': 2, 'facts': {'cwd': os.getcwd()}}",
    "environ": "return {'values': [0], 'facts': dict(os.environ)}",
    "raising": "raise KeyError('the seventh row')",
    "silent": "os._exit(7)",
    "dying": "os.kill(os.getpid(), signal.SIGSEGV)",
    "unusual": "os.kill(os.getpid(), 40)",
    "chatty": "print('hello'); return {'values': [1.0], 'facts': {}}",
    "wordy": "return {'values': ['fast'], 'facts': {}}",
    "empty": "return {}",
    "loud": "sys.stderr.write('x' * 10_000_000); return {'values': [1.0], 'facts': {}}",
    "traced": "tracemalloc.start(); return {'values': [1.0], 'facts': {}}",
    "profiled": "sys.setprofile(lambda *_: None); return {'values': [1.0], 'facts': {}}",
    "untraced": "tracemalloc.stop(); return {'values': [1.0], 'facts': {}}",
    "nan": "return {'values': [float('nan')], 'facts': {}}",
    "hanging": "open(job['pid'], 'w').write(str(os.getpid())); time.sleep(100)",
    "parent": (
        "subprocess.Popen(['sh', '-c', f\"sleep 15; touch {job['survived']}\"])\n"
        "    time.sleep(100)"
    ),
}
HEAD = "import os, signal, subprocess, sys, time, tracemalloc\ndef sample(job):\n    "


@pytest.fixture(autouse=True)
def measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers find MEASURES; none of them may be left at the end."""
    folder = tmp_path / "measures"
    folder.mkdir()
    for name, body in MEASURES.items():
        (folder / f"{name}.py").write_text(HEAD + body)
    (tmp_path / "sitecustomize.py").write_text(
        f"import harness.measures\nharness.measures.__path__.append({str(folder)!r})\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project_root()), str(tmp_path)]))
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def wait_for(path: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path.name} was not written")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_ended(pid: int) -> bool:
    """Is it gone, or will it be within a moment? Death by a signal takes some time."""
    end = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_alive(pid)


def test_samples_come_back_as_they_were_taken() -> None:
    found = run_worker("echo", {"values": [1, 2.5, 1e-9], "control": True})
    assert found.values == [1.0, 2.5, 1e-9]
    assert (found.control, found.block) == (True, 2)
    assert found.facts == {"cwd": str(Path.cwd())}
    assert found.instruments["tracemalloc"] is False


def test_answers_come_in_the_order_of_the_jobs() -> None:
    done: list[int] = []
    jobs = [{"values": [float(place)]} for place in range(3)]
    found = run_workers("echo", jobs, at_once=2, on_done=lambda: done.append(1))
    assert [process.values for process in found] == [[0.0], [1.0], [2.0]]
    assert done == [1, 1, 1]
    assert run_workers("echo", []) == []


def test_what_slows_numpy_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "256")
    found = run_worker("environ", {})
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(found.facts)
    assert found.instruments["slow_blas"] is False
    assert found.facts["PYTHONPATH"].startswith(str(project_root()))


@pytest.mark.parametrize(
    ("measure", "word"),
    [
        ("raising", "exit status 1: KeyError: 'the seventh row'"),
        ("silent", "exit status 7: it said nothing"),
        ("dying", "killed by signal 11 (Segmentation fault)"),
        ("unusual", "killed by signal 40"),
        ("chatty", "makes no sense"),
        ("wordy", "makes no sense"),
        ("empty", "makes no sense"),
        ("no_such_measure", "No module named 'harness.measures.no_such_measure'"),
        ("base", "has no attribute 'sample'"),
    ],
)
def test_a_worker_without_samples_is_an_error_that_says_why(measure: str, word: str) -> None:
    with pytest.raises(WorkerError) as caught:
        run_worker(measure, {})
    assert str(caught.value).startswith(f"{measure}: ")
    assert word in str(caught.value)


def test_much_noise_does_not_block_a_worker() -> None:
    assert run_worker("loud", {}, timeout_s=60).values == [1.0]


def test_a_value_that_is_no_number_is_kept_for_the_gate_to_refuse() -> None:
    assert str(run_worker("nan", {}).values[0]) == "nan"


@pytest.mark.parametrize(
    ("measure", "variable", "name"),
    [
        ("traced", "", "tracemalloc"),
        ("untraced", "PYTHONTRACEMALLOC", "tracemalloc"),
        ("echo", "PYTHONTRACEMALLOC", "tracemalloc"),
        ("profiled", "", "tracing"),
    ],
)
def test_an_instrument_on_at_either_end_is_told(
    monkeypatch: pytest.MonkeyPatch, measure: str, variable: str, name: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    found = run_worker(measure, {"values": [1.0]})
    assert [key for key, on in found.instruments.items() if on] == [name]


def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    job = {"pid": str(tmp_path / "pid")}
    with pytest.raises(WorkerError, match="no answer in time, killed"):
        run_worker("hanging", job, timeout_s=2)
    written = tmp_path / "pid"  # not there, or empty, if 2 s were not enough to write it
    pid = written.read_text() if written.exists() else ""
    assert not pid or not is_alive(int(pid))


def test_what_a_worker_started_is_killed_with_it(tmp_path: Path) -> None:
    # it holds the pipe to the harness open: were it spared, the call would wait for it
    with pytest.raises(WorkerError, match="killed"):
        run_worker("parent", {"survived": str(tmp_path / "survived")}, timeout_s=2)
    assert not (tmp_path / "survived").exists()


def test_no_worker_outlives_an_interruption(tmp_path: Path) -> None:
    hanging = {"values": [1.0], "pid": str(tmp_path / "pid")}

    def interrupt() -> None:
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    (tmp_path / "measures" / "mixed.py").write_text(
        HEAD + f"if 'pid' in job: {MEASURES['hanging']}\n    {MEASURES['echo']}"
    )
    with pytest.raises(KeyboardInterrupt):
        run_workers("mixed", [{"values": [1.0]}, hanging], at_once=2, on_done=interrupt)
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "measures" / "mixed.py").write_text(
        HEAD + f"if 'pid' in job: {MEASURES['hanging']}\n    time.sleep(1); raise ValueError('no')"
    )
    with pytest.raises(WorkerError, match="ValueError: no"):
        run_workers("mixed", [{}, {"pid": str(tmp_path / "pid")}], at_once=2)


def test_no_worker_outlives_a_harness_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from harness.worker import run_worker as r; r('hanging', {'pid': sys.argv[1]})"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "pid")], cwd=project_root()
    )
    try:
        worker = int(wait_for(tmp_path / "pid"))
        assert is_alive(worker)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert has_ended(worker)
