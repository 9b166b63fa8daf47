"""A fresh process for each set of samples.

The parent starts `python -m harness.worker MODULE`, writes a job as JSON to its standard input and
reads the answer from its standard output. MODULE is one of harness.measures; its `sample(job)`
does the work. A worker that dies, hangs or answers nonsense is a failure of its measurement, with
its last words as the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.environment import instruments, project_root
from harness.measurement import Process

__all__ = ["WorkerError", "run_worker", "run_workers"]

_CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they slow numpy's BLAS several times over
_LAST_WORDS = 600
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerError(Exception):
    """A worker did not deliver samples; the message says why, and which of them it was."""


def run_worker(measure: str, job: Mapping[str, Any], *, timeout_s: float = 300.0) -> Process:
    """Take the samples of one job in a fresh process.

    Raises
    ------
    WorkerError
        It exited with an error, was killed, hung, or its answer is not what `sample` returns.
    """
    process = _start(measure, job)
    return _finish(process, measure, job, time.monotonic() + timeout_s)


def run_workers(
    measure: str,
    jobs: Sequence[Mapping[str, Any]],
    *,
    at_once: int = 1,
    timeout_s: float = 300.0,
    on_done: Callable[[], None] | None = None,
) -> list[Process]:
    """`run_worker` for each job, in order; `at_once` > 1 only where time is not measured.

    Whatever happens, no worker outlives the call.
    """
    done: list[Process] = []
    running: list[tuple[subprocess.Popen[bytes], Mapping[str, Any], float]] = []
    waiting = list(jobs)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running.append((_start(measure, job), job, time.monotonic() + timeout_s))
            process, job, deadline = running[0]
            done.append(_finish(process, measure, job, deadline))
            running.pop(0)
            if on_done is not None:
                on_done()
    finally:
        for process, _, _ in running:
            _kill(process)
    return done


def _start(measure: str, job: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(project_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.worker", measure],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C goes to the parent, which ends its workers itself
    )
    assert process.stdin is not None
    text = json.dumps({**job, "parent": os.getpid()}).encode()
    # a broken pipe: it is dead already, and its last words say why
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(text)
    process.stdin = None
    return process


def _finish(
    process: subprocess.Popen[bytes], measure: str, job: Mapping[str, Any], deadline: float
) -> Process:
    try:
        out, err = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        raise WorkerError(f"{measure}: no answer in time, killed") from None
    except BaseException:
        _kill(process)
        raise
    if process.returncode != 0:
        words = err.decode(errors="replace").strip()[-_LAST_WORDS:] or "it said nothing"
        ended = (
            f"killed by signal {-process.returncode} ({signal.strsignal(-process.returncode)})"
            if process.returncode < 0
            else f"exit status {process.returncode}"
        )
        raise WorkerError(f"{measure}: {ended}: {words.splitlines()[-1]}")
    try:
        answer = json.loads(out)
        return Process(
            control=bool(job.get("control", False)),
            values=[float(value) for value in answer["values"]],
            block=int(answer.get("block", 1)),
            instruments=dict(answer["instruments"]),
            facts=dict(answer["facts"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"{measure}: the worker's answer makes no sense: {error!r}") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker and whatever it started: it leads a process group of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _end_with(parent: int) -> None:
    """Be killed by the kernel when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the harness has ended")


def _main() -> None:
    measure = sys.argv[1]
    job = json.loads(sys.stdin.buffer.read())
    _end_with(job["parent"])
    module = importlib.import_module(f"harness.measures.{measure}")
    before = instruments()
    answer = module.sample(job)
    # what was on at either end was on while it measured
    answer["instruments"] = {name: on or before[name] for name, on in instruments().items()}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
