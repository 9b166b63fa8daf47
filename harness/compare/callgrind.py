"""Instructions instead of time: exact on one machine, and said as "CPU work", never as time.

Each side runs once under valgrind's callgrind, with hash seed 0. Instrumentation is off but for the
counted calls, which come after a few that let caches and the interpreter settle: they run inside
`exec` of a text, and callgrind collects while the C function behind that (PyRun_StringFlags) is
active. An empty `exec` is counted too, and subtracted. Waiting, page faults and the disk are not in
it, nor is what other threads do. valgrind knows no AVX-512: libraries take other kernels.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare.decide import RULE
from harness.compare.progress import CompareProgress
from harness.compare.rawfile import append_line, read_lines
from harness.compare.sides import Bench, Side, SideError, SideProcess, Suite
from harness.errors import HarnessError

__all__ = ["CALLS", "count", "require_valgrind"]

CALLS = 3
_CONTROL_S = 60
_TOGGLE = "PyRun_StringFlags"
_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class _UnsupportedError(HarnessError):
    """This machine cannot count: nothing is known, exit status 3."""

    exit_code = 3


def require_valgrind() -> None:
    """Raise a HarnessError with exit status 3 where valgrind is missing."""
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        raise _UnsupportedError(
            "--instructions counts with valgrind, which is not installed here; "
            "install it (Debian: apt-get install valgrind) or compare by time"
        )


def count(
    sides: tuple[Side, Side],
    benches: Sequence[Bench],
    suite: Suite,
    folder: Path,
    work: Path,
    progress: CompareProgress,
    *,
    seconds_max: float | None = None,
    confirms: bool = True,
) -> bool:
    """Count each benchmark on both sides into `counts.jsonl`; once more where it rose by > 1 %.

    Parameters
    ----------
    confirms
        False: there is no second run, since no verdict will rely on it.

    Returns
    -------
    bool
        False: time was up before all were counted.

    Raises
    ------
    HarnessError
        Exit status 3: callgrind cannot be switched on from outside here.
    """
    path = folder / "counts.jsonl"
    path.touch()
    progress.stage(f"counting instructions of {len(benches)} benchmarks, about 50 times slower")
    deadline = math.inf if seconds_max is None else time.monotonic() + seconds_max
    counting = _Counting(
        sides=sides, suite=suite, path=path, work=work, progress=progress, deadline=deadline
    )
    is_complete = counting.run(1, benches)
    risen = {
        line["name"]
        for line in read_lines(path)
        if not line["failed"] and line["head"] / line["base"] > 1 + RULE.margin
    }
    if risen and confirms:
        progress.note(f"{len(risen)} REGRESSED: a second run of new processes has to agree")
        is_complete &= counting.run(2, [bench for bench in benches if bench.name in risen])
    return is_complete


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counting:
    """Runs of one fresh process a side under callgrind."""

    sides: tuple[Side, Side]
    suite: Suite
    path: Path
    work: Path
    progress: CompareProgress
    deadline: float

    def run(self, run: int, benches: Sequence[Bench]) -> bool:
        """Count these; another pair of processes after one that a benchmark has ended."""
        waiting = list(benches)
        while waiting:
            folder = self.work / f"counts-{run}-{len(waiting)}"
            outs = [folder / side.name for side in self.sides]
            for out in outs:
                out.mkdir(parents=True)
            if not self._pair(run, waiting, outs, len(benches)):
                self.progress.note("time is up (--max-minutes)")
                return False
        return True

    def _pair(self, run: int, waiting: list[Bench], outs: Sequence[Path], total: int) -> bool:
        """Take from `waiting` while both processes live; False: time was up."""
        if time.monotonic() > self.deadline:
            return False
        with ExitStack() as stack:  # at the same time: counts do not depend on who else is at work
            base, head = (
                stack.enter_context(
                    SideProcess(side, self.suite, self.work, hash_seed=0, prefix=_valgrind(out))
                )
                for side, out in zip(self.sides, outs, strict=True)
            )
            base.started()
            head.started()
            while waiting:
                if time.monotonic() > self.deadline:
                    return False
                bench = waiting.pop(0)
                try:
                    line, is_alive = _count_one((base, head), outs, bench), True
                except SideError as error:
                    line, is_alive = _failed(str(error)), False
                append_line(self.path, {"run": run, "name": bench.name, "calls": CALLS, **line})
                told = line["failed"] or f"{line['base']} and {line['head']} instructions a call"
                place = total - len(waiting)
                self.progress.note(f"  {place} of {total}  {bench.name}: {told}")
                if not is_alive:
                    break
        return True


def _valgrind(out: Path) -> tuple[str, ...]:
    return (
        "valgrind",
        "--tool=callgrind",
        "--quiet",
        "--instr-atstart=no",
        "--collect-atstart=no",
        f"--toggle-collect={_TOGGLE}",
        f"--dump-after={_TOGGLE}",
        f"--callgrind-out-file={out / 'counts'}",
    )


def _count_one(
    pair: tuple[SideProcess, SideProcess], outs: Sequence[Path], bench: Bench
) -> Mapping[str, int | str]:
    """Count a benchmark; both sides tear it down whatever happened, which checks its answer."""
    faults = _both(pair, do="set_up", benchmark=bench.benchmark, place=bench.place)
    found: list[int | None] = []
    if not faults:
        before = [len(list(out.iterdir())) for out in outs]
        _instrument(pair, "on")
        faults = _both(pair, do="count", number=CALLS)
        _instrument(pair, "off")
        if not faults:
            found = [_counted(out, seen) for out, seen in zip(outs, before, strict=True)]
    faults += _both(pair, do="tear_down")
    if not faults and None in found:
        faults.append("it runs `exec` itself, so that its instructions cannot be told apart")
    if faults:
        return _failed("; ".join(faults))
    base, head = (int(one or 0) for one in found)
    return {"base": base, "head": head, "failed": ""}


def _failed(why: str) -> Mapping[str, int | str]:
    return {"base": 0, "head": 0, "failed": why}


def _both(pair: tuple[SideProcess, SideProcess], **command: Any) -> list[str]:
    for process in pair:
        process.send(**command)
    answers = [process.answer() for process in pair]
    return [
        f"{name}: {fault}"
        for name, one in zip(("base", "head"), answers, strict=True)
        if (fault := str(one.get("error") or one.get("absent") or ""))
    ]


def _instrument(pair: tuple[SideProcess, SideProcess], state: str) -> None:
    """Start-up and setup are 5 times faster without."""
    for process in pair:
        command = ["callgrind_control", "-i", state, str(process.pid)]
        try:  # its pipes lie in the temporary folder of the process
            done = subprocess.run(
                command,
                capture_output=True,
                timeout=_CONTROL_S,
                env=process.environment,
                check=False,
            )
            is_done, said = b"OK." in done.stdout, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            is_done, said = False, b"no answer"
        if not is_done:
            words = said.decode(errors="replace").strip()
            raise _UnsupportedError(
                f"callgrind_control cannot reach the counted process ({words}); it needs ptrace: "
                "allow it, or compare by time"
            )


def _counted(out: Path, before: int) -> int | None:
    """Instructions a call: the newest dump less the one before, which is the empty one."""
    dumps = sorted(out.iterdir(), key=lambda path: int(path.suffix[1:] or 0))
    if len(dumps) != before + 2:
        return None
    empty, full = (int(_TOTALS.findall(path.read_text())[-1]) for path in dumps[-2:])
    return max(1, round((full - empty) / CALLS))
