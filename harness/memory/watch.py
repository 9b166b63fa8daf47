"""A session seen from outside while it works: page types, resources, operations done."""

from __future__ import annotations

import struct
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.memory.session import ENDED, PROGRESS
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
    interval_s
        From the beginning of one look to that of the next.
    """

    def __init__(self, progress: Path, *, interval_s: float = _INTERVAL_S) -> None:
        self._progress = progress
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
                operations = self._operations()
                if operations >= 0:
                    found = Sample(
                        operations=operations, by_type=page_types(pid), resources=resources(pid)
                    )
                    if self._operations() != ENDED:  # else the store may have been closed meanwhile
                        self.samples.append(found)
            except (OSError, KeyError, ValueError, struct.error):
                pass  # it has not begun, or has just ended: half a file says nothing
            self._end.wait(max(0.0, self._interval_s - (time.monotonic() - begin)))

    def _operations(self) -> int:
        (operations,) = PROGRESS.unpack(self._progress.read_bytes())
        return int(operations)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def as_json(self) -> list[dict[str, Any]]:
        """The samples, of those with equal operations the first alone."""
        found: list[dict[str, Any]] = []
        for one in self.samples:
            if not found or one.operations > found[-1]["operations"]:
                found.append(asdict(one))
        return found
