"""kill -9 in the middle of writing, again and again on one store, the same for every subject.

A kill leaves what the kernel was given: it shows a format that tears, not an fsync that is missing.
Who synchronises is in the catalogue.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.environment import project_root
from harness.errors import HarnessError
from harness.rivals.writer import BATCH

__all__ = ["kill_in_mid_write"]

_START_S_MAX = 60.0
_WRITE_S = (0.02, 0.4)


def kill_in_mid_write(
    subject: str,
    store: Path,
    rows: Path,
    kills: int,
    seed: int,
    on_kill: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Lives of a writer on one store, each ended by SIGKILL; what each next one found.

    Returns
    -------
    dict
        "kills", "acknowledged" vectors, and of those what the last life counted; "wrong" and
        "partial" are the most that any life counted. "unopened": how it refused, if it did.

    Raises
    ------
    HarnessError
        The writer ended by itself, or did nothing.
    """
    rng = random.Random(seed)
    lives: list[int] = []
    found: Counter[str] = Counter()
    worst: Counter[str] = Counter()
    unopened = ""
    for turn in range(kills + 1):
        is_last = turn == kills
        job = {
            "subject": subject,
            "store": str(store),
            "rows": str(rows),
            "lives": lives,
            "is_writing": not is_last,
            "parent": os.getpid(),
        }
        said, acknowledged = _one_life(job, rng.uniform(*_WRITE_S))
        if "unopened" in said:
            unopened = str(said["unopened"])
            break
        found = Counter(said)
        for name in ("wrong", "partial", "lost", "unreadable"):
            worst[name] = max(worst[name], found[name])
        if not is_last:
            lives.append(acknowledged)
            on_kill()
    return {
        "kills": len(lives),
        "acknowledged": BATCH * sum(lives),
        "kept": 0 if unopened else found["kept"],
        **{name: worst[name] for name in ("lost", "unreadable", "wrong", "partial")},
        "unopened": unopened,
    }


def _one_life(job: Mapping[str, Any], write_s: float) -> tuple[dict[str, Any], int]:
    """What a writer found, and how many batches it had acknowledged when it was killed."""
    paths = [str(project_root()), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.rivals.writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # a server that it starts is killed with it
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(job).encode())
        lines = _Lines(process.stdout.fileno())
        first = lines.next(_START_S_MAX)
        if first is None:
            raise HarnessError(f"{job['subject']}: the writer said nothing")
        said: dict[str, Any] = json.loads(first)
        if "unopened" in said or not job["is_writing"]:
            return said, 0
        acknowledged = 0
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            line = lines.next(_START_S_MAX if deadline is None else deadline - time.monotonic())
            if line is not None:
                acknowledged = int(line)
                deadline = deadline or time.monotonic() + write_s
            elif deadline is None or lines.is_over:
                raise HarnessError(f"{job['subject']}: the writer ended, or put nothing")
        os.killpg(process.pid, signal.SIGKILL)
        while (line := lines.next(_START_S_MAX)) is not None:
            acknowledged = int(line)  # it had said so before it was killed
        return said, acknowledged
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


class _Lines:
    """Whole lines of a pipe, with a limit of time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._text = b""
        self.is_over = False

    def next(self, seconds: float) -> str | None:
        """The next line; None when there is none in time, or ever."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._text:
            left = deadline - time.monotonic()
            if self.is_over or left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                return None
            more = os.read(self._descriptor, 65_536)
            self.is_over = not more
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()
