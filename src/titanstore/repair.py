"""Damaged vectors stored again from where the same bits are kept a second time.

A copy counts only if it must be the same: a row of a Lance table says which record it mirrors; a
record that a version keeps must have the frame header of the damaged one, checksum included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.history import ENTRIES, unpack_addresses
from titanstore.check import StoreCheck
from titanstore.codec.base import Vector
from titanstore.codec.choose import decode_frame
from titanstore.codec.frame import HEADER_BYTES
from titanstore.compaction import Compaction
from titanstore.errors import CorruptionError, InvalidInputError, NewerFormatError
from titanstore.search.lance import LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.mirror import position
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader

_UNREADABLE = (CorruptionError, NewerFormatError)
_Damaged = dict[Address, Record]  # heads, as `SegmentReader.head` has them


def _header(record: Record) -> bytes:
    return bytes(record.frame[:HEADER_BYTES])


class Repair:
    """One repair of one store. Use under the store's write lock."""

    def __init__(
        self, lance: Path, catalog: Catalog, reader: SegmentReader, compaction: Compaction
    ) -> None:
        self._lance = lance
        self._catalog = catalog
        self._reader = reader
        self._compaction = compaction

    def run(self) -> tuple[str, ...]:
        """Store again what can be; the keys of it, sorted. `check` tells what could not be.

        A record whose head is damaged too stays as it is: where it ends is not known, and with it
        what its document holds.

        Raises
        ------
        StorageError, ReadOnlyError
            The repair ended early; what it had stored again stays so.
        """
        damaged = self._damaged()
        copies = {
            **self._in_place(damaged),
            **self._in_versions(damaged),
            **self._in_lance(damaged),
        }
        restored = []
        for address in sorted(copies):  # one by one: one that cannot be led to holds up no other
            with suppress(CorruptionError):
                self._compaction.replace(address.segment, {address.offset: copies[address]})
                restored.append(damaged[address].key.text)
        return tuple(sorted(set(restored)))

    def _damaged(self) -> _Damaged:
        check = StoreCheck(self._catalog, self._reader)
        check.run()
        with self._catalog.reading() as view:
            held = [
                address
                for number in view.history.intervals()
                for place, value in view.history.found(number, ENTRIES)
                if place[:1] == ENTRIES
                for address in unpack_addresses(value)
            ]
        found: _Damaged = {}
        for fingerprint, address in check.damaged:
            with suppress(*_UNREADABLE):
                head = self._reader.head(address)
                if head.key.fingerprint() == fingerprint:  # else it is the catalog that is damaged
                    found[address] = head
        for address in set(held) - found.keys():
            with suppress(*_UNREADABLE):
                head = self._reader.head(address)
                if self._decoded(address) is None:
                    found[address] = head
        return found

    def _decoded(self, address: Address) -> Vector | None:
        try:
            return decode_frame(self._reader.record(address).frame)
        except _UNREADABLE:
            return None

    def _in_place(self, damaged: _Damaged) -> dict[Address, Vector]:
        """Of those of which only the row in the plane is damaged: their own vectors."""
        found = {address: self._decoded(address) for address in damaged}
        return {address: vector for address, vector in found.items() if vector is not None}

    def _in_versions(self, damaged: _Damaged) -> dict[Address, Vector]:
        copies: dict[Address, Vector] = {}
        for address, head in damaged.items():
            for other in self._addresses_of(head.key.fingerprint()):
                if other == address:
                    continue
                with suppress(*_UNREADABLE):
                    record = self._reader.record(other)
                    if record.key == head.key and _header(record) == _header(head):
                        copies[address] = decode_frame(record.frame)
        return copies

    def _addresses_of(self, fingerprint: bytes) -> set[Address]:
        with self._catalog.reading() as view:
            found = set(view.lookup_many([fingerprint])[0])
            for number in view.history.intervals():
                value = view.history.recorded(number, ENTRIES + fingerprint)
                found.update(unpack_addresses(value or b""))
        return found

    def _in_lance(self, damaged: _Damaged) -> dict[Address, Vector]:
        wanted = {position(address): address for address in damaged}
        copies: dict[Address, Vector] = {}
        for dimension in {head.header.dimension for head in damaged.values()}:
            for row_position, key, vector in self._lance_rows(dimension, wanted.keys()):
                address = wanted[row_position]
                if damaged[address].key.text == key:
                    copies[address] = vector
        return copies

    def _lance_rows(
        self, dimension: int, positions: Iterable[int]
    ) -> Iterator[tuple[int, str, Vector]]:
        """Rows of one table that mirror records at these positions; each has its own checksum."""
        wanted = set(positions)
        folder = self._lance / str(dimension)
        if not folder.exists():
            return
        with (
            suppress(LanceUnavailableError, InvalidInputError),  # not installed, or damaged too
            LanceTable.open(folder, dimension, LanceSettings(), read_only=True) as table,
        ):
            for row in table.rows():
                if row.version in wanted:
                    yield row.version, row.key, row.vector()
