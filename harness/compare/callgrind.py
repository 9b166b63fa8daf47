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
from pathlib import Path

from harness.compare.decide import RULE
from harness.compare.progress import CompareProgress
from harness.compare.rawfile import append_line, read_lines
from harness.compare.sides import Bench, Side, SideProcess, Suite
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
) -> bool:
    """Count each benchmark on both sides into `counts.jsonl`; once more where it rose by > 1 %.

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
    is_complete = _count_run(1, sides, benches, suite, path, work, progress, deadline)
    risen = {
        line["name"]
        for line in read_lines(path)
        if not line["failed"] and line["head"] / line["base"] > 1 + RULE.margin
    }
    if risen:
        progress.note(f"{len(risen)} REGRESSED: a second run of new processes has to agree")
        again = [bench for bench in benches if bench.name in risen]
        is_complete &= _count_run(2, sides, again, suite, path, work, progress, deadline)
    return is_complete


def _count_run(
    run: int,
    sides: tuple[Side, Side],
    benches: Sequence[Bench],
    suite: Suite,
    path: Path,
    work: Path,
    progress: CompareProgress,
    deadline: float,
) -> bool:
    outs = [work / f"counts-{run}-{side.name}" for side in sides]
    for out in outs:
        out.mkdir()
    base, head = (
        SideProcess(side, suite, work, hash_seed=0, prefix=_valgrind(out))
        for side, out in zip(sides, outs, strict=True)
    )
    with base, head:  # at the same time: counts do not depend on who else is at work
        base.started()
        head.started()
        for place, bench in enumerate(benches, start=1):
            if time.monotonic() > deadline:
                progress.note("time is up (--max-minutes)")
                return False
            line = _count_one((base, head), outs, bench)
            append_line(path, {"run": run, "name": bench.name, "calls": CALLS, **line})
            told = line["failed"] or f"{line['base']} and {line['head']} instructions a call"
            progress.note(f"  {place} of {len(benches)}  {bench.name}: {told}")
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
    faults: list[str] = []
    for command in (
        {"do": "set_up", "benchmark": bench.benchmark, "place": bench.place},
        {"do": "count", "number": CALLS},
        {"do": "tear_down"},
    ):
        before = [len(list(out.iterdir())) for out in outs]
        if command["do"] == "count":
            _instrument(pair, "on")
        for process in pair:
            process.send(**command)
        answers = [process.answer() for process in pair]
        if command["do"] == "count":
            _instrument(pair, "off")
        words = [str(one.get("error") or one.get("absent") or "") for one in answers]
        names = ("base", "head")
        faults += [f"{name}: {word}" for name, word in zip(names, words, strict=True) if word]
        if command["do"] == "count" and not faults:
            found = [_counted(out, seen) for out, seen in zip(outs, before, strict=True)]
        elif faults and command["do"] == "set_up":
            break
    if not faults and None in found:
        faults.append("it runs `exec` itself, so that its instructions cannot be told apart")
    if faults:
        return {"base": 0, "head": 0, "failed": "; ".join(faults)}
    base, head = (int(one or 0) for one in found)
    return {"base": base, "head": head, "failed": ""}


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
