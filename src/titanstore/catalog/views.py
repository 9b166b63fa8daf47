"""What a transaction sees of the catalog, and how it changes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.history import (
    DATABASE_OF,
    DOCUMENTS,
    ENTRIES,
    NAMES,
    OWNERS,
    unpack_addresses,
)
from titanstore.catalog.layout import (
    Run,
    SegmentState,
    pack_document,
    pack_number,
    require_order,
    unpack_document,
    unpack_entry,
    unpack_number,
)
from titanstore.catalog.lookups import ENTRY, Lookups, PastView, matches, numbers_in
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.keys import FINGERPRINT_BYTES
from titanstore.segments.layout import ADDRESS_BYTES, Address

_NEXT_DOCUMENT = b"next-document"
_NEXT_VERSION = b"next-version"
_REVIVALS = b"revivals"
_ALL_HAVE_ROWS = b"all-have-rows"
_SEGMENT = b"segment-"
_OFFSETS_AT_ONCE = 10_000
_ENTRY = np.dtype([("fingerprint", f"V{FINGERPRINT_BYTES}"), ("segment", ">u2"), ("offset", ">u4")])


class CatalogView(Lookups):
    """What one transaction sees."""

    def at(self, number: int) -> PastView:
        """The same transaction as of a version that is there."""
        return PastView(self._transaction, self._databases, self.history, number)

    def change(self) -> int:
        """Number of the last transaction that had been committed: equal numbers, equal content."""
        return self._transaction.id()

    def lookup_many(self, fingerprints: Sequence[bytes]) -> list[list[Address]]:
        """`Catalog.lookup` for each, in one transaction."""
        cursor = self._transaction.cursor(self._databases["entries"])
        return [matches(cursor, fingerprint) for fingerprint in fingerprints]

    def entries_from(self, start: bytes, limit: int) -> list[tuple[bytes, Address]]:
        """Up to `limit` (fingerprint, address) in order, from the entry `start` on."""
        cursor = self._transaction.cursor(self._databases["entries"])
        found: list[tuple[bytes, Address]] = []
        more = cursor.set_range_dup(ENTRY, start) if start else cursor.first()
        least = start
        while more and len(found) < limit:
            entry = cursor.value()
            require_order(entry >= least)
            least = entry
            found.append((entry[:FINGERPRINT_BYTES], unpack_entry(entry)))
            more = cursor.next_dup()
        return found

    def numbers_of_documents(self, prefix: str) -> list[int]:
        """Numbers of the documents whose names begin with `prefix`."""
        start = prefix.encode()
        cursor = self._transaction.cursor(self._databases["names"])
        found = []
        more = cursor.set_range(start) if start else cursor.first()
        while more and cursor.key().startswith(start):
            found.append(unpack_number(cursor.value()))
            more = cursor.next()
        return found

    def documents_after(self, number: int | None, limit: int) -> list[tuple[int, str]]:
        """Numbers and names of up to `limit` documents that follow one in the order of bytes.

        None: from the first one on.
        """
        cursor = self._transaction.cursor(self._databases["documents"])
        found: list[tuple[int, str]] = []
        more = cursor.first() if number is None else cursor.set_range(pack_number(number) + b"\0")
        least = b"" if number is None else pack_number(number) + b"\0"
        while more and len(found) < limit:
            require_order(cursor.key() >= least)
            least = cursor.key() + b"\0"
            found.append((unpack_number(cursor.key()), unpack_document(cursor.value())[0]))
            more = cursor.next()
        return found

    def all_owners(self) -> Iterator[tuple[bytes, frozenset[int]]]:
        """Each key that several documents hold, tagged, with their numbers."""
        for key, packed in self._transaction.cursor(self._databases["owners"]):
            yield key, numbers_in(packed)

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
        # not by `stat`: each call interns the names of its fields, and asked at every search and
        # write that makes the interpreter's table of interned strings grow by a megabyte
        cursor = self._transaction.cursor(self._databases["entries"])
        return cursor.count() if cursor.first() else 0

    def document_count(self) -> int:
        """Number of documents."""
        return self._transaction.stat(self._databases["documents"])["entries"]

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

    def revivals(self) -> int:
        """How many rollbacks have made an old record current again, modulo 2^32."""
        return self._counter(_REVIVALS, 0)

    def all_have_rows(self) -> bool:
        """Has the record of every vector a row in a plane, so that a scan sees them all?"""
        found = self._transaction.get(_ALL_HAVE_ROWS, db=self._databases["meta"])
        return found is not None or not self.entry_count()

    def offsets(self, segment: int) -> NDArray[np.uint32]:
        """As `offsets_of` for one segment."""
        return self.offsets_of([segment])[segment]

    def offsets_of(self, segments: Iterable[int]) -> dict[int, NDArray[np.uint32]]:
        """Offsets of the current records of each of some segments, in no order.

        Goes through all entries of the store once, 0.2 to 0.5 us each. Memory is that of the
        result: they are looked at some thousand at a time.
        """
        cursor = self._transaction.cursor(self._databases["entries"])
        entries = cursor.iternext_dup() if cursor.first() else iter(())
        chosen = {segment: [np.empty(0, np.uint32)] for segment in segments}
        while packed := b"".join(islice(entries, _OFFSETS_AT_ONCE)):
            some = np.frombuffer(packed, _ENTRY)
            numbers, offsets = some["segment"].astype(np.uint16), some["offset"].astype(np.uint32)
            for segment, found in chosen.items():
                found.append(offsets[numbers == segment])
        # what is put together is let go: a store has megabytes of them
        return {segment: np.concatenate(chosen.pop(segment)) for segment in list(chosen)}

    def next_version(self) -> int:
        """The number that the next version gets; CorruptionError (BAD_CATALOG) if one has it."""
        number = self._counter(_NEXT_VERSION, 1)
        if number <= self.history.last_number():
            raise _reused(_NEXT_VERSION, number)
        return number

    def is_needed(self, fingerprint: bytes, address: Address) -> bool:
        """Does the present or any version lead to this record?"""
        if address in self.lookup_many([fingerprint])[0]:
            return True
        return self.history.leads_to(ENTRIES + fingerprint, address)

    def next_document(self) -> int:
        """The number that the next document gets."""
        return self._counter(_NEXT_DOCUMENT, 1)

    def require_unused(self, documents: int) -> None:
        """Raise CorruptionError (BAD_CATALOG) if the next document would get one of these numbers.

        `documents` is the highest that there is.
        """
        if self.next_document() <= documents:
            raise _reused(_NEXT_DOCUMENT, self.next_document())

    def _counter(self, key: bytes, default: int) -> int:
        found = self._transaction.get(key, db=self._databases["meta"])
        return default if found is None else unpack_number(found)


def _segment_key(number: int) -> bytes:
    return _SEGMENT + number.to_bytes(2, "big")


def _reused(counter: bytes, number: int) -> CorruptionError:
    return CorruptionError(
        f"catalog: {counter.decode()} is lost or damaged: {number} was given before",
        ErrorKind.BAD_CATALOG,
    )


class CatalogWriter(CatalogView):
    """A view that can also change.

    While there is a version, the first change of a value after it is remembered. What moves records
    without changing what a caller sees (`move`, `move_document`) is not.
    """

    def set_all_have_rows(self, *, is_so: bool) -> None:
        """Note that every vector's record has a row, or that one has none."""
        meta = self._databases["meta"]
        if is_so:
            self._transaction.put(_ALL_HAVE_ROWS, b"", db=meta)
        else:
            self._transaction.delete(_ALL_HAVE_ROWS, db=meta)

    def _remember(self, place: bytes) -> None:
        if not self.history.is_remembered(place):
            self.history.remember(place, self.value(place))

    # -- entries ---------------------------------------------------------------------------

    def add(self, fingerprint: bytes, address: Address) -> None:
        """Add an entry."""
        self._remember(ENTRIES + fingerprint)
        self._add(fingerprint, address)

    def _add(self, fingerprint: bytes, address: Address) -> None:
        self._transaction.put(ENTRY, fingerprint + address.pack(), db=self._databases["entries"])

    def remove(self, fingerprint: bytes, address: Address) -> None:
        """Remove an entry that is there."""
        self._remember(ENTRIES + fingerprint)
        self._remove(fingerprint, address)

    def _remove(self, fingerprint: bytes, address: Address) -> None:
        entry = fingerprint + address.pack()
        if len(entry) != FINGERPRINT_BYTES + ADDRESS_BYTES or not self._transaction.delete(
            ENTRY, entry, db=self._databases["entries"]
        ):
            raise CorruptionError("catalog: an entry vanished", ErrorKind.BAD_CATALOG)

    def move(self, fingerprint: bytes, old: Address, new: Address) -> None:
        """Lead an entry to a copy of its record."""
        self._add(fingerprint, new)
        self._remove(fingerprint, old)

    # -- documents -------------------------------------------------------------------------

    def new_document(self, name: str) -> int:
        """A number for a document that has none."""
        self._remember(NAMES + name.encode())
        number = self.next_document()
        if self.value(DOCUMENTS + pack_number(number)):
            raise _reused(_NEXT_DOCUMENT, number)
        self._transaction.put(_NEXT_DOCUMENT, pack_number(number + 1), db=self._databases["meta"])
        self._transaction.put(name.encode(), pack_number(number), db=self._databases["names"])
        return number

    def set_document(self, number: int, name: str, runs: Sequence[Run]) -> None:
        """Write a document's runs; without any, the document goes."""
        key = pack_number(number)
        packed = pack_document(name, runs) if runs else b""
        if packed and packed == self.value(DOCUMENTS + key):
            return
        self._remember(DOCUMENTS + key)
        if packed:
            self._transaction.put(key, packed, db=self._databases["documents"])
            return
        self._remember(NAMES + name.encode())
        self._transaction.delete(key, db=self._databases["documents"])
        self._transaction.delete(name.encode(), db=self._databases["names"])

    def move_document(self, number: int, name: str, runs: Sequence[Run]) -> None:
        """Lead a document to copies of its records."""
        packed = pack_document(name, runs)
        self._transaction.put(pack_number(number), packed, db=self._databases["documents"])

    def set_owners(self, key: bytes, owners: frozenset[int]) -> None:
        """Write which documents share a key; an empty set forgets it."""
        packed = b"".join(pack_number(number) for number in sorted(owners))
        self.set_value(OWNERS + key, packed)

    def set_value(self, place: bytes, value: bytes) -> None:
        """Write what `value` gave for a place once; b"" removes what is there."""
        before = self.value(place)
        if value == before:
            return
        self._remember(place)
        kind, key = place[:1], place[1:]
        if kind == ENTRIES:
            old, new = unpack_addresses(before), unpack_addresses(value)
            for address in set(old) - set(new):
                self._remove(key, address)
            for address in set(new) - set(old):
                self._add(key, address)
        elif value:
            self._transaction.put(key, value, db=self._databases[DATABASE_OF[kind]])
        else:
            self._transaction.delete(key, db=self._databases[DATABASE_OF[kind]])

    # -- what no version remembers ---------------------------------------------------------

    def set_segment(self, number: int, state: SegmentState | None) -> None:
        """Write a segment's state; None forgets the segment."""
        key = _segment_key(number)
        meta = self._databases["meta"]
        if state is None:
            self._transaction.delete(key, db=meta)
        else:
            self._transaction.put(key, state.pack(), db=meta)

    def take_version_number(self) -> int:
        """A number for a new version; never given twice."""
        number = self.next_version()
        self._transaction.put(_NEXT_VERSION, pack_number(number + 1), db=self._databases["meta"])
        return number

    def count_revival(self) -> None:
        """Raise `revivals`."""
        packed = pack_number((self.revivals() + 1) % 2**32)
        self._transaction.put(_REVIVALS, packed, db=self._databases["meta"])
