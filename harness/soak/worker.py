"""A process of a soak: `python -m harness.soak.worker`, with its job as JSON on standard input.

writer     changes the store and reads back; alone in writing the ledger
reader     reads keys and documents, beside the writer
searcher   searches, beside the writer
killer     kills one of these, or all, at random moments
resident   does all of it on a store of its own, never killed: its memory is what slopes judge
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.soak import faults
from harness.soak.checks import Checks, SoakSubject
from harness.soak.configurations import is_exact
from harness.soak.layout import COUNTED, Lane, append_line
from harness.soak.ledger import Count, Header, Ledger, Phase
from harness.soak.life import Life
from harness.soak.mix import KILLS_EVERY_S
from harness.soak.sampling import Sampler
from harness.soak.space import Space
from harness.soak.values import Values
from harness.subjects.reference import ReferenceSubject
from harness.worker import end_with

__all__ = ["Pace"]

_SLEEP_S_MAX = 0.5
_DOCUMENT_SHARE = 0.1  # of a reader's operations: a whole document
_KILL_ALL_SHARE = 0.05
_VICTIMS = {"writer": 0.5, "reader-1": 0.15, "reader-2": 0.15, "searcher": 0.2}
_KILL_PAUSE_S_MIN = 3.0
_KILL_IN_CALL_SHARE = 0.75  # of the writer's kills: while it is in a call
_CALL_WAIT_S_MAX = 20.0
_LOOK_S = 0.0003
_CALL_S_MAX = 1.0


class Pace:
    """Waits until the next operation is due; what is late is not made up for."""

    def __init__(self, rate: float, ledger: Ledger) -> None:
        self._step = 1 / rate
        self._ledger = ledger
        self._due = time.monotonic()

    def wait(self) -> bool:
        """False once the soak is to stop."""
        self._due = max(self._due + self._step, time.monotonic())
        while not self._ledger.word(Header.STOP):
            left = self._due - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, _SLEEP_S_MAX))
        return False


class _Worker:
    """What all of them have: a ledger, a row in it, and somewhere to say what is wrong."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self.lane = Lane(Path(job["folder"]), job["lane"])
        self.space = Space(**job["space"])
        self.ledger = Ledger(self.lane.expected, keys=len(self.space), seed=job["seed"])
        self.row = self.ledger.roles[COUNTED.index(job["role"])]
        # after a reboot numbers of processes come again: what an older one had is not this one's
        self.row[Count.READY] = self.row[Count.KILLED] = 0
        self.row[Count.STARTS] += np.uint64(1)
        self.row[Count.PID] = os.getpid()
        self.rng = np.random.default_rng(
            [job["seed"], COUNTED.index(job["role"]), int(self.row[Count.STARTS])]
        )
        self.pace = Pace(job["rate"], self.ledger)

    def wrong(self, words: str) -> None:
        """Count and keep a wrong answer; the driver then ends the soak."""
        append_line(
            self.lane.folder / "wrong.jsonl",
            {"who": self.job["role"], "lane": self.job["lane"], "what": words},
        )
        self.row[Count.WRONG] += np.uint64(1)

    def open(self, *, read_only: bool) -> SoakSubject:
        return ReferenceSubject(self.lane.store, self.job["settings"], read_only=read_only)

    def values(self) -> Values:
        return Values.load(self.lane.folder / "pool", self.job["seed"])

    def count(self, checks: Checks, done: int = 1) -> None:
        self.row[Count.CHECKED] = self.row[Count.CHECKED] + np.uint64(checks.checked)
        self.row[Count.NOT_JUDGED] = self.row[Count.NOT_JUDGED] + np.uint64(checks.not_judged)
        checks.checked = checks.not_judged = 0
        self.row[Count.DONE] += np.uint64(done)

    def is_ready(self) -> None:
        self.row[Count.READY] = os.getpid()


def _write(job: Mapping[str, Any]) -> None:
    """The writer and the resident: a life, at a pace."""
    worker = _Worker(job)
    subject = faults.faulty(job.get("inject", ""), worker.open(read_only=False))
    settings = job["settings"]
    life = Life(
        subject,
        worker.ledger,
        worker.values(),
        worker.space,
        mix=job["mix"],
        seed=job["seed"],
        versions_max=int(settings["versions_max"]),
        wrong=worker.wrong,
        exact=is_exact(settings),
    )
    life.begin()
    worker.count(life.checks, 0)
    worker.is_ready()
    sampler = None
    if job["role"] == "resident":
        sampler = Sampler(subject, worker.lane, int(worker.row[Count.STARTS]))
    leak = faults.Leak() if job.get("inject") == "leak" else None
    begin = due = time.monotonic()
    while worker.pace.wait():
        faults.flip_when_due(job.get("inject", ""), worker.ledger, worker.lane)
        done = life.go_on()
        worker.count(life.checks)
        if leak is not None:
            leak.reach(time.monotonic() - begin)
        if sampler is not None:
            sampler.note(done)
            if time.monotonic() >= due:
                due = time.monotonic() + job["sample_s"]
                append_line(worker.lane.samples, sampler.sample())
    subject.close()


