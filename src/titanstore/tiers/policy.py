"""Which key leaves a full tier. Pure: keys in, keys out.

`touch` is called on every hit without a lock, so it must be one C call or tolerate races; the
other methods are called under their tier's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Victim(NamedTuple):
    """The key to evict, and whether anyone read it: false only for a prefetched one."""

    key: str
    was_read: bool


class Policy(Protocol):
    """Order of eviction over the resident keys."""

    @property
    def touch(self) -> Callable[[str], object]: ...  # a hit on a resident key

    # a key that is not resident; `prefetched`: nobody has asked for it yet
    def admit(self, key: str, *, prefetched: bool = False) -> None: ...

    def victim(self) -> Victim: ...  # removes it; IndexError when nothing is resident

    def remove(self, key: str) -> None: ...  # a resident key that left by other ways


class LruPolicy:
    """Least recently used: a hit moves a key to the end of the queue."""

    def __init__(self) -> None:
        self._order: OrderedDict[str, None] = OrderedDict()
        self._unread: set[str] = set()  # prefetched ones

    def touch(self, key: str) -> None:
        """Note a hit; a key evicted by another thread meanwhile is ignored."""
        try:
            self._order.move_to_end(key)
        except KeyError:
            return
        self._unread.discard(key)

    def admit(self, key: str, *, prefetched: bool = False) -> None:
        """Put a key at the recent end."""
        self._order[key] = None
        if prefetched:
            self._unread.add(key)

    def victim(self) -> Victim:
        """Take the key that was used longest ago."""
        if not self._order:
            raise IndexError("no key is resident")
        key, _ = self._order.popitem(last=False)
        was_read = key not in self._unread
        self._unread.discard(key)
        return Victim(key, was_read)

    def remove(self, key: str) -> None:
        """Forget a key."""
        self._order.pop(key, None)
        self._unread.discard(key)


class SievePolicy:
    """SIEVE: a queue by admission and a hand that spares visited keys once.

    A hit only marks its key, so the hit path needs no lock and moves nothing. The hand walks from
    the oldest key to the newest and starts again; what it finds marked it unmarks and passes,
    what it finds unmarked goes. Source: Zhang et al., "SIEVE is simpler than LRU", NSDI 2024.
    One thing is added: a prefetched key is passed once, as if it had been read, because the hand
    often stands near the new end and would take a document's chunks before their turn has come.
    """

    def __init__(self) -> None:
        self._queue: list[str | None] = []  # by admission; None where a key has gone
        self._hand = 0
        self._resident = 0
        self._visited: set[str] = set()
        self._unread: set[str] = set()  # prefetched ones that the hand has not found read
        self._spared: set[str] = set()  # prefetched ones that the hand has not met
        self.touch: Callable[[str], object] = self._visited.add

    def admit(self, key: str, *, prefetched: bool = False) -> None:
        """Put a key at the new end of the queue."""
        self._queue.append(key)
        self._resident += 1
        if prefetched:
            self._unread.add(key)
            self._spared.add(key)

    def victim(self) -> Victim:
        """Take the first unmarked key from the hand on."""
        if not self._resident:
            raise IndexError("no key is resident")
        while True:
            if self._hand >= len(self._queue):
                self._hand = 0
            key = self._queue[self._hand]
            if key is not None:
                if key in self._visited:
                    self._visited.discard(key)
                    self._unread.discard(key)
                elif key not in self._spared:
                    was_read = key not in self._unread
                    self._take_out(self._hand)
                    return Victim(key, was_read)
                self._spared.discard(key)
            self._hand += 1

    def remove(self, key: str) -> None:
        """Forget a key; walks the queue, for invalidation is rare."""
        try:
            place = self._queue.index(key)
        except ValueError:
            return
        self._take_out(place)

    def _take_out(self, place: int) -> None:
        key = self._queue[place]
        assert key is not None
        self._queue[place] = None
        self._resident -= 1
        for marks in (self._visited, self._unread, self._spared):
            marks.discard(key)
        while self._queue and self._queue[-1] is None:
            self._queue.pop()
        if self._hand >= len(self._queue):
            self._hand = 0  # before the next admission, or the hand would meet that one first
        if len(self._queue) > 32 and self._resident < len(self._queue) // 2:
            self._hand = sum(1 for kept in self._queue[: self._hand] if kept is not None)
            self._queue = [kept for kept in self._queue if kept is not None]
            # a hit that raced with an eviction may have marked a key that is gone
            self._visited.intersection_update(self._queue)


def make_policy(name: str) -> Policy:
    """The policy of that name (`StoreConfig.policy`)."""
    return SievePolicy() if name == "sieve" else LruPolicy()
