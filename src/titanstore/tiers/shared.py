"""Tier L1 in shared memory: the pool of all processes, and this one's own table of some rows."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path

from titanstore.codec.base import Vector
from titanstore.config import StoreConfig
from titanstore.events import Event, tell
from titanstore.metrics import Counters
from titanstore.pool.shared import SLAB_BYTES_MIN, SharedPool
from titanstore.tiers.hot import HotTier

# A row object, its key and its place in the table; measured by
# suites/tests/unit/titanstore/tiers/test_shared.py. The values themselves lie in the pool.
VIEW_BYTES = 380
# All rows of a tier of the default size, and so few of a large one that each process of a store
# adds less than 100 kB
VIEWS_MAX = 180
_SLABS_MIN = 4


class SharedTier(HotTier):
    """Decoded rows that every process of the store reads in place.

    `lookup` knows up to VIEWS_MAX of them by a dictionary, as fast as a private tier; `find` asks
    the pool for the others. What is invalidated, and when, is as in the private tier; what another
    process changed is dropped from the table when the generation is seen to have changed.

    Rows leave the pool in the order they came, many at a time; `policy` is for the private tier
    that this one turns into when there is no shared memory left.
    """

    def __init__(
        self,
        bytes_max: int,
        policy: str,
        counters: Counters,
        pool: SharedPool,
        generation: memoryview[int],
    ) -> None:
        super().__init__(bytes_max, policy, counters)
        self._shared: SharedPool | None = pool
        self._generation = generation
        self._retired = pool.retired
        self._private_touch = self.touch
        self.touch: Callable[[str], object] = len  # nothing to note, and nothing is faster

    @property
    def epoch(self) -> int:
        """The generation of the store: it changes before each invalidation, in every process."""
        return self._generation[0] if self._shared is not None else self._epoch

    @property
    def nbytes(self) -> int:
        """Bytes that are set aside for the pool and the table."""
        shared = self._shared
        return self._bytes if shared is None else shared.bytes_max + VIEWS_MAX * VIEW_BYTES

    def __len__(self) -> int:
        shared = self._shared
        return len(self.rows) if shared is None else shared.sizes()[0]

    @property
    def pool_bytes(self) -> int:
        """Bytes of the pool's slabs at this moment; 0 when the tier is private."""
        shared = self._shared
        return 0 if shared is None else shared.sizes()[1]

    def find(self, key: str) -> Vector | None:
        """A row of the pool, in place."""
        shared = self._shared
        if shared is None:
            return None
        epoch = self._generation[0]
        row = shared.find(key)
        if shared.retired != self._retired:
            self._drop_retired(shared)
        if row is not None:
            self._counters.pool_hits += 1
            if len(self.rows) < VIEWS_MAX:
                self._remember(key, row, epoch)
        return row

    def admit(self, key: str, row: Vector, epoch: int, *, prefetched: bool = False) -> list[str]:
        """Publish a row, unless it was read before a change; what leaves the pool has no name."""
        shared = self._shared
        if shared is None:
            return super().admit(key, row, epoch, prefetched=prefetched)
        try:
            pooled = shared.publish(key, row, epoch)
        except OSError as error:
            self._turn_private(shared, error)
            return []
        if shared.retired != self._retired:
            self._drop_retired(shared)
        if pooled is None:
            self._counters.pool_refusals += 1
        elif len(self.rows) < VIEWS_MAX:
            self._remember(key, pooled, epoch)
        return []

    def _remember(self, key: str, row: Vector, epoch: int) -> None:
        with self._lock:
            if epoch == self._generation[0] and self._shared is not None:
                self.rows[key] = row

    def _drop_retired(self, shared: SharedPool) -> None:
        """Forget rows of slabs that left the pool, or they would keep the slabs."""
        with self._lock:
            self._retired = shared.retired
            for key, row in list(self.rows.items()):
                if not shared.is_in_use(row):
                    self.rows.pop(key, None)

    def invalidate(self, keys: list[str]) -> None:
        """Drop keys whose stored value changed, for all processes."""
        shared = self._shared
        if shared is None:
            super().invalidate(keys)
            return
        with self._lock:
            for key in keys:
                self.rows.pop(key, None)
        try:
            if not shared.invalidate(keys):
                self._counters.pool_resets += 1
        except OSError as error:  # the pool stays behind the generation: nobody believes it
            self._turn_private(shared, error)

    def clear(self) -> None:
        """Drop what this process knows; the pool says itself what is still true."""
        if self._shared is None:
            super().clear()
            return
        with self._lock:
            self.rows.clear()

    def _turn_private(self, shared: SharedPool, error: OSError) -> None:
        """Go on in private memory, and say so."""
        with self._lock:
            if self._shared is None:
                return
            self._shared = None
            self.rows.clear()
            self._epoch -= 2**62  # no generation that a reader took for an epoch equals it
            self.touch = self._private_touch  # the store took the other one: first in, first out
            self.trouble = note_trouble_of_pool(error, self._counters)
        shared.close()

    def leave_parent(self) -> None:
        """In a forked child: close what was inherited; the tier itself is not used again."""
        if self._shared is not None:
            self._shared.leave_parent()

    def close(self) -> None:
        """Drop everything for good; idempotent. Rows that were handed out stay valid."""
        self.clear()
        if self._shared is not None:
            self._shared.close()


def open_shared_tier(
    path: Path,
    identity: bytes,
    generation: memoryview[int],
    config: StoreConfig,
    counters: Counters,
) -> SharedTier:
    """The tier of a store. Raises OSError: no shared memory, or less than it takes.

    Parameters
    ----------
    path, identity, generation
        As `SharedPool` has them.
    """
    bytes_max = min(config.hot_bytes_max, config.memory_bytes_max)
    pool_bytes = bytes_max - VIEWS_MAX * VIEW_BYTES
    if pool_bytes < _SLABS_MIN * SLAB_BYTES_MIN:
        raise OSError(errno.ENOMEM, f"a hot tier of {bytes_max} bytes is too small to be shared")
    pool = SharedPool(path, identity, generation, pool_bytes)
    return SharedTier(bytes_max, config.policy, counters, pool, generation)


def note_trouble_of_pool(error: OSError, counters: Counters) -> str:
    """Count and log that private memory takes the place of shared; returns why, in one line."""
    reason = error.strerror or str(error)
    counters.pool_fallbacks += 1
    tell(
        logging.WARNING,
        Event.POOL_FALLBACK,
        f"hot rows are kept in private memory, not shared: {reason}",
        kind=errno.errorcode.get(error.errno or 0, "unknown"),
    )
    return reason
