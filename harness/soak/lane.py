"""One store of a simulated soak: `python -m harness.soak.lane`, with its job on standard input.

This process holds no store. It forks a life, which does the operations that the hours before its
end have, by a clock that goes on by 1 / rate with each of them, and which is killed with SIGKILL in
the middle of a call of the store: before its n-th call of a function, or the n-th from the commit
on, so that the same seed gives the same kills. Then the next life is forked, with another
configuration.

Source of the kill's place: sys.setprofile tells each call, of Python and of C, before it happens.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from harness.soak import faults
from harness.soak.configurations import draw_configuration, is_exact
from harness.soak.layout import (
    COUNTED,
    KILLED_LANE,
    Lane,
    Tail,
    append_line,
    files_below,
)
from harness.soak.ledger import Count, Header, Ledger
from harness.soak.life import Life
from harness.soak.mix import KILLS_EVERY_S
from harness.soak.sampling import Sampler
from harness.soak.space import Space
from harness.soak.values import Values
from harness.subjects.reference import ReferenceSubject
from harness.worker import end_with

__all__ = ["STEP_S", "Killing", "PlannedKill", "planned_kill"]

STEP_S = 10.0  # of the injected clock, from one line of evidence to the next
_CALLS_MAX = 5_000  # of functions within a call of the store; an update has some 4 000
_CALLS_FROM_COMMIT_MAX = 150  # as many come after it
_PAUSE_SHARE, _FROM_COMMIT_SHARE = 0.2, 0.5
_PAUSES = ("intending", "intended", "settling")
_CHANGES = ("put", "update", "delete", "snapshot", "rollback", "maintain")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedKill:
    """How many operations a life has, and where it is killed in the first change after them.

    Attributes
    ----------
    calls
        Before which call of a function within the call of the store.
    from_commit
        Counted from the first commit on, which is one in 30 calls of a change: the store then has
        done it, and nobody was told.
    pause
        The name of a moment of the ledger instead, or "".
    """

    operations: int
    calls: int
    from_commit: bool
    pause: str


def planned_kill(seed: int, restart: int, rate: float, every_s: float) -> PlannedKill:
    """The kill of one life: a function of its arguments."""
    rng = np.random.default_rng([seed, restart, 1])
    operations = 1 + int(rng.exponential(every_s * rate))
    pause = str(rng.choice(_PAUSES)) if rng.random() < _PAUSE_SHARE else ""
    from_commit = bool(rng.random() < _FROM_COMMIT_SHARE)
    most = _CALLS_FROM_COMMIT_MAX if from_commit else _CALLS_MAX
    calls = int(math.exp(rng.uniform(0.0, math.log(most))))
    return PlannedKill(operations=operations, calls=calls, from_commit=from_commit, pause=pause)


class Killing:
    """Ends this process with SIGKILL inside the next change of the store."""

    def __init__(self, planned: PlannedKill) -> None:
        self._left = planned.calls
        self._pause = planned.pause
        self._is_counting = not planned.from_commit
        self.armed = False

    def around(self, call: Callable[[], object]) -> object:
        """Do the call, and die in it; or after it, if it makes fewer calls of functions."""
        if not self.armed or self._pause:
            return call()
        sys.setprofile(self._count)
        try:
            call()
        finally:
            sys.setprofile(None)
        _die()
        return None

    def _count(self, frame: FrameType, event: str, arg: object) -> None:
        if event not in ("call", "c_call"):
            return
        if not self._is_counting and event == "c_call":
            self._is_counting = getattr(arg, "__name__", "") == "commit"  # LMDB's
        if self._is_counting:
            self._left -= 1
            if self._left <= 0:
                _die()

    def at(self, moment: str) -> None:
        """The ledger tells where it is."""
        if self.armed and moment == self._pause:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Lane:
    """Lives one after the other, until the clock has reached the end."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self.lane = Lane(Path(job["folder"]), job["lane"])
        self.space = Space(**job["space"])
        self.values = Values.load(self.lane.folder / "pool", job["seed"])
        self.rate = float(job["rate"])
        self.end = round(float(job["hours"]) * 3600 * self.rate)
        self.is_killed = job["lane"] == KILLED_LANE

    def run(self) -> None:
        """Fork lives until the last operation is done; raises SystemExit if one fails."""
        while True:
            pid = os.fork()
            if not pid:
                self._be_forked()
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                return
            if code != -signal.SIGKILL or not self.is_killed:
                sys.exit(f"a life on the store {self.lane.name} ended with status {code}")

    def _be_forked(self) -> None:
        status = 1
        try:
            end_with(os.getppid())
            self.live()
            status = 0
        except BaseException:  # the child must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(status)

    def live(self) -> None:
        """Open, recover, verify, and go on until the end or the kill."""
        seed = self.job["seed"]
        ledger = Ledger(self.lane.expected, keys=len(self.space), seed=seed)
        restart = ledger.word(Header.RESTARTS)
        settings = self._settings(restart)
        row = ledger.roles[COUNTED.index("writer" if self.is_killed else "resident")]
        subject = faults.faulty(
            self.job["inject"] if self.is_killed else "",
            ReferenceSubject(self.lane.store, settings),
        )
        every_s = 2 * float(self.job.get("kills_every_s", KILLS_EVERY_S))  # half are of the writer
        planned = planned_kill(seed, restart, self.rate, every_s)
        killing = Killing(planned)
        ledger.pause = killing.at

        def wrong(words: str) -> None:
            append_line(
                self.lane.folder / "wrong.jsonl",
                {"who": "life", "lane": self.lane.name, "what": words, "settings": settings},
            )
            row[Count.WRONG] += np.uint64(1)

        life = Life(
            subject,
            ledger,
            self.values,
            self.space,
            mix=self.job["mix"],
            seed=seed,
            versions_max=int(settings["versions_max"]),
            wrong=wrong,
            exact=is_exact(settings),
            around=killing.around,
        )
        life.begin()
        out = _Lines(self, ledger, row, Sampler(subject, self.lane, restart + 1))
        last = ledger.word(Header.OPERATION) + planned.operations
        out.catch_up(ledger.word(Header.OPERATION))
        while (number := ledger.word(Header.OPERATION)) < self.end and not row[Count.WRONG]:
            self._inject(ledger)
            killing.armed = self.is_killed and number >= last
            try:
                done = life.go_on()
            except Exception as error:  # whatever a store raises that it should not
                traceback.print_exc()
                wrong(f"operation {number} raised {error!r}")
                break
            if settings["prefetch"]:
                subject.wait_for_prefetch()  # it goes on beside, at moments of its own
            row[Count.DONE] += np.uint64(1)
            row[Count.CHECKED] += np.uint64(life.checks.checked)
            life.checks.checked = 0
            out.sampler.note(done)
            out.catch_up(number + 1)
        if row[Count.WRONG]:
            out.catch_up(number + 1, is_last=True)
        subject.close()

    def _settings(self, restart: int) -> dict[str, Any]:
        settings = dict(self.job["settings"])
        if self.is_killed:
            rng = np.random.default_rng([self.job["seed"], restart, 0])
            settings = draw_configuration(rng, searches=True)
        # kill -9 cannot tell them apart, and a day of fsyncs takes longer than the 15 minutes
        return {**settings, "durability": "power_cut_may_lose_store"}

    def _inject(self, ledger: Ledger) -> None:
        if not self.is_killed:
            return
        faults.flip_when_due(self.job["inject"], ledger, self.lane)
        if faults.stop_when_due(self.job["inject"], ledger):
            os.kill(os.getpid(), signal.SIGSTOP)


