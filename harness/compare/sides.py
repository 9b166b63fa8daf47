"""The two sides of a comparison, and the parent's end of their processes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from harness.environment import project_root
from harness.errors import HarnessError, UsageError

__all__ = [
    "Bench",
    "Side",
    "SideError",
    "SideProcess",
    "Suite",
    "UnusableError",
    "side_environment",
]

_CLEARED = (
    "OPENBLAS_CORETYPE",  # these two slow numpy's BLAS several times over
    "OPENBLAS_L2_SIZE",
    "TIMINGS_STORES",  # one side would read the store that the other one made
)
_LAST_WORDS = 600
_START_S, _ANSWER_S = 120.0, 180.0


class SideError(HarnessError):
    """A process of one side ended, hung or answered nonsense; the message has its last words."""


class UnusableError(SideError):
    """The side's own titanstore cannot be imported: a fault of its code, not of the harness.

    Attributes
    ----------
    why
        The import's own words.
    """

    def __init__(self, side: str, why: str) -> None:
        super().__init__(f"{side}: titanstore cannot be imported: {why}")
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side: which code, and how to run it.

    Attributes
    ----------
    name
        "base" or "head".
    label
        What was asked for: "main", "HEAD", "HEAD with uncommitted changes".
    content_digest
        Of the tree's files; equal digests are the same code.
    source
        Folder that holds its package titanstore; first on `sys.path`.
    python
        The interpreter; that of the harness unless requirements differ.
    environment
        Where its packages come from, in words.
    """

    name: str
    label: str
    commit: str
    content_digest: str
    dirty: bool
    source: Path
    python: Path
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A benchmark with one set of parameters.

    Attributes
    ----------
    name
        As asv prints it: "codec.Decode.time_decode(1024)".
    benchmark, place
        The method, and which product of its parameters; None without parameters.
    """

    name: str
    benchmark: str
    place: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Where benchmarks lie, and the root that their own imports start from."""

    timings: Path
    root: Path

    @classmethod
    def usual(cls) -> Suite:
        """The checkout's."""
        root = project_root()
        return cls(timings=root / "suites" / "timings", root=root)


def side_environment(side: Side, suite: Suite, work: Path, hash_seed: int) -> dict[str, str]:
    """Environment of a side's process; the same for both but for its own folders."""
    kept = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    roots = [side.source, suite.root, project_root()]
    temporary = work / side.name  # names of one length: paths weigh the same on both sides
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(str(root) for root in roots),
        "PYTHONHASHSEED": str(hash_seed),
        "TMPDIR": str(temporary),
    }


class SideProcess:
    """A fresh process of a side; a context manager that leaves no process behind."""

    def __init__(
        self,
        side: Side,
        suite: Suite,
        work: Path,
        *,
        hash_seed: int,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._side = side
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self.environment = side_environment(side, suite, work, hash_seed)
        command = [str(side.python), "-P", "-m", "harness.compare.worker"]
        self._process = subprocess.Popen(
            [*prefix, *command, str(suite.timings), str(side.source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._err,
            env=self.environment,
            start_new_session=True,  # Ctrl-C goes to the parent, which ends its workers itself
        )
        self._patience = 20.0 if prefix else 1.0  # under an instrument everything takes longer
        self._read = b""
        self.pid = self._process.pid

    def started(self) -> Mapping[str, Any]:
        """Wait for the first two lines: the worker is there, and has imported titanstore.

        Raises
        ------
        UnusableError
            The side's titanstore cannot be imported, or ends or holds up its process.
        SideError
            It did not start, or imported another titanstore than its side's.
        UsageError
            An instrument is on that makes timings wrong.
        """
        first = self._answer(_START_S)
        on = [name for name, is_on in first["instruments"].items() if is_on]
        if on:
            raise UsageError(f"{', '.join(on)} is on in the processes: timings would be wrong")
        try:
            second = self._answer(_START_S)
        except SideError as error:
            why = str(error).removeprefix(f"{self._side.name}: ")
            raise UnusableError(self._side.name, why) from error
        if "unusable" in second:
            raise UnusableError(self._side.name, second["unusable"])
        if "stranger" in second:
            raise SideError(f"{self._side.name}: {second['stranger']}")
        return {**first, **second}

    def send(self, **command: Any) -> None:
        """Send a command; its answer is fetched by `answer`."""
        stdin = self._process.stdin
        assert stdin is not None
        # a broken pipe: it is dead already, and `answer` says why
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(command).encode() + b"\n")
            stdin.flush()

    def answer(self) -> Mapping[str, Any]:
        """The answer to the last command; {"error": ...} if the benchmark raised.

        Raises
        ------
        SideError
            The process ended or hung.
        """
        return self._answer(_ANSWER_S)

    def ask(self, **command: Any) -> Mapping[str, Any]:
        """`send`, then `answer`."""
        self.send(**command)
        return self.answer()

    def _answer(self, limit_s: float) -> Mapping[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + limit_s * self._patience
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                left = deadline - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    self._kill()
                    raise SideError(f"{self._side.name}: no answer in {limit_s:.0f} s")
                piece = os.read(stdout.fileno(), 1 << 20)
                if not piece:
                    raise SideError(f"{self._side.name}: {self._last_words()}")
                self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        try:
            found: Mapping[str, Any] = json.loads(line)
        except ValueError as error:
            raise SideError(f"{self._side.name}: answered nonsense: {line[:80]!r}") from error
        return found

    def _last_words(self) -> str:
        status = self._process.wait()
        self._err.seek(0)
        words = self._err.read()[-_LAST_WORDS:].decode(errors="replace").strip().splitlines()
        if status < 0:
            ended = f"killed by signal {-status} ({signal.strsignal(-status)})"
        else:
            ended = f"exit status {status}"
        return f"{ended}: {words[-1] if words else 'it said nothing'}"

    def close(self) -> None:
        """End it: gently if it listens, so that it removes its files, else by force."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(10 * self._patience)
        except BaseException as error:  # it hangs, or Ctrl-C: which does not reach it
            self._kill()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            process.stdout.close()
            self._err.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._kill()
        self.close()
