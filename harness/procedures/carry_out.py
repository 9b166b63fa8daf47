"""Carries a runbook out: one shell, one command after the other, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.environment import project_root
from harness.procedures.drills import DRILLS, MOUNTING
from harness.procedures.runbook import Step, is_as_told

__all__ = ["Outcome", "carry_out", "isolation"]

_MARK = "titanstore-step-ended"
_PATIENCE_S = 240.0
_SHOWN = 600
_PRINTED_MAX = 2**20  # bytes of one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one step; `fault` is empty if it ended as the page says."""

    line: int
    text: str
    printed: str
    fault: str


def isolation() -> list[str]:
    """Words before a command that give it mounts of its own; none where that is not to be had."""
    for words in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        with contextlib.suppress(OSError):
            done = subprocess.run([*words, "true"], capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                return words
    return []


def carry_out(steps: Sequence[Step], folder: Path) -> list[Outcome]:
    """Do all steps in a folder, up to the first that does not end as it should.

    Every process that a step leaves behind is ended, and every mount goes with them.
    """
    with _Shell(folder) as shell:
        outcomes = []
        for step in steps:
            outcomes.append(shell.do(step))
            if outcomes[-1].fault:
                break
        return outcomes


class _Shell:
    """A bash that is told one command at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._work = folder / ".procedure"
        self._work.mkdir(parents=True)
        self._process = subprocess.Popen(
            [*isolation(), "bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        # not select: its descriptors are below 1 024, and whoever calls may have more open
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self._process.stdout, selectors.EVENT_READ)

    def do(self, step: Step) -> Outcome:
        """Do one step and compare it with what the page says."""
        text = step.text
        if step.is_drill:
            if step.text not in DRILLS:
                fault = f"no drill {step.text!r}; there are {', '.join(DRILLS)}"
                return Outcome(line=step.line, text=step.text, printed="", fault=fault)
            text = self._drill(step.text)
        printed, status = self._run(text)
        fault = ""
        if status != step.status:
            fault = f"exit status {status}, the page says {step.status}"
        elif not is_as_told(step.told, printed):
            fault = f"printed something else than {step.told}"
        if fault:
            fault += f": {printed.strip()[-_SHOWN:]}"
        return Outcome(line=step.line, text=step.text, printed=printed, fault=fault)

    def _drill(self, name: str) -> str:
        """What the shell does for a drill, which is done here unless it mounts something."""
        exports = self._work / "exports"
        if name not in MOUNTING:
            exports.write_text(DRILLS[name](self._folder))
            return f". {exports}"
        drill = f"{sys.executable} -m harness.procedures.drills {name} {exports}"
        return f"PYTHONPATH={project_root()}:$PYTHONPATH {drill} && . {exports}"

    def _run(self, text: str) -> tuple[str, int | None]:
        script = self._work / "step"
        script.write_text(text + "\n")
        assert self._process.stdin is not None
        # not from standard input: a command that reads there would read the next ones
        line = f". {script} </dev/null; printf '\\n{_MARK} %s\\n' $?\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return "the shell has ended", None
        return self._until_mark()

    def _until_mark(self) -> tuple[str, int | None]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + _PATIENCE_S
        seen = b""
        mark = f"\n{_MARK} ".encode()
        while True:
            before, found, after = seen.partition(mark)
            if found and after.endswith(b"\n"):
                return before.decode(errors="replace"), int(after)
            left_s = max(0.0, deadline - time.monotonic())  # it may print on and on
            ready = self._waiting.select(left_s)
            more = os.read(self._process.stdout.fileno(), 65536) if ready and left_s else b""
            if not more or len(seen) > _PRINTED_MAX:
                why = f"more than {_PRINTED_MAX} bytes printed"
                if not more:
                    is_late = not (ready and left_s)
                    why = f"no end within {_PATIENCE_S:.0f} s" if is_late else "the shell has ended"
                return f"{seen.decode(errors='replace')}\n{why}", None
            seen += more

    def __enter__(self) -> _Shell:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._waiting.close()
        self._process.communicate()
        shutil.rmtree(self._work, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """Commands of this interpreter first, no settings of the caller's, and a port that is free."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TITANSTORE_")}
    commands = os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", os.defpath)])  # noqa: PTH120
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return kept | {"PATH": commands, "HOME": str(folder), "PORT": str(port), "LC_ALL": "C.UTF-8"}
