"""The highest anonymous memory of this process over a stretch of work."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["AnonymousPeak", "anonymous_bytes"]

_INTERVAL_S = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")


def anonymous_bytes() -> int:
    """Resident bytes that belong to no file: a cheap look, proc(5), statm."""
    _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(resident) - int(shared)) * _PAGE


class AnonymousPeak:
    """Looks every 10 ms; `added` is the peak above what there was when it began."""

    def __init__(self) -> None:
        gc.collect()
        self._end = threading.Event()
        self._peak = self._before = 0
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.wait(_INTERVAL_S):
            self._peak = max(self._peak, anonymous_bytes())

    def __enter__(self) -> AnonymousPeak:
        self._thread.start()
        self._before = anonymous_bytes()  # the thread's own stack is not the store's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._peak = max(self._peak, anonymous_bytes())
        self._end.set()
        self._thread.join()

    @property
    def added(self) -> int:
        """Bytes."""
        return self._peak - self._before
