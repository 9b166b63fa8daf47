"""Lookups and transactions on the catalog.

One entry a vector: 4 bytes of fingerprint and 6 bytes of address, kept as the sorted duplicates
of a single LMDB key. Fixed-size duplicates fill pages without a header or pointer each: 14 bytes
an entry at 10^5 random keys, where a plain LMDB record takes 62 to 77. Equal fingerprints are told
apart by the record, which holds the whole key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from titanstore.catalog.environment import acquire, release
from titanstore.catalog.layout import (
    Run,
    SegmentState,
    pack_document,
    pack_number,
    unpack_document,
    unpack_entry,
    unpack_number,
)
from titanstore.errors import (
    ClosedError,
    CorruptionError,
    ErrorKind,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from titanstore.keys import FINGERPRINT_BYTES
from titanstore.segments.layout import ADDRESS_BYTES, Address

_ENTRY = b"e"  # the one key whose duplicates are the entries
_NEXT_DOCUMENT = b"next-document"
_SEGMENT = b"segment-"


def _catalog_error(error: lmdb.Error) -> StoreError:
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        return CorruptionError(f"catalog: {error}", ErrorKind.BAD_CATALOG)
    if isinstance(error, lmdb.ReadonlyError):
        return ReadOnlyError(f"catalog: {error}", ErrorKind.READ_ONLY_DISK)
    full = "No space left" in str(error) or "File too large" in str(error)
    kind = ErrorKind.DISK_FULL if full else ErrorKind.IO_FAILED
    return StorageError(f"catalog: {error}; nothing was acknowledged", kind)


class Catalog:
    """One open LMDB environment. Any thread may read; one at a time may write.

    It must not cross a fork: a child makes its own.
    """

    def __init__(self, folder: Path, *, read_only: bool, durable: bool) -> None:
        try:
            self._shared = acquire(folder, read_only=read_only, durable=durable)
        except lmdb.Error as error:
            raise _catalog_error(error) from error
        self._environment = self._shared.environment
        self._databases = self._shared.databases
        self._entries = self._databases["entries"]
        self._gate = self._shared.gate
        self._is_closed = False

    # -- reading ---------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[CatalogView]:
        """A consistent view; keep it short, since it holds back the reuse of pages."""
        try:
            with self._gate:
                transaction = self._begin()
                if transaction is not None:
                    with transaction:
                        yield CatalogView(transaction, self._databases)
                    return
            self._follow_map()
            with self._gate, self._environment.begin(self._entries) as transaction:
                yield CatalogView(transaction, self._databases)
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    def _begin(self, *, write: bool = False) -> lmdb.Transaction[bytes] | None:
        """A transaction, or None when another process has grown the map: `_follow_map` first."""
        if self._is_closed:
            raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
        try:
            return self._environment.begin(self._entries, write=write)
        except lmdb.MapResizedError:
            return None

    def _follow_map(self) -> None:
        with self._gate.shut():
            self._environment.set_mapsize(0)

    def lookup(self, fingerprint: bytes) -> list[Address]:
        """Addresses whose key has this fingerprint; nearly always none or one. About 2 us."""
        try:
            with self._gate:
                transaction = self._begin()
                if transaction is not None:
                    with transaction:
                        return _matches(transaction.cursor(), fingerprint)
            self._follow_map()
            return self.lookup(fingerprint)
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[CatalogWriter]:
        """A transaction that is committed (durably, unless relaxed) when the block ends.

        An exception inside the block leaves the catalog as it was.
        """
        try:
            with self._gate:
                transaction = self._begin(write=True)
                if transaction is None:
                    raise MapIsFullError
                try:
                    yield CatalogWriter(transaction, self._databases)
                except BaseException:
                    transaction.abort()
                    raise
                transaction.commit()
        except lmdb.Error as error:
            if isinstance(error, lmdb.MapFullError):
                raise MapIsFullError from error
            raise _catalog_error(error) from error

    def grow(self) -> None:
        """Double the map; no transaction of this process may be open in this thread."""
        try:
            with self._gate.shut():
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    def file_bytes(self) -> int:
        """Bytes of the data file up to its last page in use."""
        with self._gate:
            if self._is_closed:
                raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
            info = self._environment.info()
            return (info["last_pgno"] + 1) * self._environment.stat()["psize"]

    def close(self) -> None:
        """Give up the environment; idempotent, and harmless in a forked child."""
        if not self._is_closed:
            self._is_closed = True
            release(self._shared)


class MapIsFullError(Exception):
    """The map must be grown and the transaction done again; never reaches a caller."""


def _segment_key(number: int) -> bytes:
    return _SEGMENT + number.to_bytes(2, "big")


def _matches(cursor: lmdb.Cursor[bytes], fingerprint: bytes) -> list[Address]:
    found: list[Address] = []
    more = cursor.set_range_dup(_ENTRY, fingerprint)
    while more:
        entry = cursor.value()
        if entry[:FINGERPRINT_BYTES] != fingerprint:
            break
        found.append(unpack_entry(entry))
        more = cursor.next_dup()
    return found


class CatalogView:
    """What one transaction sees."""

    def __init__(
        self, transaction: lmdb.Transaction[bytes], databases: dict[str, lmdb._Database]
    ) -> None:
        self._transaction = transaction
        self._databases = databases

    def lookup_many(self, fingerprints: Sequence[bytes]) -> list[list[Address]]:
        """`Catalog.lookup` for each, in one transaction."""
        cursor = self._transaction.cursor(self._databases["entries"])
        return [_matches(cursor, fingerprint) for fingerprint in fingerprints]

    def entries_from(self, start: bytes, limit: int) -> list[tuple[bytes, Address]]:
        """Up to `limit` (fingerprint, address) in order, from the entry `start` on."""
        cursor = self._transaction.cursor(self._databases["entries"])
        found: list[tuple[bytes, Address]] = []
        more = cursor.set_range_dup(_ENTRY, start) if start else cursor.first()
        while more and len(found) < limit:
            entry = cursor.value()
            found.append((entry[:FINGERPRINT_BYTES], unpack_entry(entry)))
            more = cursor.next_dup()
        return found

    def fingerprints(self) -> Iterator[bytes]:
        """Those of all entries, in order."""
        for _, entry in self._transaction.cursor(self._databases["entries"]):
            yield entry[:FINGERPRINT_BYTES]

    def addresses(self) -> Iterator[Address]:
        """Those of all entries, in order of fingerprint."""
        for _, entry in self._transaction.cursor(self._databases["entries"]):
            yield unpack_entry(entry)

    def entry_count(self) -> int:
        """Number of vectors."""
        return self._transaction.stat(self._databases["entries"])["entries"]

    def document_number(self, name: str) -> int | None:
        """The number of a document, None if it is unknown."""
        found = self._transaction.get(name.encode(), db=self._databases["names"])
        return None if found is None else unpack_number(found)

    def document(self, number: int) -> tuple[str, list[Run]] | None:
        """Name and runs of a document, None if it is gone."""
        found = self._transaction.get(pack_number(number), db=self._databases["documents"])
        return None if found is None else unpack_document(found)

    def documents(self) -> Iterator[tuple[int, str, list[Run]]]:
        """All documents."""
        for number, data in self._transaction.cursor(self._databases["documents"]):
            yield (unpack_number(number), *unpack_document(data))

    def document_count(self) -> int:
        """Number of documents."""
        return self._transaction.stat(self._databases["documents"])["entries"]

    def owners(self, key: bytes) -> frozenset[int] | None:
        """Numbers of the documents that share a key; None when at most one holds it."""
        found = self._transaction.get(key, db=self._databases["owners"])
        if found is None:
            return None
        return frozenset(unpack_number(found[at : at + 4]) for at in range(0, len(found), 4))

    def segments(self) -> dict[int, SegmentState]:
        """State of each segment, by number, in order."""
        cursor = self._transaction.cursor(self._databases["meta"])
        states: dict[int, SegmentState] = {}
        more = cursor.set_range(_SEGMENT)
        while more and cursor.key().startswith(_SEGMENT):
            number = int.from_bytes(cursor.key()[len(_SEGMENT) :], "big")
            states[number] = SegmentState.unpack(cursor.value())
            more = cursor.next()
        return states

    def segment(self, number: int) -> SegmentState | None:
        """State of one segment, None if there is no such segment."""
        found = self._transaction.get(_segment_key(number), db=self._databases["meta"])
        return None if found is None else SegmentState.unpack(found)

    def last_end(self) -> Address:
        """The committed end of the last segment; (0, 0) in an empty store."""
        # segment keys sort last in their database
        cursor = self._transaction.cursor(self._databases["meta"])
        if not cursor.last() or not cursor.key().startswith(_SEGMENT):
            return Address(0, 0)
        number = int.from_bytes(cursor.key()[len(_SEGMENT) :], "big")
        return Address(number, SegmentState.unpack(cursor.value()).end)


class CatalogWriter(CatalogView):
    """A view that can also change."""

    def add(self, fingerprint: bytes, address: Address) -> None:
        """Add an entry."""
        self._transaction.put(_ENTRY, fingerprint + address.pack(), db=self._databases["entries"])

    def remove(self, fingerprint: bytes, address: Address) -> None:
        """Remove an entry that is there."""
        entry = fingerprint + address.pack()
        if len(entry) != FINGERPRINT_BYTES + ADDRESS_BYTES or not self._transaction.delete(
            _ENTRY, entry, db=self._databases["entries"]
        ):
            raise CorruptionError("catalog: an entry vanished", ErrorKind.BAD_CATALOG)

    def new_document(self, name: str) -> int:
        """A number for a document that has none."""
        meta = self._databases["meta"]
        found = self._transaction.get(_NEXT_DOCUMENT, db=meta)
        number = 1 if found is None else unpack_number(found)
        self._transaction.put(_NEXT_DOCUMENT, pack_number(number + 1), db=meta)
        self._transaction.put(name.encode(), pack_number(number), db=self._databases["names"])
        return number

    def set_document(self, number: int, name: str, runs: Sequence[Run]) -> None:
        """Write a document's runs; without any, the document goes."""
        key = pack_number(number)
        if runs:
            packed = pack_document(name, runs)
            self._transaction.put(key, packed, db=self._databases["documents"])
            return
        self._transaction.delete(key, db=self._databases["documents"])
        self._transaction.delete(name.encode(), db=self._databases["names"])

    def set_owners(self, key: bytes, owners: frozenset[int]) -> None:
        """Write which documents share a key; an empty set forgets it."""
        if owners:
            packed = b"".join(pack_number(number) for number in sorted(owners))
            self._transaction.put(key, packed, db=self._databases["owners"])
        else:
            self._transaction.delete(key, db=self._databases["owners"])

    def set_segment(self, number: int, state: SegmentState | None) -> None:
        """Write a segment's state; None forgets the segment."""
        key = _segment_key(number)
        meta = self._databases["meta"]
        if state is None:
            self._transaction.delete(key, db=meta)
        else:
            self._transaction.put(key, state.pack(), db=meta)
