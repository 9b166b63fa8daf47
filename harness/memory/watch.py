"""A session seen from outside while it works: page types, resources, operations done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.memory.session import PROGRESS
from harness.probes.memory import page_types
from harness.probes.resources import resources

__all__ = ["Sample", "Watch"]

_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look from outside.

    Attributes
    ----------
    operations
        Accesses that the session had done.
    by_type, resources
        As `page_types` and `resources` give them.
    """

    operations: int
    by_type: dict[str, int]
    resources: dict[str, int]


class Watch:
    """Looks at a process at intervals until it is told to stop; a context manager.

    Parameters
    ----------
    progress
        Where the session says how many accesses are done; nothing is kept before it says so.
    on_look
        Told the operations done, in the watching thread.
    """

    def __init__(
        self,
        progress: Path,
        on_look: Callable[[int], None] = lambda _: None,
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._progress = progress
        self._on_look = on_look
        self._interval_s = interval_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.samples: list[Sample] = []

    def begin(self, pid: int) -> None:
        """Look at this process from now on."""
        self._thread = threading.Thread(target=self._look, args=(pid,), daemon=True)
        self._thread.start()

    def _look(self, pid: int) -> None:
        while not self._end.is_set():
            begin = time.monotonic()
            try:
                told = self._progress.read_bytes()
                if len(told) == PROGRESS.size:
                    (operations,) = PROGRESS.unpack(told)
                    found = Sample(
                        operations=operations, by_type=page_types(pid), resources=resources(pid)
                    )
                    self.samples.append(found)
                    self._on_look(operations)
            except (OSError, KeyError, ValueError):
                pass  # it has not begun, or has just ended: half a file says nothing
            self._end.wait(max(0.0, self._interval_s - (time.monotonic() - begin)))

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def as_json(self) -> list[dict[str, Any]]:
        """The samples, with operations that rise: what came after the end is left out."""
        found: list[dict[str, Any]] = []
        for one in self.samples:
            if not found or one.operations > found[-1]["operations"]:
                found.append(asdict(one))
        return found