class _Lines:
    """Writes a line of evidence whenever the injected clock has passed a step."""

    def __init__(self, lane: _Lane, ledger: Ledger, row: Any, sampler: Sampler) -> None:
        self._lane = lane
        self._ledger = ledger
        self._row = row
        self.sampler = sampler
        lines = list(Tail(lane.lane.samples, from_start=True).lines())
        self._told = int(lines[-1]["time_s"] // STEP_S) if lines else -1
        self._sample_s = float(lane.job["sample_s"])
        is_leaking = lane.job["inject"] == "leak" and not lane.is_killed
        self._leak = faults.Leak() if is_leaking else None

    def catch_up(self, number: int, *, is_last: bool = False) -> None:
        """Operation `number` is the next one."""
        step = int(number / self._lane.rate // STEP_S)
        if step <= self._told and not is_last:
            return
        self._told = max(step, self._told + 1) if is_last else step
        time_s = self._told * STEP_S
        line: dict[str, Any] = {
            "time_s": time_s,
            "done": int(self._row[Count.DONE]),
            "wrong": int(self._row[Count.WRONG]),
            "kills": self._ledger.word(Header.RESTARTS) - 1,
            "recovered": self._ledger.word(Header.RECOVERIES) - 1,
        }
        if self._leak is not None:
            self._leak.reach(time_s)
        if time_s % self._sample_s == 0:
            counts = {
                "files": float(files_below(self._lane.lane.store)),
                "versions": float(len(self._ledger.versions())),
            }
            sample = self.sampler.sample()
            if self._lane.is_killed:
                line["resources"] = counts
            else:
                line |= {**sample, "resources": {**sample["resources"], **counts}}
        append_line(self._lane.lane.samples, line)


def _main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    end_with(job["parent"])
    _Lane(job).run()


if __name__ == "__main__":
    _main()
