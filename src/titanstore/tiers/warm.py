"""Tier L2: compressed frames of rows that left the hot tier."""

from __future__ import annotations

import threading
from collections.abc import Callable

from titanstore.codec.frame import Buffer
from titanstore.metrics import Counters
from titanstore.tiers.policy import make_policy

_DOCUMENT_BYTES = 4
# a bytes object's header, its document, its key, and its places in two dictionaries
FRAME_OVERHEAD_BYTES = 330


class WarmTier:
    """Frames within what the hot tier leaves of the total. Safe for many threads."""

    def __init__(self, bytes_max: Callable[[], int], policy: str, counters: Counters) -> None:
        self._bytes_max = bytes_max
        self._policy = make_policy(policy)
        self._counters = counters
        self._frames: dict[str, bytes] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self.epoch = 0  # raised by each invalidation

    @property
    def nbytes(self) -> int:
        """Bytes of resident frames with their bookkeeping."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._frames)

    def take(self, key: str) -> tuple[memoryview, int] | None:
        """Remove and return a frame and the number of its document: it is on its way up."""
        if key not in self._frames:
            return None
        with self._lock:
            kept = self._drop(key)
        if kept is None:
            return None
        document = int.from_bytes(kept[:_DOCUMENT_BYTES], "little")
        return memoryview(kept)[_DOCUMENT_BYTES:], document

    def has_room(self) -> bool:
        """Does the hot tier leave anything for this one?"""
        return self._bytes_max() > FRAME_OVERHEAD_BYTES

    def admit(self, key: str, frame: Buffer, epoch: int, document: int = 0) -> bool:
        """Make a frame resident, unless it is larger than the whole tier.

        A frame that was looked up before an invalidation (`epoch` is older) is not admitted.
        """
        # one object for both: a tuple would cost as much as the key
        kept = document.to_bytes(_DOCUMENT_BYTES, "little") + frame
        cost = len(kept) + FRAME_OVERHEAD_BYTES
        with self._lock:
            limit = self._bytes_max()
            if epoch != self.epoch or key in self._frames or cost > limit:
                return False
            while self._bytes + cost > limit:
                self._drop(self._policy.victim().key, left=True)
                self._counters.warm_evictions += 1
            self._frames[key] = kept
            self._bytes += cost
            self._policy.admit(key)
        return True

    def shrink(self) -> None:
        """Evict until the tier fits what the hot tier leaves now."""
        if self._bytes <= self._bytes_max():
            return
        with self._lock:
            while self._frames and self._bytes > self._bytes_max():
                self._drop(self._policy.victim().key, left=True)
                self._counters.warm_evictions += 1

    def invalidate(self, keys: list[str]) -> None:
        """Drop keys whose stored value changed."""
        with self._lock:
            self.epoch += 1
            for key in keys:
                self._drop(key)

    def clear(self) -> None:
        """Drop everything, also what a reader is about to admit."""
        with self._lock:
            self.epoch += 1
            for key in list(self._frames):
                self._drop(key)

    def _drop(self, key: str, *, left: bool = False) -> bytes | None:
        frame = self._frames.pop(key, None)
        if frame is not None:
            self._bytes -= len(frame) + FRAME_OVERHEAD_BYTES
            if not left:
                self._policy.remove(key)
        return frame
