"""strace on one process: to write its calls down, or to put a fault into one of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import HarnessError, UsageError

__all__ = ["Tracer", "why_not"]

_PATIENCE_S = 120.0


def why_not() -> str:
    """Why nothing can be traced here; empty if it can."""
    if shutil.which("strace") is None:
        return "there is no strace: install it (Debian: apt-get install strace)"
    probe = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return "" if probe.returncode == 0 else f"strace cannot trace here: {probe.stderr.strip()}"


class Tracer:
    """strace attached to a process that waits; a context manager that lets go of it.

    Parameters
    ----------
    pid
        A process that has one thread and waits for its parent.
    log
        Where the calls go.
    faults
        What comes after `-e inject=`.
    path
        Look at no calls but those that name this file or folder; `when` counts only them.
    with_data
        Write down all that is written: long.
    """

    def __init__(
        self,
        pid: int,
        log: Path,
        faults: Sequence[str] = (),
        *,
        path: str = "",
        with_data: bool = False,
    ) -> None:
        words = ["strace", "-f", "-y", "-qq", "-xx"]
        words += ["-v", "-s", "4000000"] if with_data else ["-s", "512"]
        for fault in faults:
            words += ["-e", f"inject={fault}"]
        if faults:  # nothing else need be stopped for
            words += ["-e", "trace=" + ",".join(fault.split(":", 1)[0] for fault in faults)]
        if path:
            words += ["-P", path]
        words += ["-o", os.fspath(log), "-p", str(pid)]
        try:
            self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise UsageError(f"strace: {error}") from error
        self._wait_until_attached(pid)

    def _wait_until_attached(self, pid: int) -> None:
        until = time.monotonic() + _PATIENCE_S
        while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                self.let_go()
                assert self._process.stderr is not None
                raise HarnessError(f"strace did not attach: {self._process.stderr.read()}")
            time.sleep(0.0005)

    def let_go(self) -> None:
        """Detach; the process runs on without faults. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()
        if self._process.stderr is not None:
            self._process.stderr.close()
