"""A disk that is full, fails, cuts writes short or turns read-only, at each call in turn."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.reliability.calls import (
    DATA_WRITES,
    READS,
    SYNCS,
    WRITES,
    Call,
    ordinals_at,
    touching,
)
from harness.reliability.children import Child
from harness.reliability.findings import Findings, sampled
from harness.reliability.rehearsal import Rehearsal, is_allowed, trace, verify
from harness.reliability.scenarios import holdings, opened
from harness.reliability.tracer import Tracer
from harness.subjects.reference import ReferenceSubject

__all__ = ["trouble_at_each_call", "trouble_points"]

_Result = TypeVar("_Result")
_SHORT = "short"  # a write that writes nothing and says so
# What the kernel may answer; a lasting one goes on until strace lets go: until the cause is gone
_WRITE_ERRORS = ("ENOSPC", "EIO", "EROFS")
_FAILING_READS = frozenset(
    {"openat", "read", "pread64", "readv", "getdents64", "fstat", "newfstatat", "stat", "lstat"}
)
_NOT_LASTING = frozenset({"openat", "mmap", "mremap", "close"})  # reading needs them as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One call, and what it answers, once or from then on."""

    call: Call
    answer: str
    faults: tuple[str, ...]
    path: str = ""  # which strace then looks at alone

    @property
    def kind(self) -> str:
        """For counting."""
        lasting = "lasting " if "+" in self.faults[0] else ""
        return f"{lasting}{self.answer}"

    @property
    def point(self) -> str:
        """Where and what."""
        where = " ".join(path for path in self.call.paths)
        return f"{self.kind} from {self.call.name} number {self.call.ordinal}, {where}"


def trouble_points(rehearsal: Rehearsal) -> list[Trouble]:
    """Each call on the store with each answer that the kernel may give it."""
    calls, _ = trace(rehearsal, lambda channel: _Enduring(rehearsal, channel).run())
    folder = str(rehearsal.work / "store")
    ours = {id(call) for call in touching(calls, folder)}
    ordinals = ordinals_at(calls, folder)
    counts: Counter[str] = Counter()
    points = []
    for call in calls:
        if id(call) in ours:
            for answer in _answers(call):
                injected = "retval=0" if answer == _SHORT else f"error={answer}"
                ordinal = ordinals.get(id(call), call.ordinal)
                once = (f"{call.name}:{injected}:when={ordinal}",)
                path = call.where(folder)
                points.append(Trouble(call=call, answer=answer, faults=once, path=path))
                if call.is_write and call.name not in _NOT_LASTING:
                    lasting = tuple(_lasting(call, injected, counts))
                    points.append(Trouble(call=call, answer=answer, faults=lasting))
        counts[call.name] += 1
    return points


def _answers(call: Call) -> Sequence[str]:
    if call.result is None or call.result < 0:
        return ()
    if call.name in DATA_WRITES:
        return (*_WRITE_ERRORS, _SHORT)
    if call.name in SYNCS:
        return ("EIO", "ENOSPC")
    if call.name == "mmap":
        return ("ENOMEM",)
    if call.is_write:
        return _WRITE_ERRORS
    return ("EIO",) if call.name in _FAILING_READS else ()


def _lasting(call: Call, injected: str, counts: Counter[str]) -> list[str]:
    """From this call on, all that write answer so; the first of the faults is the call's own."""
    others = DATA_WRITES if injected == "retval=0" else WRITES - _NOT_LASTING
    names = [call.name, *sorted(others - {call.name} - READS)]
    return [f"{name}:{injected}:when={counts[name] + 1}+" for name in names]


def trouble_at_each_call(
    rehearsal: Rehearsal, seed: int, most: int | None, told: Callable[[int, int], None]
) -> Findings:
    """Let each call of the scenario fail in each way, or `most` of them, and see the store through.

    The operation must raise an error of the store's tree or succeed. Meanwhile all is readable;
    when the cause is gone the same object goes on writing, and so does whoever opens it next.
    """
    points = trouble_points(rehearsal)
    findings = Findings("trouble", rehearsal.scenario.id, seed, known=len(points))
    chosen = sampled(points, most, random.Random(seed))
    for done, trouble in enumerate(chosen):
        told(done, len(chosen))
        with rehearsal.copy() as folder:
            outcome, what = _endured(rehearsal, trouble)
            what += verify(rehearsal, folder, len(rehearsal.scenario.steps)) if not what else []
            findings.add(trouble.kind, outcome, trouble.point, what)
    told(len(chosen), len(chosen))
    return findings


def _endured(rehearsal: Rehearsal, trouble: Trouble) -> tuple[str, list[str]]:
    child = Child(lambda channel: _Enduring(rehearsal, channel).run())
    outcome, what = "carried on", []
    with Tracer(child.pid, rehearsal.work / "calls", trouble.faults, path=trouble.path) as tracer:
        child.go()
        while heard := child.hear():
            said = json.loads(heard)
            if "crashed" in said:
                what.append(said["crashed"])
                break
            what += said.get("faults", [])
            if "refused" in said:
                outcome = f"refused: {said['refused']}"
                tracer.let_go()
                child.go()
    status = child.wait()
    if status and not what:
        what.append(f"the process ended with {status}")
    return outcome, what


class _Enduring:
    """A child that goes on after being refused, when its parent says that the cause is gone."""

    def __init__(self, rehearsal: Rehearsal, channel: socket.socket) -> None:
        self._rehearsal = rehearsal
        self._channel = channel
        self._faults: list[str] = []

    def run(self) -> int:
        """Do all steps; the exit status."""
        folder, scenario = self._rehearsal.work / "store", self._rehearsal.scenario
        subject = self._again_if_refused(lambda: opened(folder, scenario))
        for place, step in enumerate(scenario.steps):
            try:
                step.act(subject)
            except ReferenceSubject.errors as error:
                self._refused(error, self._unreadable(subject, place))
                seen = holdings(subject)
                if not is_allowed(self._rehearsal, seen, place):
                    self._faults.append("refused, it holds neither what it held nor what it should")
                self._check(subject, "after the refusal")
                if seen == self._rehearsal.states[place] or not step.is_atomic:
                    step.act(subject)
            seen = self._again_if_refused(lambda: holdings(subject))
            if seen != self._rehearsal.states[place + 1]:
                self._faults.append(f"after step {place} it does not hold what it should")
        if subject.problems():  # a read may have failed in it: that is what it reports
            self._check(subject, "at the end")
        subject.close()
        self._channel.send(json.dumps({"faults": self._faults}).encode())
        return 0

    def _again_if_refused(self, act: Callable[[], _Result]) -> _Result:
        try:
            return act()
        except ReferenceSubject.errors as error:
            self._refused(error, [])
            return act()

    def _refused(self, error: Exception, faults: list[str]) -> None:
        kind = f"{type(error).__name__}, {getattr(error, 'kind', '')}"
        self._channel.send(json.dumps({"refused": kind, "faults": faults}).encode())
        self._channel.recv(1)

    def _check(self, subject: ReferenceSubject, when: str) -> None:
        self._faults += [f"{when}: check: {problem}" for problem in subject.problems()]

    def _unreadable(self, subject: ReferenceSubject, place: int) -> list[str]:
        """What cannot be read while the trouble lasts."""
        try:
            seen = holdings(subject)
        except ReferenceSubject.errors as error:
            return [f"meanwhile it cannot be read: {error!r}"]
        if not is_allowed(self._rehearsal, seen, place):
            return ["meanwhile it holds neither what it held nor what it should"]
        return []
