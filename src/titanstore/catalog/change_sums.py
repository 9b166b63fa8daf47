"""Sums over what versions remember, so that a record that damage hid is missed.

LMDB has no checksums. Where a byte of a record's key in `changes` is damaged, a search finds
nothing there, and a later value would be taken for the one as of a version. So `meta` has for each
version sums of a checksum of each of its records, and who reads an interval counts them first.
Records are counted by shares, so that a single value costs a look at one share of each interval.
FORMAT.md, "Catalog, version 1", is the contract.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import lmdb
from crc32c import crc32c

from titanstore.errors import CorruptionError, ErrorKind

_KINDS = b"deno"  # ascending: shares that follow each other hold records that do
_SHARES_PER_KIND = 32
_WIDTH = 256 // _SHARES_PER_KIND  # first bytes of keys in one share
_SUM_BYTES = 8
_VERSIONS_SEEN_MAX = 256  # whose sums were found right; 1.2 kB each
_NUMBER_BYTES = 4

PREFIX = b"changes-"
SHARES = range(len(_KINDS) * _SHARES_PER_KIND)
_OWN = len(SHARES)  # in place of a share: the version's own value
_BYTES = _SUM_BYTES * (len(SHARES) + 1)  # the last one is of the version's own value


def share_of(place: bytes) -> range:
    """The one share to which a place (kind, then key) belongs; empty if it is of no kind."""
    kind = _KINDS.find(place[:1]) if place else -1
    if kind < 0:
        return range(0)
    share = kind * _SHARES_PER_KIND + (place[1] // _WIDTH if len(place) > 1 else 0)
    return range(share, share + 1)


def shares_of(kind: bytes) -> range:
    """All shares of a kind."""
    first = _KINDS.index(kind) * _SHARES_PER_KIND
    return range(first, first + _SHARES_PER_KIND)


@dataclass(slots=True)
class AtChange:
    """What was found right by transactions that see the same content.

    Shares by version, as a number with one bit for each: as pairs in a set they came to megabytes.
    """

    change: int
    right: dict[bytes, int] = field(default_factory=dict)
    numbers: list[int] | None = None

    def are_right(self, version: bytes, shares: int) -> bool:
        """Was all of these shares found right?"""
        return self.right.get(version, 0) & shares == shares

    def add(self, version: bytes, shares: int) -> None:
        """Note shares; what another thread adds at the same time may be counted again."""
        self.right[version] = self.right.get(version, 0) | shares


class Seen:
    """What this process has found right, and need not count again; any thread may use it.

    Of each version its sums, and for which shares they are right. A sum that differs from the one
    that was right is no longer.
    """

    __slots__ = ("_versions", "last")

    def __init__(self) -> None:
        self._versions: dict[bytes, tuple[int, bytes]] = {}
        self.last = AtChange(-1)

    def __len__(self) -> int:
        return len(self._versions)

    def has(self, version: bytes, shares: range, sums: bytes | bytearray) -> bool:
        """Were these sums found right for shares that follow each other?"""
        right, seen = self._versions.get(version, (0, b""))
        bits = _bits(shares)
        place = slice(_SUM_BYTES * shares.start, _SUM_BYTES * shares.stop)
        return right & bits == bits and seen[place] == sums[place]

    def note(self, version: bytes, shares: int, sums: bytes | bytearray) -> None:
        """Keep in mind that these sums are right; of far too many the oldest are forgotten."""
        right, seen = self._versions.pop(version, (0, b""))
        if seen != sums:
            kept = (share for share in SHARES if right >> share & 1)
            right = sum(1 << share for share in kept if seen[_place(share)] == sums[_place(share)])
        self._versions[version] = right | shares, bytes(sums)
        while len(self._versions) > _VERSIONS_SEEN_MAX:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread does the same
                del self._versions[next(iter(self._versions))]

    def at(self, change: int) -> AtChange:
        """What was found at a change; a new one takes the place of the one before."""
        last = self.last
        if last.change != change:
            last = self.last = AtChange(change)
        return last


class ChangeSums:
    """The sums of one transaction. Versions are meant by their keys."""

    def __init__(
        self,
        transaction: lmdb.Transaction[bytes],
        databases: dict[str, lmdb._Database],
        seen: Seen,
        *,
        is_writing: bool,
    ) -> None:
        self._transaction = transaction
        self._meta = databases["meta"]
        self._changes = databases.get("changes")
        self._seen = seen
        self.found = AtChange(-1) if is_writing else seen.at(transaction.id())
        self._known: dict[bytes, bytearray | None] = {}
        self._written: set[bytes] = set()
        self._changed: dict[bytes, int] = {}  # shares by version

    def versions(self) -> Iterator[bytes]:
        """Keys of the versions that have sums, ascending."""
        cursor = self._transaction.cursor(self._meta)
        if cursor.set_range(PREFIX):
            for key in cursor.iternext(values=False):
                if not key.startswith(PREFIX):
                    return
                yield key[len(PREFIX) :]

    def _of(self, version: bytes) -> bytearray | None:
        if version not in self._known:
            found = self._transaction.get(PREFIX + version, db=self._meta)
            if found is not None and len(found) != _BYTES:
                raise _damaged(version, "its sums have another length")
            self._known[version] = None if found is None else bytearray(found)
        return self._known[version]

    # -- reading ---------------------------------------------------------------------------

    def verify_version(self, version: bytes, value: bytes) -> None:
        """Is this what was written for a version? CorruptionError (BAD_CATALOG) otherwise."""
        if self.found.are_right(version, 1 << _OWN):
            return
        sums = self._of(version)
        if sums is not None and sums[-_SUM_BYTES:] != _packed(_checksum(version, value)):
            raise _damaged(version, "its own value does not fit its sum")
        self.found.add(version, 1 << _OWN)

    def verify(self, version: bytes, shares: range) -> None:
        """Are all records of these shares, which follow each other, there and as written?

        Raises
        ------
        CorruptionError
            BAD_CATALOG: not all. A version that has no sums is taken as it is.
        """
        bits = _bits(shares)
        if self.found.are_right(version, bits):
            return
        sums = self._of(version)
        if sums is None or self._seen.has(version, shares, sums):
            self.found.add(version, bits)
            return
        counted = self._counted(version, shares)
        for share in shares:
            if _packed(counted.get(share, 0)) != sums[_place(share)]:
                raise _damaged(version, "records are lost or changed")
        self._seen.note(version, bits, sums)
        self.found.add(version, bits)

    def _counted(self, version: bytes, shares: range) -> dict[int, int]:
        """Sums of the records that are found in order, and found again by their keys."""
        sums: dict[int, int] = {}
        if self._changes is None:
            return sums
        cursor = self._transaction.cursor(self._changes)
        last = version + _start(shares[-1], _WIDTH - 1)
        before = b""
        more = cursor.set_range(version + _start(shares[0]))
        while more:
            key, value = cursor.item()
            if key[: len(last)] > last:
                break
            # a damaged page may lead around in circles, or keep a search from what is there; a
            # cursor that stands near would find it all the same
            if key <= before or self._transaction.get(key, db=self._changes) is None:
                raise _damaged(version, "records are not found by their keys")
            before = key
            (share,) = share_of(key[_NUMBER_BYTES:]) or (-1,)
            sums[share] = sums.get(share, 0) + _checksum(key, value)
            more = cursor.next()
        return sums

    # -- writing ---------------------------------------------------------------------------

    def set_version(self, version: bytes, value: bytes, *, is_new: bool) -> None:
        """Note a version's value; a new one has no records yet."""
        if is_new:
            sums = self._known[version] = bytearray(_BYTES)
            self._transaction.put(PREFIX + version, bytes(sums), db=self._meta)
        else:
            found = self._of(version)
            if found is None:
                return
            sums = found
        sums[-_SUM_BYTES:] = _packed(_checksum(version, value))
        self._written.add(version)
        self.found.right[version] = self.found.right.get(version, 0) & ~(1 << _OWN)

    def remove_version(self, version: bytes) -> None:
        """Forget the sums of a version."""
        self._known[version] = None
        self._written.discard(version)
        self._transaction.delete(PREFIX + version, db=self._meta)

    def add(self, version: bytes, place: bytes, value: bytes) -> None:
        """A record was written where there was none."""
        self._change(version, place, _checksum(version + place, value))

    def subtract(self, version: bytes, place: bytes, value: bytes) -> None:
        """A record was removed."""
        self._change(version, place, -_checksum(version + place, value))

    def _change(self, version: bytes, place: bytes, by: int) -> None:
        sums = self._of(version)
        if sums is None:
            return
        for share in share_of(place):
            changed = self._changed.get(version, 0)
            if not changed >> share & 1:
                self._changed[version] = changed | 1 << share
                if self._seen.has(version, range(share, share + 1), sums):
                    self.found.add(version, 1 << share)
            at = _place(share)
            sums[at] = _packed(int.from_bytes(sums[at], "little") + by)
            self._written.add(version)

    def write(self) -> None:
        """Write what has changed; before the commit."""
        for version in self._written:
            sums = self._known[version]
            assert sums is not None
            self._transaction.put(PREFIX + version, bytes(sums), db=self._meta)
        # what follows from a right one is right
        for version, shares in self._changed.items():
            right = shares & self.found.right.get(version, 0)
            sums = self._known[version]
            if right and sums is not None:
                self._seen.note(version, right, sums)
        self._written.clear()


def _checksum(key: bytes, value: bytes) -> int:
    """64 bits, by two polynomials; the same bytes divided otherwise have another one."""
    together = key + value
    return zlib.crc32(together, len(key)) << 32 | crc32c(together, len(key))


def _packed(total: int) -> bytes:
    return (total % (1 << 8 * _SUM_BYTES)).to_bytes(_SUM_BYTES, "little")


def _place(share: int) -> slice:
    return slice(_SUM_BYTES * share, _SUM_BYTES * (share + 1))


def _start(share: int, beyond: int = 0) -> bytes:
    """Kind and first byte with which a share begins."""
    kind, part = divmod(share, _SHARES_PER_KIND)
    return bytes((_KINDS[kind], part * _WIDTH + beyond))


def _bits(shares: range) -> int:
    return (1 << len(shares)) - 1 << shares.start


def _damaged(version: bytes, how: str) -> CorruptionError:
    return CorruptionError(
        f"catalog: what has changed since version {int.from_bytes(version, 'big')} is damaged: "
        f"{how}; the present is not concerned",
        ErrorKind.BAD_CATALOG,
    )
