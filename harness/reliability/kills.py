"""kill -9 before each call that can change the store: the crash matrix."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import NamedTuple

from harness.errors import HarnessError
from harness.reliability.calls import Call, ordinals_at, parse_calls, touching
from harness.reliability.children import Child
from harness.reliability.findings import Findings, sampled
from harness.reliability.rehearsal import Rehearsal, operate, trace, verify
from harness.reliability.tracer import Tracer

__all__ = ["KillPoint", "kill_at_each_call", "kill_points"]


class KillPoint(NamedTuple):
    """A call, and which one it is of its name that names this path, or of all if there is none."""

    call: Call
    path: str
    ordinal: int

    def __str__(self) -> str:
        return f"{self.call.name} number {self.ordinal} of {self.path or 'all'}"


def kill_points(rehearsal: Rehearsal) -> list[KillPoint]:
    """The calls before which a kill may leave something else than before the one before it."""
    calls, _ = trace(rehearsal)
    folder = str(rehearsal.work / "store")
    ordinals = ordinals_at(calls, folder)
    return [
        KillPoint(call, call.where(folder), ordinals.get(id(call), call.ordinal))
        for call in touching(calls, folder)
        if call.is_write
    ]


def kill_at_each_call(
    rehearsal: Rehearsal, seed: int, most: int | None, told: Callable[[int, int], None]
) -> Findings:
    """Kill the scenario before each of its writing calls, or `most` of them, and verify each time.

    Parameters
    ----------
    told
        Called with the points done and the points in all.
    """
    points = kill_points(rehearsal)
    if not points:
        raise HarnessError(f"{rehearsal.scenario.id} writes nothing: there is nothing to kill")
    findings = Findings("kill", rehearsal.scenario.id, seed, known=len(points))
    chosen = sampled(points, most, random.Random(seed))
    for done, point in enumerate(chosen):
        told(done, len(chosen))
        with rehearsal.copy() as folder:
            acknowledged = _killed_at(rehearsal, point)
            what = verify(rehearsal, folder, acknowledged)
            findings.add(point.call.name, "as it must", f"before {point}", what)
    told(len(chosen), len(chosen))
    return findings


def _killed_at(rehearsal: Rehearsal, point: KillPoint) -> int:
    """Do the scenario up to a call; how many steps were acknowledged.

    Raises HarnessError where the call never comes.
    """
    log = rehearsal.work / "calls"
    child = Child(operate(rehearsal.work / "store", rehearsal.scenario))
    fault = f"{point.call.name}:signal=KILL:when={point.ordinal}"
    with Tracer(child.pid, log, [fault], path=point.path):
        child.go()
        acknowledged = 0
        while heard := child.hear():
            if heard != b".":
                raise HarnessError(heard.decode())
            acknowledged += 1
        status = child.wait()
    if status != -signal.SIGKILL:
        raise HarnessError(f"{point} never came: status {status}")
    last = parse_calls(log.read_text())[-1]
    if last.name != point.call.name or last.paths != point.call.paths:
        raise HarnessError(f"{point} was of {last.paths} this time")
    return acknowledged
