"""Which key leaves a full tier. Pure: keys in, keys out.

`touch` is called on every hit without a lock, so it must be one C call or tolerate races; the
other methods are called under their tier's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

# Of the resident keys, those that nobody has asked for yet; hit ratios differ by less than 0.2
# points between 0.15 and 0.4 (reports/decisions/0003)
_PROBATION_SHARE = 0.3


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


class ProbationPolicy:
    """Two queues: prefetched keys have to be read before they may stay among the others.

    A hit only marks its key, so the hit path needs no lock and moves nothing. A key that was asked
    for joins the main queue; a prefetched one joins the queue on probation. While those are more
    than their share, the oldest of them is looked at: marked, it moves to the main queue, unmarked,
    it goes. Otherwise the oldest of the main queue is looked at: marked, it is unmarked and goes to
    the end (a second chance), unmarked, it goes. So chunks brought in for a single scattered read
    push out each other, not what is in use. The idea is S3-FIFO's (Yang et al., "FIFO queues are
    all you need for cache eviction", SOSP 2023), with prefetching in place of first admission.
    """

    def __init__(self) -> None:
        self._probation: OrderedDict[str, None] = OrderedDict()
        self._main: OrderedDict[str, None] = OrderedDict()
        self._marked: set[str] = set()
        self.touch: Callable[[str], object] = self._marked.add

    def admit(self, key: str, *, prefetched: bool = False) -> None:
        """Put a key at the new end of its queue."""
        (self._probation if prefetched else self._main)[key] = None

    def victim(self) -> Victim:
        """Take the first unmarked key of the queue whose turn it is."""
        resident = len(self._probation) + len(self._main)
        if not resident:
            raise IndexError("no key is resident")
        if len(self._marked) > 2 * resident + 64:
            # hits that raced with evictions have marked keys that are gone
            self._marked.intersection_update([*self._probation, *self._main])
        while True:
            is_trial = not self._main or len(self._probation) > _PROBATION_SHARE * resident
            key, _ = (self._probation if is_trial else self._main).popitem(last=False)
            if key not in self._marked:
                return Victim(key, not is_trial)
            self._marked.discard(key)
            self._main[key] = None

    def remove(self, key: str) -> None:
        """Forget a key."""
        self._probation.pop(key, None)
        self._main.pop(key, None)
        self._marked.discard(key)


def make_policy(name: str) -> Policy:
    """The policy of that name (`StoreConfig.policy`)."""
    return ProbationPolicy() if name == "probation" else LruPolicy()
