"""A Bloom filter over the catalog's fingerprints, in a file that all processes map.

A bit is set before the catalog commits the key, so a key that can be seen is never refused. After
a power cut the mapped pages may be older than the catalog: unless the file was closed cleanly or
written since this boot, it is not believed, and the writer builds it anew from the catalog.

All bits of a key lie in one block of 64 bytes that ends with its checksum. "No" is believed only of
a block that is whole; of one that is damaged, or being written at this moment, the answer is
"perhaps". FORMAT.md, "Bloom filter, version 2".
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from crc32c import crc32c

from titanstore.segments.disk import boot_id, storage_error, write_at

_VERSION = 2
# magic, version, hashes, store id, boot id, bits, CRC-32C of all before
_HEADER = struct.Struct("<4sHH16s16sQI")
_STATE_AT, _ADDED_AT, _BLOCKS_AT = 56, 64, 128
# four equal bytes: no damage to one of them makes another state of it. Release 0.1 knew the first
_IN_USE, _CLEAN, _SUPERSEDED = (bytes([state]) * 4 for state in (1, 2, 3))
_BELIEVED = frozenset((_IN_USE, _CLEAN))
_HASHES = 7
_BITS_PER_KEY = 10  # 1.4 % of absent keys pass when it is full
_CAPACITY_MIN = 65_536
_BLOCK_BYTES, _CHECK_BYTES = 64, 4
_FILLED_BYTES = _BLOCK_BYTES - _CHECK_BYTES
_BLOCK_BITS = 8 * _FILLED_BYTES
# odd: each spreads 32 bits over 64
_TO_BLOCK, _TO_BITS = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_DRAWN = 9  # bits of a number that choose one of a block's
_LOOKS_S = (0.0, 0.001, 0.01)  # pauses before each look: a writer may be at it
_CHOICES = 2**_DRAWN - 1
_ONES = tuple(1 << (choice * _BLOCK_BITS >> _DRAWN) for choice in range(2**_DRAWN))


class BloomFilter:
    """One mapped filter. Any thread may ask; the store's writer adds."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        _, _, _, owner, _, self._bits, _ = _HEADER.unpack_from(mapping)
        self._check = crc32c(owner)
        self._blocks: int = self._bits // (8 * _BLOCK_BYTES)
        self._is_damaged = False

    @classmethod
    def open(cls, path: Path, store_id: bytes, *, read_only: bool) -> BloomFilter | None:
        """The filter in a file, None unless it is whole, of this store, and to be believed.

        The writer reads all of it: 20 ms where it was built for a million keys. A reader believes
        each block for itself.
        """
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"opening {path.name}") from error
        try:
            size = os.fstat(descriptor).st_size
            if size <= _BLOCKS_AT:
                return None
            if not read_only:
                _have_room(descriptor, size)
            access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
            mapping = mmap.mmap(descriptor, size, access=access)
        except OSError as error:
            raise storage_error(error, f"mapping {path.name}") from error
        finally:
            os.close(descriptor)
        magic, version, hashes, owner, boot, bits, check = _HEADER.unpack_from(mapping)
        is_whole = (
            (magic, version, hashes, owner) == (b"TBLM", _VERSION, _HASHES, store_id)
            and crc32c(mapping[: _HEADER.size - 4]) == check
            and size == _BLOCKS_AT + bits // 8
            and bits % (8 * _BLOCK_BYTES) == 0
        )
        state = mapping[_STATE_AT : _STATE_AT + 4]
        if not is_whole or not (state == _CLEAN or (state == _IN_USE and boot == boot_id())):
            return None
        opened = cls(mapping)
        if not read_only:
            if boot != boot_id():
                return None  # the writer marks it with this boot: as cheap to build it anew
            if opened.damaged_blocks():
                return None
            mapping[_STATE_AT : _STATE_AT + 4] = _IN_USE
            # a power cut must not leave it marked as clean
            mapping.flush(0, min(size, mmap.PAGESIZE))
        return opened

    @staticmethod
    def discard(path: Path) -> None:
        """Tell the processes that map the filter in a file to ask the catalog, and remove it.

        Before anything is written that it would not know of. Synced: after a power cut its name may
        be back, and it must not be taken for one that was closed cleanly.
        """
        try:
            with path.open("r+b", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > _STATE_AT:
                    write_at(file.fileno(), _SUPERSEDED, _STATE_AT)
                    os.fdatasync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, f"removing {path.name}") from error

    @classmethod
    def build(
        cls, path: Path, store_id: bytes, fingerprints: Iterable[bytes], count: int
    ) -> BloomFilter:
        """A new filter with room for twice `count` keys, in the file at `path`.

        The one that was there must have been discarded: whoever maps it would miss new keys.
        """
        capacity = max(_CAPACITY_MIN, 2 * count)
        blocks = -(-capacity * _BITS_PER_KEY // (8 * _BLOCK_BYTES))
        nbytes = _BLOCKS_AT + blocks * _BLOCK_BYTES
        fresh = path.with_name(f"{path.name}.new")
        fields = (b"TBLM", _VERSION, _HASHES, store_id, boot_id(), 8 * blocks * _BLOCK_BYTES)
        covered = _HEADER.pack(*fields, 0)[:-4]
        try:
            with fresh.open("w+b", buffering=0) as file:
                _have_room(file.fileno(), nbytes)
                write_at(file.fileno(), covered + crc32c(covered).to_bytes(4, "little"), 0)
                mapping = mmap.mmap(file.fileno(), nbytes)
            mapping[_STATE_AT : _STATE_AT + 4] = _IN_USE
            built = cls(mapping)
            built._fill(fingerprints)
            fresh.rename(path)
        except OSError as error:
            raise storage_error(error, f"building {path.name}") from error
        return built

    def _fill(self, fingerprints: Iterable[bytes]) -> None:
        """Give every block its checksum, and its keys."""
        empty = bytes(_FILLED_BYTES)
        for block in range(self._blocks):
            at = _BLOCKS_AT + block * _BLOCK_BYTES
            self._mapping[at : at + _BLOCK_BYTES] = self._sealed(block, empty)
        self.add(fingerprints)

    def _sealed(self, block: int, filled: bytes) -> bytes:
        """The bits of a block with their checksum: of that block of this store only."""
        return filled + crc32c(filled, self._check ^ block).to_bytes(_CHECK_BYTES, "little")

    def _place(self, fingerprint: bytes) -> tuple[int, int]:
        """The block of a key, and its bits there."""
        number = int.from_bytes(fingerprint, "little") * _TO_BLOCK % 2**64
        drawn = (number ^ number >> 29) * _TO_BITS % 2**64
        bits = 0
        for _ in range(_HASHES):
            drawn, choice = drawn >> _DRAWN, drawn & _CHOICES
            bits |= _ONES[choice]
        return (number >> 32) * self._blocks >> 32, bits

    def add(self, fingerprints: Iterable[bytes]) -> None:
        """Set the bits of keys; before the transaction that makes them visible commits."""
        mapping = self._mapping
        added = 0
        for fingerprint in fingerprints:
            block, bits = self._place(fingerprint)
            at = _BLOCKS_AT + block * _BLOCK_BYTES
            seen = mapping[at : at + _BLOCK_BYTES]
            filled = seen[:_FILLED_BYTES]
            if self._sealed(block, filled) == seen:
                wanted = int.from_bytes(filled, "little") | bits
                filled = wanted.to_bytes(_FILLED_BYTES, "little")
                mapping[at : at + _BLOCK_BYTES] = self._sealed(block, filled)
            else:  # a checksum over it would make it believed
                self._is_damaged = True
            added += 1
        struct.pack_into("<Q", mapping, _ADDED_AT, self.added + added)

    @property
    def added(self) -> int:
        """Keys added so far; removed ones count, their bits stay."""
        return int(struct.unpack_from("<Q", self._mapping, _ADDED_AT)[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the mapping."""
        return len(self._mapping)

    @property
    def is_worn(self) -> bool:
        """To be built anew: past the number of keys it was built for, or damage was met in it."""
        return self._is_damaged or bool(self.added * _BITS_PER_KEY > self._bits)

    def may_contain(self, fingerprint: bytes) -> bool:
        """False only if the key is certainly not stored."""
        mapping = self._mapping
        if mapping[_STATE_AT : _STATE_AT + 4] not in _BELIEVED:
            return True
        block, bits = self._place(fingerprint)
        at = _BLOCKS_AT + block * _BLOCK_BYTES
        seen = mapping[at : at + _BLOCK_BYTES]
        filled = seen[:_FILLED_BYTES]
        if bits & ~int.from_bytes(filled, "little") == 0:
            return True
        if self._sealed(block, filled) == seen:
            return False
        self._is_damaged = True  # or being written by another process, to whom this says nothing
        return True

    def damaged_blocks(self) -> int:
        """Number of blocks that nothing is believed of; reads all of them, 0.5 us each.

        A process that is killed within the store of 64 bytes may leave one.
        """
        damaged = list(range(self._blocks))
        for pause_s in _LOOKS_S:
            time.sleep(pause_s)
            damaged = [block for block in damaged if not self._is_whole(block)]
            if not damaged:
                break
        self._is_damaged = bool(damaged)
        return len(damaged)

    def _is_whole(self, block: int) -> bool:
        at = _BLOCKS_AT + block * _BLOCK_BYTES
        seen = self._mapping[at : at + _BLOCK_BYTES]
        return self._sealed(block, seen[:_FILLED_BYTES]) == seen

    def close(self, *, is_clean: bool) -> None:
        """Write it to the disk and mark it believable after a reboot; only the writer does."""
        state = slice(_STATE_AT, _STATE_AT + 4)
        if is_clean and self._mapping[state] == _IN_USE:
            # where the disk refuses, it stays marked as in use, and is built anew after a reboot
            with contextlib.suppress(OSError):
                self._mapping.flush()
                self._mapping[state] = _CLEAN
                self._mapping.flush()


def _have_room(descriptor: int, size: int) -> None:
    """Have all blocks of a file that will be written through a mapping. Raises OSError.

    A page for which a full disk has no room then is an error now and not a SIGBUS later.
    """
    os.posix_fallocate(descriptor, 0, size)
