"""A scenario done once without faults: what a store must hold after each step, and its calls."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.reliability.calls import Call, parse_calls
from harness.reliability.children import Child, in_child
from harness.reliability.scenarios import Holdings, Scenario, holdings, opened, rows
from harness.reliability.tracer import Tracer
from harness.subjects.reference import ReferenceSubject

__all__ = ["Body", "Rehearsal", "is_allowed", "operate", "read_disk", "rehearse", "trace", "verify"]

Body = Callable[[socket.socket], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What is known of a scenario.

    Attributes
    ----------
    base
        The store as it is found.
    states
        What it holds when as many steps are done as the place in this list says.
    """

    scenario: Scenario
    base: Path
    work: Path
    states: tuple[Holdings, ...]

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """The store as it is found, at the same path each time; gone afterwards."""
        folder = self.work / "store"
        shutil.copytree(self.base, folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def rehearse(scenario: Scenario, work: Path) -> Rehearsal:
    """Make the scenario's store, and do its steps on a copy."""
    base = work / "base"
    base.mkdir()
    told = work / "states.json"

    def prepare() -> None:
        scenario.prepare(base)

    def look() -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            copy = Path(folder) / "store"
            shutil.copytree(base, copy)
            subject = opened(copy, scenario)
            states = [holdings(subject)]
            for step in scenario.steps:
                step.act(subject)
                states.append(holdings(subject))
            problems = subject.problems()
            subject.close()
            if problems:
                raise HarnessError(f"{scenario.id} without faults: {problems}")
            told.write_text(json.dumps([asdict(state) for state in states]))

    def look_and_list() -> list[str]:
        look()
        return sorted(sys.modules)

    in_child(prepare)
    # What a child would load when it first needs it are calls of no store: have it here already
    for name in in_child(look_and_list):
        if name not in sys.modules and name != "__main__":
            with suppress(ImportError):
                importlib.import_module(name)
    states = tuple(Holdings(**state) for state in json.loads(told.read_text()))
    return Rehearsal(scenario=scenario, base=base, work=work, states=states)


def trace(
    rehearsal: Rehearsal, body: Body | None = None, *, with_data: bool = False
) -> tuple[list[Call], dict[str, bytes]]:
    """Every call of the scenario, and what the disk holds at the end, as `read_disk` has it.

    `body` is the child's, where it is not `operate`.
    """
    log = rehearsal.work / "calls"
    with rehearsal.copy() as folder:
        child = Child(body or operate(folder, rehearsal.scenario))
        with Tracer(child.pid, log, with_data=with_data):
            child.go()
            while child.hear():
                pass
            if child.wait():
                raise HarnessError(f"{rehearsal.scenario.id}: it fails under strace")
        files = read_disk(folder)
    return parse_calls(log.read_text()), files


def read_disk(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by path below it; folders end with a slash and hold nothing."""
    return {
        f"{path.relative_to(folder)}{'/' if path.is_dir() else ''}": (
            b"" if path.is_dir() else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
    }


def operate(folder: Path, scenario: Scenario) -> Body:
    """The body of a child that does all steps, and acknowledges each one."""

    def body(channel: socket.socket) -> int:
        subject = opened(folder, scenario)
        for step in scenario.steps:
            step.act(subject)
            channel.send(b".")
        subject.close()
        return 0

    return body


def verify(rehearsal: Rehearsal, folder: Path, acknowledged: int) -> list[str]:
    """What is wrong with a store whose process died after `acknowledged` steps.

    In a process of its own it is opened for reading, then for writing. It must hold what was
    acknowledged, bit for bit, and of the step under way all or nothing; `check` finds nothing; it
    can be written to again.
    """
    try:
        found = in_child(lambda: _verified(rehearsal, folder, acknowledged))
    except HarnessError as error:
        return [str(error)]
    return [str(fault) for fault in found]


def _verified(rehearsal: Rehearsal, folder: Path, acknowledged: int) -> list[str]:
    scenario = rehearsal.scenario.afterwards
    faults = []
    # one that was being made may not be there yet, or be there in part
    if acknowledged or (folder / "STORE").exists():
        subject = _opened_for_reading(folder, rehearsal, acknowledged)
        if subject is not None:
            faults += _compared("read-only", subject, rehearsal, acknowledged)
            subject.close()
    subject = opened(folder, scenario)
    faults += _compared("reopened", subject, rehearsal, acknowledged)
    before = holdings(subject)
    new = rows(99, 1)[0]
    subject.put_document("after", ["after"], new[None])
    if subject.get("after").tobytes() != new.tobytes():
        faults.append("a put after it is not read back")
    subject.close()
    subject = opened(folder, scenario, read_only=True)
    if holdings(subject).vectors != {**before.vectors, "after": new.tobytes().hex()}:
        faults.append("another put changed what was there")
    faults += [f"after another put: check: {problem}" for problem in subject.problems()]
    subject.close()
    return faults


def _opened_for_reading(
    folder: Path, rehearsal: Rehearsal, acknowledged: int
) -> ReferenceSubject | None:
    try:
        return opened(folder, rehearsal.scenario.afterwards, read_only=True)
    except ReferenceSubject.errors:
        if acknowledged or rehearsal.states[0].vectors:
            raise
        return None  # made in part: there is nothing to be read


def _compared(
    name: str, subject: ReferenceSubject, rehearsal: Rehearsal, acknowledged: int
) -> list[str]:
    faults = [f"{name}: check: {problem}" for problem in subject.problems()]
    if not is_allowed(rehearsal, holdings(subject), acknowledged):
        faults.append(
            f"{name}: after {acknowledged} acknowledged steps it holds neither what it held then "
            f"nor what it should after the next one"
        )
    return faults


def is_allowed(rehearsal: Rehearsal, seen: Holdings, acknowledged: int) -> bool:
    """May a store hold `seen` when so many steps were acknowledged, and perhaps one more begun?"""
    before = rehearsal.states[acknowledged]
    if acknowledged == len(rehearsal.scenario.steps):
        return seen == before
    step = rehearsal.scenario.steps[acknowledged]
    return step.allows(before, rehearsal.states[acknowledged + 1], seen)
