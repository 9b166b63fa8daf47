"""The board of a pool: which key lies where, which slabs there are, what it is true for.

    0      8   magic
    8     16   nonce of the pool
    24    32   identity of the store
    56     4   CRC-32C of bytes 0 to 55
    64     8   generation of the store that every entry is true for, u64
    72     8   number of the oldest slab, u64; 80: that of the next one
    128        64 slots of 32 bytes; slab n in slot n % 64: number u64, process u64,
               descriptor u64, bytes u64
    4096       8192 entries of u64 in buckets of 4: 0, or tag << 48 | unit << 32 | number % 2^32

All numbers little-endian, each u64 stored at once. Written under the pool's lock only, read without
one. An entry names a place; what lies there says itself whose row it is (`slab`).
"""

from __future__ import annotations

import errno
import mmap
import secrets
import struct
import threading

import crc32c
import numpy as np

from titanstore.pool.memory import attach_memory, close_descriptor, make_memory
from titanstore.pool.slab import Slab

IDENTITY_BYTES = 32  # 16 of the store's id, 16 of its file GENERATION
NONCE_BYTES = 16
SLABS_MAX = 64
_MAGIC = b"TSPOOL1\n"
_HEADER = struct.Struct("<8s16s32s")
_CHECK = struct.Struct("<I")
GENERATION, OLDEST, _NEXT = 8, 9, 10  # cells
_SLOTS_AT, _INDEX_AT = 128, 4096
WAYS = 4
_BUCKETS = 2048
_NBYTES = _INDEX_AT + 8 * WAYS * _BUCKETS
_NUMBER_BITS = 2**32 - 1
_NUMBERS_MAX = 2**63  # never reached

_crc = crc32c.crc32c


