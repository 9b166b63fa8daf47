"""A fresh process for each set of samples.

The parent starts `python -m harness.worker MODULE`, writes a job as JSON to its standard input and
reads the answer from its standard output. MODULE is one of harness.measures, or a module's full
name; its `sample(job)` does the work. A worker that dies, hangs or answers nonsense is a failure of
its measurement, with its last words as the reason.
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
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from harness.environment import instruments, project_root
from harness.measurement import Process

__all__ = ["Task", "WorkerError", "end_with", "run_each", "run_tasks", "run_worker", "run_workers"]

_CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they slow numpy's BLAS several times over
_LAST_WORDS = 600
_POLL_S, _POLL_S_MAX = 2e-3, 2e-2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerError(Exception):
    """A worker did not deliver samples; the message says why, and which of them it was."""


Task = tuple[str, Mapping[str, Any]]
"""A module of harness.measures or any by its full name, and the job for its `sample`."""


@dataclass(slots=True)
class _Running:
    """A worker under way. Its answer goes to a file: a full pipe would stop it."""

    task: Task
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    deadline: float
    is_late: bool = False


def run_worker(
    measure: str,
    job: Mapping[str, Any],
    *,
    timeout_s: float = 300.0,
    on_start: Callable[[int], None] | None = None,
) -> Process:
    """Take the samples of one job in a fresh process; `on_start` is told its process id.

    Raises
    ------
    WorkerError
        It exited with an error, was killed, hung, or its answer is not what `sample` returns.
    """
    return run_workers(measure, [job], timeout_s=timeout_s, on_start=on_start)[0]


def run_workers(
    measure: str,
    jobs: Sequence[Mapping[str, Any]],
    *,
    at_once: int = 1,
    timeout_s: float = 300.0,
    on_done: Callable[[], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> list[Process]:
    """`run_worker` for each job, in order; `at_once` > 1 only where time is not measured."""
    tasks = [(measure, job) for job in jobs]
    return run_tasks(
        tasks, at_once=at_once, timeout_s=timeout_s, on_done=on_done, on_start=on_start
    )


def run_tasks(
    tasks: Sequence[Task],
    *,
    at_once: int = 1,
    timeout_s: float = 300.0,
    on_done: Callable[[], None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> list[Process]:
    """Workers of any measures, answers in the order of the tasks; begun in that order too.

    Whatever happens, no worker outlives the call.
    """
    found = run_each(
        tasks,
        at_once=at_once,
        timeout_s=timeout_s,
        on_done=on_done,
        on_start=on_start,
        is_patient=False,
    )
    answers = [one for one in found if isinstance(one, Process)]
    assert len(answers) == len(tasks)
    return answers


def run_each(
    tasks: Sequence[Task],
    *,
    at_once: int = 1,
    timeout_s: float = 300.0,
    on_done: Callable[[], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    is_patient: bool = True,
) -> list[Process | WorkerError]:
    """`run_tasks` where the failure of one worker is its answer, and the others go on.

    `is_patient` False: the first failure is raised, and ends the others.
    """
    done: dict[int, Process | WorkerError] = {}
    running: dict[int, _Running] = {}
    waiting = list(enumerate(tasks))
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                place, task = waiting.pop(0)
                running[place] = _start(task, time.monotonic() + timeout_s)
                if on_start is not None:
                    on_start(running[place].process.pid)
            ended = _wait_for_any(running)
            try:
                done[ended] = _answer(running[ended])
            except WorkerError as error:
                if not is_patient:
                    raise
                done[ended] = error
            _close(running.pop(ended))
            if on_done is not None:
                on_done()
    finally:
        for one in running.values():
            _kill(one.process)
            _close(one)
    return [done[place] for place in range(len(tasks))]


def _wait_for_any(running: Mapping[int, _Running]) -> int:
    """The first worker to end; raises WorkerError for one that takes too long."""
    pause_s = _POLL_S
    while True:
        for place, one in running.items():
            if one.process.poll() is not None:
                return place
            if time.monotonic() > one.deadline:
                _kill(one.process)
                one.is_late = True
                return place
        if len(running) == 1:  # nothing else to look at: no wake-ups beside a timed worker
            (only,) = running.values()
            with contextlib.suppress(subprocess.TimeoutExpired):
                only.process.wait(max(0.0, only.deadline - time.monotonic()))
        else:
            time.sleep(pause_s)
            pause_s = min(_POLL_S_MAX, 1.5 * pause_s)


def _start(task: Task, deadline: float) -> _Running:
    measure, job = task
    environment = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(project_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  # closed by _close
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.worker", measure],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=err,
        env=environment,
        start_new_session=True,  # Ctrl-C goes to the parent, which ends its workers itself
    )
    assert process.stdin is not None
    text = json.dumps({**job, "parent": os.getpid()}).encode()
    # a broken pipe: it is dead already, and its last words say why
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(text)
    process.stdin = None
    return _Running(task, process, out, err, deadline)


def _close(one: _Running) -> None:
    one.out.close()
    one.err.close()


def _answer(one: _Running) -> Process:
    """What an ended worker answered; raises WorkerError."""
    (measure, job), process = one.task, one.process
    if one.is_late:
        raise WorkerError(f"{measure}: no answer in time, killed")
    one.out.seek(0)
    one.err.seek(0)
    if process.returncode != 0:
        words = one.err.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        ended = (
            f"killed by signal {-process.returncode} ({signal.strsignal(-process.returncode)})"
            if process.returncode < 0
            else f"exit status {process.returncode}"
        )
        raise WorkerError(f"{measure}: {ended}: {(words or 'it said nothing').splitlines()[-1]}")
    try:
        answer = json.loads(one.out.read())
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
    process.wait()


def end_with(parent: int) -> None:
    """Be killed by the kernel when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the harness has ended")


def _main() -> None:
    measure = sys.argv[1]
    job = json.loads(sys.stdin.buffer.read())
    end_with(job["parent"])
    name = measure if measure.startswith("harness.") else f"harness.measures.{measure}"
    module = importlib.import_module(name)
    before = instruments()
    answer = module.sample(job)
    # what was on at either end was on while it measured
    answer["instruments"] = {name: on or before[name] for name, on in instruments().items()}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
