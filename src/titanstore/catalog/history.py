"""Versions, and what has changed since each: an undo log by first touch.

The interval of a version runs from its snapshot to the next one. The first change of a value in the
newest interval records what the value was, so a value as of version v is the first record found in
v, v + 1, ..., or else the present one. Each record is itself the value as of its own version.
What is read of an interval is verified by its sums first (`ChangeSums`). FORMAT.md, "Catalog,
version 1", is the contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lmdb

from titanstore.catalog.change_sums import SHARES, ChangeSums, Seen, share_of, shares_of
from titanstore.catalog.layout import (
    StoredVersion,
    pack_version,
    require_order,
    unpack_version,
    unpack_version_number,
)
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.layout import ADDRESS_BYTES, Address

# Kinds of values that versions remember, and the databases that hold them
DOCUMENTS, ENTRIES, NAMES, OWNERS = b"d", b"e", b"n", b"o"
DATABASE_OF = {DOCUMENTS: "documents", ENTRIES: "entries", NAMES: "names", OWNERS: "owners"}
NUMBER_BYTES = 4

_Changed = tuple[bytes, bytes]


class History:
    """The versions of one transaction. A store that has none, or no databases for them, is empty.

    `seen` is what the process has found right: the same for all transactions of a catalog.

    A version that retention is taking away counts as an interval until the last of its records has
    been dealt with: `numbers` has it, `versions` has it with `is_dropped`.
    """

    def __init__(
        self,
        transaction: lmdb.Transaction[bytes],
        databases: dict[str, lmdb._Database],
        seen: Seen,
        *,
        is_writing: bool = False,
    ) -> None:
        self._transaction = transaction
        self.sums = ChangeSums(transaction, databases, seen, is_writing=is_writing)
        self._versions = databases.get("versions")
        self._changes = databases.get("changes")
        self._newest: bytes | None = None

    # -- versions --------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        """Numbers of all intervals, oldest first.

        Raises
        ------
        CorruptionError
            BAD_CATALOG: one is missing, or nobody has made it.
        """
        found = self.sums.found
        if found.numbers is None:
            keys = self._keys()
            summed = list(self.sums.versions())
            # a release that knew no sums may have made older ones
            since = [key for key in keys if summed and key >= summed[0]]
            if since != summed:
                wrong = min(set(since) ^ set(summed), default=summed[0])
                raise CorruptionError(
                    f"catalog: version {unpack_version_number(wrong)} is lost or has no sums",
                    ErrorKind.BAD_CATALOG,
                )
            found.numbers = [unpack_version_number(key) for key in keys]
        return list(found.numbers)

    def _keys(self) -> list[bytes]:
        """Keys of all versions, ascending."""
        if self._versions is None:
            return []
        return list(self._transaction.cursor(self._versions).iternext(values=False))

    def versions(self) -> list[StoredVersion]:
        """All versions, oldest first; CorruptionError (BAD_CATALOG) if one is damaged or lost."""
        return [found for number in self.numbers() if (found := self.version(number)) is not None]

    def version(self, number: int) -> StoredVersion | None:
        """One version, None if there is no such number; CorruptionError if it is damaged."""
        if self._versions is None:
            return None
        key = _number_key(number)
        found = self._transaction.get(key, db=self._versions)
        if found is None:
            return None
        stored = unpack_version(number, found)
        self.sums.verify_version(key, found)
        return stored

    def has_sums(self) -> bool:
        """Has any version sums, so that the store is of the format that has them?"""
        return next(self.sums.versions(), None) is not None

    def last_number(self) -> int:
        """The number of the newest interval, 0 when there is none."""
        newest = self.newest()
        return unpack_version_number(newest) if newest else 0

    def newest(self) -> bytes:
        """The key of the newest interval, b"" when there is none: with none, nothing is logged."""
        if self._newest is None:
            self._newest = b""
            if self._versions is not None:
                cursor = self._transaction.cursor(self._versions)
                if cursor.last():
                    self._newest = cursor.key()
        return self._newest

    def set_version(self, stored: StoredVersion) -> None:
        """Write a version."""
        assert self._versions is not None, "only a store open for writing has versions to write"
        key, value = _number_key(stored.version.number), pack_version(stored)
        is_new = self._transaction.get(key, db=self._versions) is None
        self._transaction.put(key, value, db=self._versions)
        self.sums.set_version(key, value, is_new=is_new)
        self._newest = self.sums.found.numbers = None

    def remove_version(self, number: int) -> None:
        """Forget a version, of which no record is left."""
        assert self._versions is not None, "only a store open for writing has versions to write"
        self._transaction.delete(_number_key(number), db=self._versions)
        self.sums.remove_version(_number_key(number))
        self._newest = self.sums.found.numbers = None

    # -- records ---------------------------------------------------------------------------

    def recorded(self, number: int, place: bytes) -> bytes | None:
        """What one interval recorded of a place (kind, then key); b"": there was nothing there.

        As it is found: `first` verifies.
        """
        if self._changes is None:
            return None
        return self._transaction.get(_number_key(number) + place, db=self._changes)

    def leads_to(self, place: bytes, address: Address) -> bool:
        """Has any version recorded this address at the place of an entry?"""
        wanted = address.pack()
        for key in reversed(self._keys()):  # the newest most likely has
            found = self.recorded(unpack_version_number(key), place)
            if found and wanted in _each_address(found):
                return True
        return False

    def first(self, numbers: Sequence[int], place: bytes) -> bytes | None:
        """The first record of a place in these intervals, None where none has one.

        Raises
        ------
        CorruptionError
            BAD_CATALOG: some record of a share that was looked at is lost or changed.
        """
        share = share_of(place)
        for number in numbers:
            self.sums.verify(_number_key(number), share)
            found = self.recorded(number, place)
            if found is not None:
                return found
        return None

    def changes(self, number: int, kind: bytes = b"", start: bytes = b"") -> Iterator[_Changed]:
        """Records of one interval as (place, value), in order, from a place on.

        Parameters
        ----------
        kind
            Only those of this kind; b"": all.
        start
            The key of the first place, of that kind.

        Raises
        ------
        CorruptionError
            BAD_CATALOG, before the first one: some record is lost or changed.
        """
        self.sums.verify(_number_key(number), shares_of(kind) if kind else SHARES)
        for place, value in self.found(number, kind + start):
            if not place.startswith(kind):
                return
            yield place, value

    def found(self, number: int, start: bytes = b"") -> Iterator[_Changed]:
        """As `changes`, from the place `start` on, but whatever there is: no sum is looked at.

        Raises
        ------
        CorruptionError
            BAD_CATALOG: what follows is not in order.
        """
        if self._changes is None:
            return
        prefix = _number_key(number)
        cursor = self._transaction.cursor(self._changes)
        least = prefix + start
        more = cursor.set_range(least)
        while more:
            key = cursor.key()
            require_order(key >= least)
            if not key.startswith(prefix):
                return
            least = key + b"\0"
            yield key[NUMBER_BYTES:], cursor.value()
            more = cursor.next()

    def verify(self, number: int, shares: range) -> None:
        """Count some shares of an interval; CorruptionError (BAD_CATALOG) if one is wrong."""
        self.sums.verify(_number_key(number), shares)

    def intervals(self) -> list[int]:
        """Numbers under which there are records, ascending; all of them are in `numbers`.

        CorruptionError (BAD_CATALOG) where records are not in order.
        """
        found: list[int] = []
        if self._changes is None:
            return found
        cursor = self._transaction.cursor(self._changes)
        more = cursor.first()
        while more:
            number = unpack_version_number(cursor.key()[:NUMBER_BYTES])
            require_order(not found or number > found[-1])
            found.append(number)
            more = cursor.set_range(_number_key(found[-1] + 1))
        return found

    def touched(self, numbers: Sequence[int]) -> dict[bytes, bytes]:
        """Each place changed in these intervals, oldest first, with its first record."""
        found: dict[bytes, bytes] = {}
        for number in numbers:
            for place, value in self.changes(number):
                found.setdefault(place, value)
        return found

    def record(self, number: int, place: bytes, value: bytes) -> None:
        """Write a record, over an older one."""
        assert self._changes is not None, "only a store open for writing has changes to write"
        before = self.recorded(number, place)
        if before is not None:
            self.sums.subtract(_number_key(number), place, before)
        self.sums.add(_number_key(number), place, value)
        self._transaction.put(_number_key(number) + place, value, db=self._changes)

    def remember(self, place: bytes, value: bytes) -> None:
        """Record a value in the newest interval; `is_remembered` says whether it must be."""
        assert self._changes is not None, "only a store open for writing has changes to write"
        self._transaction.put(self.newest() + place, value, db=self._changes)
        self.sums.add(self.newest(), place, value)

    def is_remembered(self, place: bytes) -> bool:
        """Has the newest interval a record of a place, or is there no version at all?"""
        newest = self.newest()
        if not newest or self._changes is None:
            return True
        return self._transaction.get(newest + place, db=self._changes) is not None

    def forget(self, number: int, place: bytes) -> None:
        """Remove a record."""
        assert self._changes is not None, "only a store open for writing has changes to write"
        before = self.recorded(number, place)
        if before is not None:
            self.sums.subtract(_number_key(number), place, before)
        self._transaction.delete(_number_key(number) + place, db=self._changes)


def _number_key(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")


def pack_addresses(addresses: Sequence[Address]) -> bytes:
    """Addresses one after the other: what a record holds of an entry."""
    return b"".join(address.pack() for address in addresses)


def unpack_addresses(data: bytes) -> list[Address]:
    """Inverse of `pack_addresses`; CorruptionError (BAD_CATALOG) otherwise."""
    if len(data) % ADDRESS_BYTES:
        raise CorruptionError("catalog: addresses of a version damaged", ErrorKind.BAD_CATALOG)
    return [Address.unpack(each) for each in _each_address(data)]


def _each_address(data: bytes) -> list[bytes]:
    return [data[at : at + ADDRESS_BYTES] for at in range(0, len(data), ADDRESS_BYTES)]