class Board:
    """One pool as this process sees it: the shared board, and the slabs mapped so far.

    Attributes
    ----------
    cells
        The first 4096 bytes as u64: GENERATION of the store that every entry is true for, number
        of the OLDEST slab.
    index
        The entries.
    slabs
        Mapped slabs by number % 2^32.
    descriptor
        For other processes to find the board by.
    """

    def __init__(self, mapping: mmap.mmap, descriptor: int, nonce: bytes) -> None:
        memory = memoryview(mapping)
        self.nonce = nonce
        self.descriptor = descriptor
        self.cells = memory[:_INDEX_AT].cast("Q")
        self.index = memory[_INDEX_AT:].cast("Q")
        self._entries = np.frombuffer(mapping, np.uint64, offset=_INDEX_AT)
        self._fence = threading.Lock()
        self.slabs: dict[int, Slab] = {}
        self._unreachable: set[int] = set()
        self.oldest_seen = 0

    @classmethod
    def make(cls, identity: bytes) -> Board:
        """A new board without rows. Raises OSError."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        descriptor, mapping = make_memory(_NBYTES)
        header = _HEADER.pack(_MAGIC, nonce, identity)
        mapping[: len(header) + 4] = header + _CHECK.pack(_crc(header))
        board = cls(mapping, descriptor, nonce)
        board.cells[OLDEST] = board.cells[_NEXT] = 1
        # of no generation but by chance, and without an entry it then tells no lie either
        return board

    @classmethod
    def attach(cls, pid: int, descriptor: int, nonce: bytes, identity: bytes) -> Board | None:
        """The board that process `pid` has; None if it cannot be had or is another store's."""
        found = attach_memory(pid, descriptor, _NBYTES)
        if found is None:
            return None
        own, mapping = found
        header = _HEADER.pack(_MAGIC, nonce, identity)
        if mapping[: len(header) + 4] != header + _CHECK.pack(_crc(header)):
            close_descriptor(own)
            return None
        return cls(mapping, own, nonce)

    # -- reading, without a lock -----------------------------------------------------------

    def live(self) -> range:
        """Numbers of all slabs, oldest first."""
        oldest, following = self.cells[OLDEST], self.cells[_NEXT]
        return range(oldest, min(following, oldest + SLABS_MAX))

    def slab(self, number: int) -> Slab | None:
        """A slab by number % 2^32, mapped if it was not; None if it is gone or cannot be had."""
        slab = self.slabs.get(number)
        if slab is None and number not in self._unreachable:
            slab = self._attach(number)
            if slab is None:
                self._unreachable.add(number)
            else:
                self.slabs[number] = slab
        return slab

    def _attach(self, number: int) -> Slab | None:
        for whole in self.live():
            if whole & _NUMBER_BITS == number:
                seen, pid, descriptor, nbytes = self._slot(whole)
                if seen == whole:
                    return Slab.attach(pid, descriptor, self.nonce, whole, nbytes)
        return None

    def _slot(self, number: int) -> tuple[int, int, int, int]:
        first = _SLOTS_AT // 8 + 4 * (number % SLABS_MAX)
        seen, pid, descriptor, nbytes = self.cells[first : first + 4].tolist()
        return seen, pid, descriptor, nbytes

    def slab_bytes(self) -> int:
        """Bytes of all slabs."""
        return sum(self._slot(number)[3] for number in self.live())

    def row_count(self) -> int:
        """Entries at this moment."""
        return int(np.count_nonzero(self._entries))

    def forget_retired(self) -> list[Slab]:
        """Let go of slabs that left the pool, and return them. One thread at a time."""
        oldest = self.cells[OLDEST]
        if oldest == self.oldest_seen:
            return []
        self.oldest_seen = oldest
        live = {number & _NUMBER_BITS for number in self.live()}
        gone = [self.slabs.pop(number, None) for number in list(self.slabs) if number not in live]
        self._unreachable.clear()
        found = [slab for slab in gone if slab is not None]
        for slab in found:
            slab.let_go()
        return found

    def let_go(self) -> list[Slab]:
        """Nobody finds the board or a slab by this process any more; returns what was mapped."""
        close_descriptor(self.descriptor)
        slabs = list(self.slabs.values())
        for slab in slabs:
            slab.let_go()
        return slabs

    # -- writing, under the pool's lock ----------------------------------------------------

    def reset(self, generation: int) -> None:
        """Drop every entry; from now on what is entered is true for `generation`."""
        self._entries.fill(0)
        self.order_stores()
        self.cells[GENERATION] = generation

    def carry_over(self, codes: list[int], generation: int) -> None:
        """Drop the entries of changed keys; all others are true for `generation` as well."""
        for code in codes:
            for place in _places(code):
                if self.index[place] >> 48 == code >> 16:  # perhaps of another key: no harm
                    self.index[place] = 0
        self.order_stores()
        self.cells[GENERATION] = generation

    def slab_with_room(self, wanted: int, nbytes: int, bytes_max: int) -> Slab:
        """The newest slab, or a new one of `nbytes`; old ones go until there is room for it.

        Raises OSError, also where the numbers of the slabs make no sense: a process that could
        write here has damaged them, and nobody knows which were given.
        """
        oldest, following = self.cells[OLDEST], self.cells[_NEXT]
        if not 0 < oldest <= following <= min(oldest + SLABS_MAX, _NUMBERS_MAX):
            raise OSError(errno.EIO, f"the pool's board is damaged: slabs {oldest} to {following}")
        newest = following - 1
        if newest in self.live():
            slab = self.slab(newest & _NUMBER_BITS)
            if slab is not None and slab.room() >= wanted:
                return slab
        live = self.live()
        while live and (len(live) >= SLABS_MAX or self.slab_bytes() + nbytes > bytes_max):
            self._retire(live[0])
            live = self.live()
        slab = Slab.make(self.nonce, newest + 1, nbytes)
        first = _SLOTS_AT // 8 + 4 * (slab.number % SLABS_MAX)
        for place, value in enumerate((slab.number, slab.owner, slab.descriptor, slab.nbytes)):
            self.cells[first + place] = value
        self.order_stores()
        self.cells[_NEXT] = slab.number + 1
        self.slabs[slab.number & _NUMBER_BITS] = slab
        return slab

    def _retire(self, number: int) -> None:
        # rows that are handed out stay as they are: the memory is never used again
        entries = self._entries
        entries[(entries & np.uint64(_NUMBER_BITS)) == (number & _NUMBER_BITS)] = 0
        self.order_stores()
        self.cells[OLDEST] = number + 1

    def enter(self, code: int, slab: Slab, unit: int) -> None:
        """Make a record findable: one store, the last step of publishing it."""
        places = _places(code)
        entries = [self.index[place] for place in places]
        tags = [entry >> 48 if entry else -1 for entry in entries]
        if code >> 16 in tags:
            way = tags.index(code >> 16)
        elif 0 in entries:
            way = entries.index(0)
        else:
            oldest = self.cells[OLDEST] & _NUMBER_BITS
            ages = [(entry - oldest) & _NUMBER_BITS for entry in entries]
            way = ages.index(min(ages))
        self.order_stores()
        self.index[places[way]] = code >> 16 << 48 | unit << 32 | slab.number & _NUMBER_BITS

    def order_stores(self) -> None:
        """Let no later store of this thread be seen before an earlier one.

        x86-64 keeps that order anyway. On ARM a release followed by an acquire of the same lock
        does (the section "Memory order" of reports/decisions/0018).
        """
        with self._fence:
            pass
        with self._fence:
            pass


def first_place(code: int) -> int:
    """Where the bucket of a key begins in the index."""
    return (code & _BUCKETS - 1) * WAYS


def _places(code: int) -> range:
    return range(first_place(code), first_place(code) + WAYS)
