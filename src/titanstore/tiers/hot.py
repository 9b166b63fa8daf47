"""Tier L1: decoded rows, found by a dictionary lookup."""

from __future__ import annotations

import threading
from collections.abc import Callable

from titanstore.codec.base import Vector
from titanstore.metrics import Counters
from titanstore.tiers.policy import make_policy
from titanstore.tiers.rows import RowPool

# a row object and its memoryview, its slot, weak reference and key, and its places in dictionaries
# and sets; measured by suites/tests/unit/titanstore/tiers/test_hot.py
ROW_OVERHEAD_BYTES = 800


class HotTier:
    """Rows within a budget of bytes, their bookkeeping included.

    `lookup` and `touch` are the hit path and take no lock: `lookup` is `dict.get`, `touch` marks
    the key for the policy. Everything else happens under one lock.
    """

    def __init__(self, bytes_max: int, policy: str, counters: Counters) -> None:
        self._bytes_max = bytes_max
        self._policy = make_policy(policy)
        self._counters = counters
        # read by `EmbeddingStore.get` itself: a subscript takes half the time of `lookup`
        self.rows: dict[str, Vector] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._pool = RowPool(bytes_max)
        self.lookup: Callable[[str], Vector | None] = self.rows.get
        self.touch: Callable[[str], object] = self._policy.touch
        self._epoch = 0
        self.trouble: str | None = None  # why rows are not where they were to be

    @property
    def pool_bytes(self) -> int:
        """Bytes that other processes share; none here."""
        return 0

    @property
    def epoch(self) -> int:
        """Changes with each invalidation."""
        return self._epoch

    @property
    def nbytes(self) -> int:
        """Bytes of resident rows with their bookkeeping."""
        return self._bytes

    @property
    def idle_bytes(self) -> int:
        """Bytes of memory for rows that nothing lies in."""
        with self._lock:
            return self._pool.idle_bytes

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> list[str]:
        """Resident keys, a copy."""
        with self._lock:
            return list(self.rows)

    def new_row(self, dimension: int, fill: Callable[[Vector], None]) -> Vector:
        """A read-only row that `fill` has written; not yet resident."""
        with self._lock:
            row, is_pooled = self._pool.new_row(dimension, fill)
            if not is_pooled:
                self._counters.rows_beside_pool += 1
        return row

    def find(self, key: str) -> Vector | None:
        """A row that `lookup` does not know and this tier has nonetheless; here there is none."""
        return None

    def admit(self, key: str, row: Vector, epoch: int, *, prefetched: bool = False) -> list[str]:
        """Make a row resident and return the keys evicted for it.

        A row that was read before an invalidation (`epoch` is older) is not admitted: it may be
        the value that was just replaced.
        """
        cost = row.nbytes + ROW_OVERHEAD_BYTES
        with self._lock:
            if epoch != self.epoch or key in self.rows or cost > self._bytes_max:
                return []
            evicted = []
            while self._bytes + cost > self._bytes_max:
                victim = self._policy.victim()
                self._bytes -= self.rows.pop(victim.key).nbytes + ROW_OVERHEAD_BYTES
                self._counters.hot_evictions += 1
                self._counters.prefetched_unread += not victim.was_read
                evicted.append(victim.key)
            self.rows[key] = row
            self._bytes += cost
            self._policy.admit(key, prefetched=prefetched)
        return evicted

    def invalidate(self, keys: list[str]) -> None:
        """Drop keys whose stored value changed."""
        with self._lock:
            self._epoch += 1
            for key in keys:
                row = self.rows.pop(key, None)
                if row is not None:
                    self._bytes -= row.nbytes + ROW_OVERHEAD_BYTES
                    self._policy.remove(key)

    def leave_parent(self) -> None:
        """In a forked child, before anything else: close what only the parent may use."""

    def close(self) -> None:
        """Drop everything for good; idempotent. Rows that were handed out stay valid."""
        self.clear()

    def clear(self) -> None:
        """Drop everything, also what a reader is about to admit."""
        with self._lock:
            self._epoch += 1
            for key in list(self.rows):
                row = self.rows.pop(key)
                self._bytes -= row.nbytes + ROW_OVERHEAD_BYTES
                self._policy.remove(key)
