"""A soak in real time: starts the processes, watches them, and writes down what it sees.

Killed in any way it leaves no process behind: the kernel kills its children with it. What they
were doing then is settled by the next ones, as after any kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness import environment
from harness.errors import UsageError
from harness.soak.configurations import draw_configuration
from harness.soak.decide import STALL_S_MAX
from harness.soak.evidence import Observation, SegmentWriter, read_soak
from harness.soak.facts import Facts, facts_digest
from harness.soak.faults import stop_when_due
from harness.soak.layout import (
    COUNTED,
    KILLED_LANE,
    RESIDENT_LANE,
    Lane,
    Tail,
    append_line,
    files_below,
)
from harness.soak.ledger import Count, Header, Ledger
from harness.soak.mix import RATES
from harness.soak.progress import SoakProgress, SoakState
from harness.soak.space import Space

__all__ = ["SEGMENT_S", "Driver"]

SEGMENT_S = 1800.0  # SPEC section 5
_TICK_S = 0.5
_OBSERVE_S = 4.0  # a line of evidence; a gap begins at 10
_STOP_S_MAX = 20.0
_KILLER_RATE = 2.0
_TOLD_TO_END = (0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGKILL)
_RATE = {
    "writer": RATES.writer,
    "reader-1": RATES.reader,
    "reader-2": RATES.reader,
    "searcher": RATES.searcher,
    "resident": RATES.resident,
}


class _Process:
    """One role: its process of the moment, and what its row says."""

    def __init__(self, role: str, ledger: Ledger) -> None:
        self.role = role
        self.row = ledger.roles[COUNTED.index(role)]
        self.popen: subprocess.Popen[bytes] | None = None
        self.unrecovered = 0
        self.done = self.count(Count.DONE)
        self.checked = self.count(Count.CHECKED)
        self.wrong = self.count(Count.TOLD)  # what a killed driver did not come to write down
        self.moved_s = time.monotonic()

    def count(self, which: Count) -> int:
        return int(self.row[which])


def _content_digest() -> str:
    return environment.code_of(environment.project_root()).content_digest


class Driver:
    """Runs segments of one soak in a folder that is locked; `run` does it all.

    Parameters
    ----------
    content_digest
        What the checkout is now. Asked before each process starts, since that runs what is there
        then, and not what was there when the soak began.
    """

    def __init__(
        self,
        folder: Path,
        facts: Facts,
        progress: SoakProgress,
        content_digest: Callable[[], str] = _content_digest,
    ) -> None:
        self._folder = folder
        self._facts = facts
        self._progress = progress
        self._content_digest = content_digest
        keys = len(Space(**facts.space))
        self._lanes = [Lane(folder, name) for name in (KILLED_LANE, RESIDENT_LANE)]
        self._ledgers = [Ledger(lane.expected, keys=keys, seed=facts.seed) for lane in self._lanes]
        for ledger in self._ledgers:
            ledger.header[Header.STOP] = 0
        killed, resident = self._ledgers
        self._processes = [
            _Process(role, resident if role == "resident" else killed)
            for role in COUNTED
            if role != "driver"
        ]
        self._itself = _Process("driver", killed)
        self._samples = Tail(self._lanes[1].samples)
        is_told = all(one.wrong == one.count(Count.WRONG) for one in self._everybody())
        self._wrongs = Tail(folder / "wrong.jsonl", from_start=not is_told)
        self._state = SoakState(hours_wanted=facts.hours)
        self._kills = self._recovered = 0
        self._notes: list[str] = []
        self._is_stopped = False

    def _everybody(self) -> list[_Process]:
        """Whoever may find something wrong."""
        return [*self._processes, self._itself]

    # -- processes -------------------------------------------------------------------------

    def _job(self, process: _Process) -> dict[str, Any]:
        facts, role = self._facts, process.role
        starts = process.count(Count.STARTS)
        rng = np.random.default_rng([facts.seed, COUNTED.index(role), starts, 2])
        settings: Mapping[str, Any] = facts.settings
        if role != "resident":
            settings = draw_configuration(rng, searches=role == "searcher")
        lane = RESIDENT_LANE if role == "resident" else KILLED_LANE
        # each fault is put in once: a leak where memory is judged, the others where kills are
        is_here = (facts.inject == "leak") == (role == "resident")
        return {
            "role": role,
            "lane": lane,
            "folder": str(self._folder),
            "parent": os.getpid(),
            "seed": facts.seed,
            "space": dict(facts.space),
            "settings": dict(settings),
            "mix": role,
            "rate": _RATE.get(role, _KILLER_RATE) * (facts.rate_share if role in _RATE else 1),
            "sample_s": facts.sample_s,
            "kills_every_s": facts.kills_every_s,
            "inject": facts.inject if is_here else "",
        }

    def _check_content(self) -> None:
        found = self._content_digest()
        if found != self._facts.content_digest:
            raise UsageError(
                f"the checkout was changed: content {found[:12]}, the soak is of "
                f"{self._facts.content_digest[:12]}; go on with it when that is back, or begin anew"
            )

    def _start(self, process: _Process) -> None:
        self._check_content()
        job = json.dumps(self._job(process)).encode()
        log: IO[bytes]
        with (self._folder / "logs" / f"{process.role}.log").open("wb") as log:
            process.popen = subprocess.Popen(
                [sys.executable, "-m", "harness.soak.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=worker_environment(),
                start_new_session=True,  # Ctrl-C goes to the driver, which ends them itself
            )
        assert process.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.popen.stdin as stdin:
            stdin.write(job)
        process.popen.stdin = None
        process.moved_s = time.monotonic()

    def _look_after(self, process: _Process) -> None:
        """Start it anew after a kill; anything else that ends or hangs is wrong."""
        popen = process.popen
        if popen is None:
            # readers and whoever kills come when the writer has made the store, and filled it
            if process.role in ("writer", "resident") or self._is_made():
                self._start(process)
            return
        status = popen.poll()
        if status is None:
            self._watch(process, popen)
            return
        if status == -9 and process.count(Count.KILLED) == popen.pid:
            self._kills += 1
            process.unrecovered += 1
            self._start(process)
        else:
            self._wrong(f"the {process.role} ended with status {status}: {self._words(process)}")
            process.popen = None
            self._is_stopped = True

    def _is_made(self) -> bool:
        """Has the store been opened by a writer, and filled?"""
        killed = self._ledgers[0]
        space = Space(**self._facts.space)
        return killed.word(Header.OPERATION) > len(space.every_document)

    def _watch(self, process: _Process, popen: subprocess.Popen[bytes]) -> None:
        if process.unrecovered and process.count(Count.READY) == popen.pid:
            self._recovered += process.unrecovered
            process.unrecovered = 0
        if process.count(Count.DONE) != process.done or process.count(Count.CHECKED) > (
            process.checked
        ):
            process.moved_s = time.monotonic()
        waited = time.monotonic() - process.moved_s
        if waited > STALL_S_MAX and process.role != "killer":
            self._wrong(f"the {process.role} has done nothing for {waited:.0f} s")
            self._is_stopped = True

    def _words(self, process: _Process) -> str:
        path = self._folder / "logs" / f"{process.role}.log"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1] if lines else "it said nothing"

    def _wrong(self, words: str) -> None:
        """What the driver finds itself; kept as the workers keep theirs."""
        append_line(self._folder / "wrong.jsonl", {"who": "driver", "lane": "", "what": words})
        self._itself.row[Count.WRONG] += np.uint64(1)

    def _end_all(self) -> None:
        """Let every process end what it is doing; kill who does not. Idempotent.

        Who then ends in another way than it was told to, or was killed, is wrong.
        """
        for ledger in self._ledgers:
            ledger.header[Header.STOP] = 1
        deadline = time.monotonic() + _STOP_S_MAX
        running = [(one, one.popen) for one in self._processes if one.popen is not None]
        for _, popen in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(max(0.0, deadline - time.monotonic()))
        for process, popen in running:
            status = popen.poll()
            if status is None:
                popen.kill()
                popen.wait()
            elif status == -9 and process.count(Count.KILLED) == popen.pid:
                self._kills += 1
            elif status not in _TOLD_TO_END:
                self._wrong(
                    f"the {process.role} ended with status {status}: {self._words(process)}"
                )
            process.popen = None

    # -- evidence --------------------------------------------------------------------------

    def _observe(self, segment: SegmentWriter) -> None:
        done = checked = 0
        for process in self._processes:
            now = process.count(Count.DONE)
            if process.role != "killer":
                done += now - process.done
            process.done = now
            now = process.count(Count.CHECKED)
            checked += now - process.checked
            process.checked = now
        wrongs = [(process, process.count(Count.WRONG)) for process in self._everybody()]
        wrong = sum(now - process.wrong for process, now in wrongs)
        for line in self._wrongs.lines():
            self._notes.append(f"{line['who']}: {line['what']}")
            self._progress.note(self._notes[-1])
        sample = dict(next(iter(reversed(list(self._samples.lines()))), {}))
        if sample:
            sample["resources"] |= {
                "files": float(sum(files_below(lane.store) for lane in self._lanes)),
                "versions": float(sum(len(ledger.versions()) for ledger in self._ledgers)),
                "disk bytes": float(sum(_bytes_below(lane.store) for lane in self._lanes)),
                "driver anonymous": _own_anonymous(),
            }
        observation = Observation(
            time_s=time.monotonic(),
            operations=done if checked else 0,  # of which nothing was compared: none is verified
            mismatches=wrong,
            kills=self._kills,
            recovered=self._recovered,
            note="; ".join(self._notes)[:2_000],
            resources=sample.get("resources", {}),
            latencies=sample.get("latencies", {}),
            process=sample.get("process", 0) or self._processes[-1].count(Count.STARTS),
        )
        segment.append(observation)
        for process, now in wrongs:  # only now: killed before, it is told by the next driver
            process.wrong = now
            process.row[Count.TOLD] = now
        if sample:
            segment.sync()
        if wrong:
            self._is_stopped = True
        self._state.saw(observation)
        self._progress.show(self._state)
        self._kills = self._recovered = 0
        self._notes.clear()

    def run(self, seconds: float | None) -> None:
        """Go on for so many seconds, or until the hours wanted are counted, or one is wrong.

        A KeyboardInterrupt or SystemExit ends the segment as cleanly, and is raised again.
        """
        self._check_content()
        self._state.begin(read_soak(self._folder / "segments"))
        begin = time.monotonic()
        try:
            while not self._is_over(begin, seconds):
                self._segment(begin, seconds)
        finally:
            self._end_all()
            for ledger in self._ledgers:
                ledger.flush()
                ledger.close()

    def _is_over(self, begin: float, seconds: float | None) -> bool:
        is_late = seconds is not None and time.monotonic() - begin >= seconds
        return self._is_stopped or is_late or self._state.hours >= self._facts.hours

    def _segment(self, begin: float, seconds: float | None) -> None:
        """One file of evidence; its first line is at the moment of the last one's end.

        The last file's last line comes after every process has ended: what they find until then
        is in it.
        """
        chain = {
            "content_digest": self._facts.content_digest,
            "machine": self._facts.machine,
            "facts": facts_digest(self._folder),
        }
        with SegmentWriter(self._folder / "segments", tier="real-time", **chain) as segment:
            self._ledgers[0].header[Header.SEGMENTS] = segment.header.number + 1
            first = time.monotonic()
            self._observe(segment)
            due = first + _OBSERVE_S
            is_over = True
            try:
                while time.monotonic() - first < SEGMENT_S and not self._is_over(begin, seconds):
                    for process in self._processes:
                        self._look_after(process)
                    self._stop_all_when_due()
                    time.sleep(_TICK_S)
                    if time.monotonic() >= due or self._is_stopped:
                        due = time.monotonic() + _OBSERVE_S
                        self._observe(segment)
                is_over = self._is_over(begin, seconds)
            finally:
                if is_over:
                    self._end_all()
                self._observe(segment)

    def _stop_all_when_due(self) -> None:
        """The fault `stall`: whoever works on either store stands still, and nobody says so."""
        if not stop_when_due(self._facts.inject, self._ledgers[0]):
            return
        for process in self._processes:
            if process.popen is not None and process.popen.poll() is None:
                os.kill(process.popen.pid, signal.SIGSTOP)


def worker_environment() -> dict[str, str]:
    """Of a process that the soak starts: this checkout, and BLAS on one thread."""
    path = os.pathsep.join(
        [str(environment.project_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": path}


def _bytes_below(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += 512 * os.stat(os.path.join(folder, name)).st_blocks  # noqa: PTH118, PTH116
    return total


def _own_anonymous() -> float:
    from harness.probes.memory import page_types

    return float(page_types()["anonymous"])
