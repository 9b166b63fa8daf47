"""Counters, sizes and latencies of one open store, for other processes to look at.

Nobody waits for it and it has no thread: operations leave their latency in a cell of shared
memory, and the counters from time to time. Whatever goes wrong, the store works on and publishes
nothing.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from titanstore.figures.folder import FiguresFile, pid_namespace, remove_dead
from titanstore.figures.latencies import BUCKETS, bucket_of
from titanstore.figures.layout import CELLS, LATENCIES_CELL, VALUES_CELL, cells_of, pack_head

# One hot get in so many is timed: two looks at the clock cost as much as what they time
HOT_SAMPLED = 512
# The same of one that is not hot: what it decodes leaves nothing of the clock's code in the caches
LOADS_SAMPLED = 8
# Counters are copied, for 2 us, after each write and search; after a timed read if it took longer
_LONG_NS = 200_000
# than this, or if they have not been for so long
_STALE_NS = 20_000_000


class Operation(IntEnum):
    """What is timed: calls that returned. Names in the file are these, in lower case."""

    GET_HOT = 0
    GET_OTHER = 1  # warm or cold
    GET_MANY = 2
    PUT = 3
    UPDATE = 4
    SEARCH = 5


class Publisher:
    """Publishes until it is closed. Any thread may use it; it must not cross a fork.

    Parameters
    ----------
    names, values
        Names of counters and sizes, and what gives their values in that order, none negative.
    wanted
        False: publishes nothing, for next to no time.
    """

    def __init__(
        self,
        store_id: bytes,
        names: Sequence[str],
        values: Callable[[], Iterable[int]],
        *,
        wanted: bool,
    ) -> None:
        self._values = values
        self._file: FiguresFile | None = None
        self._last = slice(VALUES_CELL, VALUES_CELL + len(names) + 1)
        self._published_ns = 0
        if wanted and sys.byteorder == "little":
            self._begin(store_id, names)

    def _begin(self, store_id: bytes, names: Sequence[str]) -> None:
        operations = {operation.name.lower(): 1 for operation in Operation}
        operations |= {"get_hot": HOT_SAMPLED, "get_other": LOADS_SAMPLED}
        try:
            user = os.geteuid()
            remove_dead(user)
            head = pack_head(
                store_id,
                os.getpid(),
                pid_namespace(),
                time.time(),
                ["published_us", *names],
                operations,
            )
            self._file = FiguresFile(head, store_id)
        except OSError:  # no shared memory here, or no room in it, or somebody else's folder
            return
        self._cells = cells_of(self._file.mapping)
        self.publish()

    @property
    def is_publishing(self) -> bool:
        """Can others see the figures?"""
        return self._file is not None

    def note(self, operation: Operation | None, started_ns: int) -> None:
        """Count a call that began at `time.perf_counter_ns()` and ends now; None: of no name."""
        if self._file is None:
            return
        now = time.perf_counter_ns()
        took = now - started_ns
        if operation is not None:
            # without a lock, as the counters are (metrics.Counters)
            self._cells[LATENCIES_CELL + BUCKETS * operation + bucket_of(took)] += 1
        is_read = operation is not None and operation < Operation.PUT
        if not is_read or took > _LONG_NS or now - self._published_ns > _STALE_NS:
            self._published_ns = now
            self._copy()

    def publish(self) -> None:
        """Show the counters as they are now."""
        if self._file is not None:
            self._copy()

    def _copy(self) -> None:
        now_us = max(0, time.time_ns() // 1000)  # a clock before 1970 must not fail a read
        self._cells[self._last] = array("Q", [now_us, *self._values()])

    def close(self) -> None:
        """Take the figures away; idempotent. Calls under way may still note."""
        file = self._file
        self.leave()
        if file is not None:
            file.remove()

    def leave(self) -> None:
        """In a forked child: touch nothing of the parent's any more."""
        if self._file is not None:
            self._cells = memoryview(bytearray(8 * CELLS)).cast("Q")
            self._file = None
