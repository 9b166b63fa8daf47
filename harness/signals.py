"""Ending early without leaving anything half-written."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTED", "TERMINATED", "sigterm_tidies_up"]

INTERRUPTED, TERMINATED = 130, 143  # 128 and the number of the signal


@contextmanager
def sigterm_tidies_up() -> Iterator[None]:
    """A cancelled command ends its workers and removes what is half-done, as after Ctrl-C."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
