"""A slab: records of rows in shared memory, appended one after the other and never changed.

    0     8   magic
    8    16   nonce of the pool
    24    8   number of the slab, its generation: 1, 2, 3, ... in the pool, never given twice
    32    4   process that made it, u32; its descriptor, u32 at 36; bytes, u32 at 40
    44    4   CRC-32C of bytes 0 to 43
    64    8   end of the last record, u64: the only bytes that change; it only grows
    128       records, each at a multiple of 128:
              CRC-32C of what follows, key length u16, 0 u16, dimension u32, 0 u32; key;
              from the next multiple of 64 on, the row

All numbers little-endian. A slab is appended to under the pool's lock only. What was appended
never changes, so a row can be handed out without anything to count: the mapping is the reference,
and the kernel counts mappings.
"""

from __future__ import annotations

import mmap
import os
import struct

import crc32c
import numpy as np

from titanstore.codec.base import Vector
from titanstore.pool.memory import attach_memory, close_descriptor, make_memory

UNIT = 128
SLAB_BYTES_MAX = UNIT * 2**16  # what the index has bits for
RECORD_BYTES = 16
_MAGIC = b"TSSLAB1\n"
_HEADER = struct.Struct("<8s16sQIII")
_CHECK = struct.Struct("<I")
_RECORD = struct.Struct("<IHHII")
_END_CELL = 8  # of 8 bytes each
_FIRST = 128
_ALIGN = 64

_crc = crc32c.crc32c
_record_at = _RECORD.unpack_from


def record_bytes(key: bytes, dimension: int) -> int:
    """Bytes that a record takes in a slab."""
    row_at = -(-(RECORD_BYTES + len(key)) // _ALIGN) * _ALIGN
    return -(-(row_at + 4 * dimension) // UNIT) * UNIT


def slab_bytes(largest_record: int) -> int:
    """Bytes of the smallest slab that holds such a record: whole pages."""
    return -(-(_FIRST + largest_record) // mmap.PAGESIZE) * mmap.PAGESIZE


class Slab:
    """One slab, mapped. Threads may read at once; appending is for the holder of the lock.

    Attributes
    ----------
    floats
        All of it as float32, read-only; every row that is handed out is a part of this array and
        keeps it, and so the mapping, alive.
    descriptor
        For other processes to find the slab by; -1 where another process made it.
    """

    __slots__ = ("_cells", "_verified", "_writable", "descriptor", "floats", "memory", "number")

    def __init__(self, mapping: mmap.mmap, number: int, descriptor: int) -> None:
        self.number = number
        self.descriptor = descriptor
        self._writable = memoryview(mapping)
        self._cells = self._writable[:_FIRST].cast("Q")
        self.memory = self._writable.toreadonly()
        self.floats: Vector = np.frombuffer(self.memory, np.float32)
        self._verified = bytearray(len(mapping) // UNIT)

    @classmethod
    def make(cls, nonce: bytes, number: int, nbytes: int) -> Slab:
        """A new, empty slab, owned by this process. Raises OSError."""
        descriptor, mapping = make_memory(nbytes)
        header = _HEADER.pack(_MAGIC, nonce, number, os.getpid(), descriptor, nbytes)
        mapping[: len(header) + 4] = header + _CHECK.pack(_crc(header))
        slab = cls(mapping, number, descriptor)
        slab._cells[_END_CELL] = _FIRST
        return slab

    @classmethod
    def attach(
        cls, pid: int, descriptor: int, nonce: bytes, number: int, nbytes: int
    ) -> Slab | None:
        """A slab that process `pid` made; None if it cannot be had or is not the one meant."""
        if not slab_bytes(0) <= nbytes <= SLAB_BYTES_MAX:
            return None
        found = attach_memory(pid, descriptor, nbytes)
        if found is None:
            return None
        close_descriptor(found[0])
        mapping = found[1]
        header = _HEADER.pack(_MAGIC, nonce, number, pid, descriptor, nbytes)
        if mapping[: len(header) + 4] != header + _CHECK.pack(_crc(header)):
            return None
        return cls(mapping, number, -1)

    def let_go(self) -> None:
        """No process can map it from this one any more; what is mapped stays."""
        if self.descriptor >= 0:
            close_descriptor(self.descriptor)
            self.descriptor = -1

    @property
    def nbytes(self) -> int:
        """Bytes of the whole slab."""
        return len(self.memory)

    @property
    def owner(self) -> int:
        """The process that made it."""
        return int(_HEADER.unpack_from(self.memory)[3])

    def room(self) -> int:
        """Bytes that can still be appended; none where the header makes no sense."""
        end = self._cells[_END_CELL]
        return self.nbytes - end if end >= _FIRST and end % UNIT == 0 else 0

    def append(self, key: bytes, row: Vector) -> int:
        """Write a record behind the last one and return where, in units.

        The caller holds the pool's lock, has seen that there is room, and puts the place into the
        index afterwards. Whoever is killed before that has changed nothing that anybody looks at.
        """
        at = self._cells[_END_CELL]
        memory = self._writable
        key_at = at + RECORD_BYTES
        row_at = _row_at(at, len(key))
        memory[key_at : key_at + len(key)] = key
        memory[row_at : row_at + row.nbytes] = row.data.cast("B")
        _RECORD.pack_into(memory, at, 0, len(key), 0, row.size, 0)
        _CHECK.pack_into(memory, at, self._checksum(at, len(key), row.size))
        self._cells[_END_CELL] = at + record_bytes(key, row.size)
        return at // UNIT

    def row(self, unit: int, key: bytes) -> Vector | None:
        """The row of a key in the record at a place; None if another key's, or not whole.

        The first look at a record compares its checksum; from then on it cannot change.
        """
        at = unit * UNIT
        if unit >= len(self._verified) or not (self._verified[unit] or self._verify(unit)):
            return None
        _, size, _, dimension, _ = _record_at(self.memory, at)
        if self.memory[at + 16 : at + 16 + size] != key:
            return None
        start = (at + 79 + size & -64) >> 2  # `_row_at`, in values
        return self.floats[start : start + dimension]

    def _verify(self, unit: int) -> bool:
        at = unit * UNIT
        if at < _FIRST:
            return False
        wanted, size, _, dimension, _ = _record_at(self.memory, at)
        if not (dimension and _row_at(at, size) + 4 * dimension <= self.nbytes):
            return False
        if self._checksum(at, size, dimension) != wanted:
            return False
        self._verified[unit] = 1
        return True

    def _checksum(self, at: int, size: int, dimension: int) -> int:
        row_at = _row_at(at, size)
        begun = _crc(self.memory[at + 4 : at + RECORD_BYTES + size])
        return int(_crc(self.memory[row_at : row_at + 4 * dimension], begun))


def _row_at(at: int, key_bytes: int) -> int:
    return at + RECORD_BYTES + key_bytes + _ALIGN - 1 & -_ALIGN
