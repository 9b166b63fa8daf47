"""Memory for decoded rows: fixed slots that are reused only when nobody looks at them.

A caller may keep a row, or any slice of it, for ever. numpy keeps the row alive as the base of
every array made from it, so the row's own weak reference tells when its slot is free again. Slots
lie in private anonymous mappings rather than on the heap: two threads that allocate and free rows
of 4 to 6 kB would fragment the allocator's arenas by more than the tier's whole budget.
"""

from __future__ import annotations

import mmap
import weakref
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from titanstore.codec.base import Vector

_EXTENT_BYTES = 64 * 1024
_ITEM = 4


class _Slot:
    __slots__ = ("extent", "index", "reference")

    def __init__(self, extent: _Extent, index: int) -> None:
        self.extent = extent
        self.index = index
        self.reference: _SlotReference | None = None


class _SlotReference(weakref.ref[Vector]):
    """A weak reference to a row that knows which slot the row lies in."""

    __slots__ = ("slot",)
    slot: _Slot


class _Extent:
    """Some slots of one dimension in one mapping."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.count = max(1, _EXTENT_BYTES // (dimension * _ITEM))
        # private: a shared mapping would let a forked child write into its parent's rows
        self.memory = mmap.mmap(
            -1, self.count * dimension * _ITEM, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        self.rows = np.frombuffer(self.memory, np.float32).reshape(self.count, dimension)
        self.locked = memoryview(self.memory).toreadonly()
        # a slot and its reference hold each other: without this the collector would take both
        self.slots = [_Slot(self, index) for index in range(self.count)]

    @property
    def nbytes(self) -> int:
        return len(self.memory)


class RowPool:
    """Slots for rows of any dimension, within `bytes_max`. Use under one lock.

    Rows come back by themselves: the moment the last array over a row dies, in whatever thread,
    its slot joins the free ones again.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._free: dict[int, deque[_Slot]] = {}
        self._extents: dict[int, _Extent] = {}  # by id, so that one is dropped by identity

    @property
    def nbytes(self) -> int:
        """Bytes of all mappings."""
        return self._bytes

    @property
    def idle_bytes(self) -> int:
        """Bytes of slots in which no row lies."""
        return sum(len(free) * width * _ITEM for width, free in self._free.items())

    def new_row(self, dimension: int, fill: Callable[[Vector], None]) -> tuple[Vector, bool]:
        """A read-only row whose values `fill` has written.

        Returns
        -------
        row
            float32, shape (dimension,), not writable by any means.
        is_pooled
            False: the pool is exhausted, because callers hold its rows; this one owns its memory.
        """
        slot = self._take(dimension)
        if slot is None:
            row = np.empty(dimension, np.float32)
            fill(row)
            # a view of it: the owner of memory could be made writable again
            return np.frombuffer(row.data.toreadonly(), np.float32), False
        extent, index = slot.extent, slot.index
        try:
            fill(extent.rows[index])
        except BaseException:
            self._free[dimension].append(slot)
            raise
        row = np.frombuffer(extent.locked, np.float32, dimension, index * dimension * _ITEM)
        reference = _SlotReference(row, self._release)
        reference.slot = slot
        slot.reference = reference
        return row, True

    def _take(self, dimension: int) -> _Slot | None:
        free = self._free.setdefault(dimension, deque())
        try:
            return free.pop()
        except IndexError:
            pass
        size = max(1, _EXTENT_BYTES // (dimension * _ITEM)) * dimension * _ITEM
        if self._bytes + size > self._bytes_max:
            self._drop_empty_extents(dimension)
        if self._bytes + size > self._bytes_max:
            return None
        extent = _Extent(dimension)
        self._bytes += extent.nbytes
        self._extents[id(extent)] = extent
        free.extend(extent.slots[1:])
        return extent.slots[0]

    def _release(self, reference: weakref.ref[Vector]) -> None:
        # runs wherever the last array died: one atomic append, no lock
        assert isinstance(reference, _SlotReference)
        slot = reference.slot
        slot.reference = None
        self._free[slot.extent.dimension].append(slot)

    def _drop_empty_extents(self, wanted: int) -> None:
        """Give back mappings of other dimensions of which no slot is in use."""
        for dimension, free in self._free.items():
            if dimension == wanted:
                continue
            slots: list[_Slot] = []
            while free:  # one by one: a row may come back at any moment
                slots.append(free.popleft())
            seen = Counter(id(slot.extent) for slot in slots)
            kept = [slot for slot in slots if seen[id(slot.extent)] < slot.extent.count]
            free.extend(kept)
            empty = {id(slot.extent): slot.extent for slot in slots}
            for slot in kept:
                empty.pop(id(slot.extent), None)
            for name, extent in empty.items():
                self._bytes -= extent.nbytes
                del self._extents[name]
