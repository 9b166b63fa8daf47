"""A Bloom filter over the catalog's fingerprints, in a file that all processes map.

A bit is set before the catalog commits the key, so a key that can be seen is never refused. After
a power cut the mapped pages may be older than the catalog: unless the file was closed cleanly or
written since this boot, it is not believed, and the writer builds it anew from the catalog.
FORMAT.md, "Bloom filter, version 1".
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from crc32c import crc32c

from titanstore.segments.disk import boot_id, storage_error, write_at

_VERSION = 1
# magic, version, hashes, store id, boot id, bits, CRC-32C of all before
_HEADER = struct.Struct("<4sHH16s16sQI")
_STATE_AT, _ADDED_AT, _BITS_AT = 56, 64, 128
_IN_USE, _CLEAN, _SUPERSEDED = 1, 2, 3
_HASHES = 7
_BITS_PER_KEY = 10  # 0.8 % of absent keys pass
_CAPACITY_MIN = 65_536
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd: spreads the 32 bits of a fingerprint over 64


class BloomFilter:
    """One mapped filter. Any thread may ask; the store's writer adds."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._bits: int = _HEADER.unpack_from(mapping)[5]

    @classmethod
    def open(cls, path: Path, store_id: bytes, *, read_only: bool) -> BloomFilter | None:
        """The filter in a file, None unless it is whole, of this store, and to be believed."""
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"opening {path.name}") from error
        try:
            size = os.fstat(descriptor).st_size
            if size <= _BITS_AT:
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
            and size == _BITS_AT + bits // 8
        )
        state = mapping[_STATE_AT]
        if not is_whole or not (state == _CLEAN or (state == _IN_USE and boot == boot_id())):
            return None
        if not read_only:
            if boot != boot_id():
                return None  # the writer marks it with this boot: as cheap to build it anew
            mapping[_STATE_AT] = _IN_USE
            mapping.flush(0, mmap.PAGESIZE)  # a power cut must not leave it marked as clean
        return cls(mapping)

    @staticmethod
    def discard(path: Path) -> None:
        """Tell the processes that map the filter in a file to ask the catalog, and remove it.

        Before anything is written that it would not know of.
        """
        try:
            with path.open("r+b", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > _STATE_AT:
                    write_at(file.fileno(), bytes([_SUPERSEDED]), _STATE_AT)
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
        bits = -(-capacity * _BITS_PER_KEY // 8) * 8
        fresh = path.with_name(f"{path.name}.new")
        fields = (b"TBLM", _VERSION, _HASHES, store_id, boot_id(), bits)
        covered = _HEADER.pack(*fields, 0)[:-4]
        try:
            with fresh.open("w+b", buffering=0) as file:
                _have_room(file.fileno(), _BITS_AT + bits // 8)
                write_at(file.fileno(), covered + crc32c(covered).to_bytes(4, "little"), 0)
                mapping = mmap.mmap(file.fileno(), _BITS_AT + bits // 8)
            mapping[_STATE_AT] = _IN_USE
            built = cls(mapping)
            built.add(fingerprints)
            fresh.rename(path)
        except OSError as error:
            raise storage_error(error, f"building {path.name}") from error
        return built

    def _places(self, fingerprint: bytes) -> Iterable[int]:
        number = int.from_bytes(fingerprint, "little") * _MULTIPLIER % 2**64
        step = (number >> 32) | 1
        bits = self._bits
        return ((number + turn * step) % bits for turn in range(_HASHES))

    def add(self, fingerprints: Iterable[bytes]) -> None:
        """Set the bits of keys; before the transaction that makes them visible commits."""
        mapping = self._mapping
        added = 0
        for fingerprint in fingerprints:
            for place in self._places(fingerprint):
                mapping[_BITS_AT + (place >> 3)] |= 1 << (place & 7)
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
    def is_full(self) -> bool:
        """Past the number of keys it was built for."""
        return bool(self.added * _BITS_PER_KEY > self._bits)

    def may_contain(self, fingerprint: bytes) -> bool:
        """False only if the key is certainly not stored."""
        mapping = self._mapping
        if mapping[_STATE_AT] == _SUPERSEDED:
            return True
        return all(
            mapping[_BITS_AT + (place >> 3)] >> (place & 7) & 1
            for place in self._places(fingerprint)
        )

    def close(self, *, is_clean: bool) -> None:
        """Write it to the disk and mark it believable after a reboot; only the writer does."""
        if is_clean and self._mapping[_STATE_AT] == _IN_USE:
            # where the disk refuses, it stays marked as in use, and is built anew after a reboot
            with contextlib.suppress(OSError):
                self._mapping.flush()
                self._mapping[_STATE_AT] = _CLEAN
                self._mapping.flush()


def _have_room(descriptor: int, size: int) -> None:
    """Have all blocks of a file that will be written through a mapping. Raises OSError.

    A page for which a full disk has no room then is an error now and not a SIGBUS later.
    """
    os.posix_fallocate(descriptor, 0, size)
