"""The operations of a soak's hours with an injected clock: everything real but the time.

Two processes, one for each store (harness/soak/lane.py), write what they do at every 10 s of their
clock; here both are put together into the same evidence that a soak in real time leaves, in the
tier "simulated", which never satisfies `soak.day`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.soak.decide import STALL_S_MAX
from harness.soak.driver import SEGMENT_S, worker_environment
from harness.soak.evidence import Observation, SegmentWriter
from harness.soak.facts import Facts, facts_digest
from harness.soak.lane import STEP_S
from harness.soak.layout import KILLED_LANE, RESIDENT_LANE, Lane, Tail
from harness.soak.mix import RATES
from harness.soak.progress import SoakProgress, SoakState

__all__ = ["SimulationError", "simulate"]

_POLL_S = 0.1
_SUMS = ("done", "wrong", "kills", "recovered")


class SimulationError(Exception):
    """A lane could not go on; the message has its last words."""


class _Lane:
    """One lane's process, and its lines so far by step of the clock."""

    def __init__(self, folder: Path, facts: Facts, name: str) -> None:
        self.lane = Lane(folder, name)
        self._tail = Tail(self.lane.samples)
        self._log = folder / "logs" / f"{name}.log"
        self.lines: dict[int, Mapping[str, Any]] = {}
        self.last: Mapping[str, Any] = dict.fromkeys(_SUMS, 0)
        self.newest = -1
        self.moved_s = time.monotonic()
        rate = RATES.killed_lane if name == KILLED_LANE else RATES.resident
        job = {
            "folder": str(folder),
            "lane": name,
            "mix": name,
            "parent": os.getpid(),
            "rate": rate * facts.rate_share,
            "hours": facts.hours,
            "seed": facts.seed,
            "space": dict(facts.space),
            "settings": dict(facts.settings),
            "sample_s": facts.sample_s,
            "kills_every_s": facts.kills_every_s,
            "inject": facts.inject,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.soak.lane"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # the order of sets decides on the number of calls before a kill
                env={**worker_environment(), "PYTHONHASHSEED": str(facts.seed % 2**32)},
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
            stdin.write(json.dumps(job).encode())
        self.process.stdin = None

    def read(self) -> None:
        """Take up new lines."""
        for line in self._tail.lines():
            self.newest = int(line["time_s"] // STEP_S)
            self.lines[self.newest] = line
            self.moved_s = time.monotonic()

    def has_ended(self) -> bool:
        """Is there nothing more to come? Raises SimulationError if it failed."""
        status = self.process.poll()
        if status:
            words = self._log.read_text(errors="replace").strip().splitlines()
            raise SimulationError((words or [f"exit status {status}"])[-1])
        return status == 0

    def kill(self) -> None:
        """End it and its life."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def at(self, step: int) -> tuple[dict[str, int], Mapping[str, Any]]:
        """What was added to the sums since the step before, and the line itself."""
        line = self.lines.pop(step, None)
        if line is None:
            return dict.fromkeys(_SUMS, 0), {}
        added = {name: int(line[name]) - int(self.last[name]) for name in _SUMS}
        self.last = line
        return added, line


def simulate(
    folder: Path, facts: Facts, progress: SoakProgress, *, stall_s: float = STALL_S_MAX
) -> None:
    """Do all operations of `facts.hours` and leave the evidence; ends at the first wrong answer.

    Parameters
    ----------
    stall_s
        Real seconds without a step of the injected clock after which it is taken for a stall: the
        clock then goes on without operations, as it would have.

    Raises
    ------
    SimulationError
        A lane failed, which is a fault of the harness.
    """
    lanes = [_Lane(folder, facts, name) for name in (KILLED_LANE, RESIDENT_LANE)]
    state = SoakState(hours_wanted=facts.hours)
    writer = _Writer(folder, facts, state, progress)
    try:
        step = 0
        while True:
            # before the reading: what a lane wrote last is then read, a wrong answer among it
            was_over = all(lane.process.poll() is not None for lane in lanes)
            for lane in lanes:
                lane.read()
            ends = [lane.newest for lane in lanes]
            while step <= min(ends):
                writer.add(step, lanes)
                step += 1
            if state.mismatches or any(_is_wrong(lane) for lane in lanes):
                writer.add_rest(step, lanes)
                break
            have_ended = [lane.has_ended() for lane in lanes]
            if was_over and all(have_ended):
                break
            late = [lane for lane in lanes if time.monotonic() - lane.moved_s > stall_s]
            if [lane for lane in late if lane.process.poll() is None]:
                writer.stall(step)
                break
            time.sleep(_POLL_S)
    finally:
        for lane in lanes:
            lane.kill()
        writer.close()


def _is_wrong(lane: _Lane) -> bool:
    return any(line["wrong"] for line in lane.lines.values())


class _Writer:
    """Evidence by the injected clock, in segments of 30 minutes."""

    def __init__(
        self, folder: Path, facts: Facts, state: SoakState, progress: SoakProgress
    ) -> None:
        self._folder = folder / "segments"
        self._facts_digest = facts_digest(folder)
        self._facts = facts
        self._state = state
        self._progress = progress
        self._wrongs = Tail(folder / "wrong.jsonl", from_start=True)
        self._segment: SegmentWriter | None = None
        self._first_s = 0.0
        self._process = 0

    def _append(self, one: Observation) -> None:
        if self._segment is None or one.time_s - self._first_s >= SEGMENT_S:
            if self._segment is not None:
                self._segment.append(one)
                self._segment.close()
                one = Observation(time_s=one.time_s, operations=0, process=one.process)
            self._segment = SegmentWriter(
                self._folder,
                tier="simulated",
                content_digest=self._facts.content_digest,
                machine=self._facts.machine,
                facts=self._facts_digest,
            )
            self._first_s = one.time_s
        self._segment.append(one)

    def add(self, step: int, lanes: list[_Lane]) -> None:
        """One step of both lanes."""
        self._put(step, [lane.at(step) for lane in lanes])

    def add_rest(self, step: int, lanes: list[_Lane]) -> None:
        """What is there of later steps, in one line: one lane has found something wrong."""
        rest = [(max(lane.lines, default=step), lane) for lane in lanes]
        if any(lane.lines for lane in lanes):
            self._put(step, [lane.at(at) for at, lane in rest])

    def _put(self, step: int, found: list[tuple[dict[str, int], Mapping[str, Any]]]) -> None:
        sums = {name: sum(added[name] for added, _ in found) for name in _SUMS}
        resources: dict[str, float] = {}
        latencies: Mapping[str, float] = {}
        for _, line in found:
            for name, value in line.get("resources", {}).items():
                resources[name] = resources.get(name, 0.0) + value
            latencies = line.get("latencies", latencies)
            self._process = line.get("process", self._process)
        notes = [f"{line['who']}: {line['what']}" for line in self._wrongs.lines()]
        for note in notes:
            self._progress.note(note)
        one = Observation(
            time_s=step * STEP_S,
            operations=sums["done"],
            mismatches=sums["wrong"],
            kills=sums["kills"],
            recovered=sums["recovered"],
            resources=resources,
            latencies=latencies,
            process=self._process,
            note="; ".join(notes)[:2_000],
        )
        self._append(one)
        self._state.saw(one)
        if step % 30 == 0 or one.mismatches:
            self._progress.show(self._state)

    def stall(self, step: int) -> None:
        """The clock goes on, and nothing is done."""
        for idle in range(int(STALL_S_MAX // STEP_S) + 2):
            self._append(Observation(time_s=(step + idle) * STEP_S, operations=0))
        self._progress.note("no operation ends any more")

    def close(self) -> None:
        """Idempotent."""
        if self._segment is not None:
            self._segment.close()
