"""What can be asked of the catalog, of the present and as of a version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lmdb

from titanstore.catalog.history import (
    DATABASE_OF,
    DOCUMENTS,
    ENTRIES,
    NAMES,
    OWNERS,
    History,
    pack_addresses,
    unpack_addresses,
)
from titanstore.catalog.layout import (
    Run,
    pack_number,
    require_order,
    unpack_document,
    unpack_entry,
    unpack_number,
)
from titanstore.keys import FINGERPRINT_BYTES
from titanstore.segments.layout import Address

ENTRY = b"e"  # the one key whose duplicates are the entries


def matches(cursor: lmdb.Cursor[bytes], fingerprint: bytes) -> list[Address]:
    """Addresses of the entries with this fingerprint."""
    found: list[Address] = []
    more = cursor.set_range_dup(ENTRY, fingerprint)
    while more:
        entry = cursor.value()
        if entry[:FINGERPRINT_BYTES] != fingerprint:
            break
        found.append(unpack_entry(entry))
        more = cursor.next_dup()
    return found


def numbers_in(packed: bytes) -> frozenset[int]:
    """Numbers of documents, as `owners` holds them."""
    return frozenset(unpack_number(packed[at : at + 4]) for at in range(0, len(packed), 4))


class Lookups:
    """What can be asked of the present and of any version alike."""

    def __init__(
        self,
        transaction: lmdb.Transaction[bytes],
        databases: dict[str, lmdb._Database],
        history: History,
    ) -> None:
        self._transaction = transaction
        self._databases = databases
        self.history = history

    def value(self, place: bytes) -> bytes:
        """The bytes at a place (kind, then key), b"" where nothing is; of an entry, addresses."""
        kind, key = place[:1], place[1:]
        if kind == ENTRIES:
            cursor = self._transaction.cursor(self._databases["entries"])
            return pack_addresses(matches(cursor, key))
        return self._transaction.get(key, b"", db=self._databases[DATABASE_OF[kind]])

    def lookup_many(self, fingerprints: Sequence[bytes]) -> list[list[Address]]:
        """Addresses whose keys have each fingerprint; nearly always none or one."""
        return [unpack_addresses(self.value(ENTRIES + each)) for each in fingerprints]

    def document_number(self, name: str) -> int | None:
        """The number of a document, None if it is unknown."""
        found = self.value(NAMES + name.encode())
        return unpack_number(found) if found else None

    def document(self, number: int) -> tuple[str, list[Run]] | None:
        """Name and runs of a document, None if it is gone."""
        found = self.value(DOCUMENTS + pack_number(number))
        return unpack_document(found) if found else None

    def documents(self) -> Iterator[tuple[int, str, list[Run]]]:
        """All documents."""
        for number, data in self._transaction.cursor(self._databases["documents"]):
            yield (unpack_number(number), *unpack_document(data))

    def owners(self, key: bytes) -> frozenset[int] | None:
        """Numbers of the documents that share a key; None when at most one holds it."""
        found = self.value(OWNERS + key)
        if not found:
            return None
        return numbers_in(found)


class PastView(Lookups):
    """The catalog as of a version.

    What one asks of a version does not change, so several views of it, of one transaction each,
    fit together.
    """

    def __init__(
        self,
        transaction: lmdb.Transaction[bytes],
        databases: dict[str, lmdb._Database],
        history: History,
        number: int,
    ) -> None:
        super().__init__(transaction, databases, history)
        self._numbers = [each for each in self.history.numbers() if each >= number]

    def value(self, place: bytes) -> bytes:
        """As `Lookups.value`. Cost grows with the number of later versions."""
        found = self.history.first(self._numbers, place)
        return super().value(place) if found is None else found

    def documents(self) -> Iterator[tuple[int, str, list[Run]]]:
        """All documents."""
        recorded: dict[bytes, bytes] = {}
        for number in self._numbers:
            for place, value in self.history.changes(number, DOCUMENTS):
                recorded.setdefault(place[1:], value)
        for key, data in self._transaction.cursor(self._databases["documents"]):
            if key not in recorded:
                yield (unpack_number(key), *unpack_document(data))
        for key, data in recorded.items():
            if data:
                yield (unpack_number(key), *unpack_document(data))

    def entries(self, start: bytes, limit: int) -> tuple[dict[bytes, list[Address]], bytes | None]:
        """A page of entries, in no order: addresses by fingerprint, from the fingerprint `start`.

        Returns
        -------
        entries, next
            About `limit` of them, and where the next page starts; None after the last one.
        """
        present: dict[bytes, list[Address]] = {}
        last: bytes | None = None
        cursor = self._transaction.cursor(self._databases["entries"])
        more = cursor.set_range_dup(ENTRY, start)
        least = start
        while more:
            fingerprint = cursor.value()[:FINGERPRINT_BYTES]
            require_order(fingerprint >= least)
            least = fingerprint
            if len(present) >= limit and fingerprint not in present:
                last = max(present)
                break
            present.setdefault(fingerprint, []).append(unpack_entry(cursor.value()))
            more = cursor.next_dup()
        recorded: dict[bytes, list[Address]] = {}
        for number in self._numbers:
            for place, value in self.history.changes(number, ENTRIES, start):
                if last is not None and place[1:] > last:
                    break
                recorded.setdefault(place[1:], unpack_addresses(value))
        return present | recorded, None if last is None else _after(last)


def _after(fingerprint: bytes) -> bytes:
    """The next fingerprint; only of one that another one follows."""
    return (int.from_bytes(fingerprint, "big") + 1).to_bytes(FINGERPRINT_BYTES, "big")