def _read(job: Mapping[str, Any]) -> None:
    worker = _Worker(job)
    subject = worker.open(read_only=True)
    checks = Checks(subject, worker.ledger, worker.values(), worker.space, worker.wrong)
    for key in range(len(worker.space)):
        checks.read(key)
        if worker.ledger.word(Header.STOP):
            break
    worker.count(checks, 0)
    worker.is_ready()
    documents = worker.space.every_document
    while worker.pace.wait():
        if worker.rng.random() < _DOCUMENT_SHARE:
            checks.document(documents[int(worker.rng.integers(len(documents)))])
        else:
            checks.read(int(worker.rng.integers(len(worker.space))))
        worker.count(checks)
    subject.close()


def _search(job: Mapping[str, Any]) -> None:
    worker = _Worker(job)
    subject = worker.open(read_only=True)
    exact = is_exact(job["settings"])
    checks = Checks(
        subject, worker.ledger, worker.values(), worker.space, worker.wrong, exact=exact
    )
    checks.search(worker.rng)
    worker.count(checks, 0)
    worker.is_ready()
    while worker.pace.wait():
        checks.search(worker.rng)
        worker.count(checks)
    subject.close()


def _kill(job: Mapping[str, Any]) -> None:
    """Kill -9 of a process of this soak, and of no other: by a descriptor of the process."""
    worker = _Worker(job)
    worker.is_ready()
    every_s = float(job.get("kills_every_s", KILLS_EVERY_S))
    due = time.monotonic() + worker.rng.exponential(every_s)
    while worker.pace.wait():
        worker.row[Count.DONE] += np.uint64(1)
        if time.monotonic() < due:
            continue
        due = time.monotonic() + _KILL_PAUSE_S_MIN + worker.rng.exponential(every_s)
        names = list(_VICTIMS)
        if worker.rng.random() >= _KILL_ALL_SHARE:
            names = [str(worker.rng.choice(names, p=list(_VICTIMS.values())))]
        if "writer" in names and worker.rng.random() < _KILL_IN_CALL_SHARE:
            _wait_for_a_call(worker)
        for name in names:
            _kill_one(worker, name, job["parent"])


def _wait_for_a_call(worker: _Worker) -> None:
    """Until the writer is somewhere inside a call of the store, or some seconds have gone by.

    It is at rest for 99 % of its time: kills by the clock alone would hardly ever leave anything
    to recover. How long a call takes here is seen of the one before.
    """
    deadline = time.monotonic() + _CALL_WAIT_S_MAX
    _watch_until(worker, deadline, is_calling=True)
    begin = time.monotonic()
    _watch_until(worker, deadline, is_calling=False)
    taken = time.monotonic() - begin
    _watch_until(worker, deadline, is_calling=True)
    time.sleep(worker.rng.uniform(0, min(taken, _CALL_S_MAX)))


def _watch_until(worker: _Worker, deadline: float, *, is_calling: bool) -> None:
    while (worker.ledger.phase is Phase.CALLING) is not is_calling:
        if time.monotonic() >= deadline or worker.ledger.word(Header.STOP):
            return
        time.sleep(_LOOK_S)


def _kill_one(worker: _Worker, name: str, parent: int) -> None:
    row = worker.ledger.roles[COUNTED.index(name)]
    pid = int(row[Count.PID])
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return  # between two lives
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        if f"\nPPid:\t{parent}\n" in status:  # a number that was given to another process is not
            row[Count.KILLED] = pid
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            worker.row[Count.KILLS] += np.uint64(1)
    except OSError:
        pass
    finally:
        os.close(handle)


_ROLES: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "writer": _write,
    "reader-1": _read,
    "reader-2": _read,
    "searcher": _search,
    "killer": _kill,
    "resident": _write,
}


def _main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    end_with(job["parent"])
    _ROLES[job["role"]](job)


if __name__ == "__main__":
    _main()
