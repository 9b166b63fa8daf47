"""Tier L3: frames in mapped segments, found through the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from titanstore.catalog.catalog import Catalog, CatalogView
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.keys import StoredKey
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader


class ColdTier:
    """Looks a key up in the catalog and gives its record as a view of the mapped segment."""

    def __init__(self, catalog: Catalog, reader: SegmentReader) -> None:
        self.catalog = catalog
        self.reader = reader

    def find(self, key: StoredKey) -> Record | None:
        """The current record of a key, or None. About 5 us; the frame is not yet verified.

        Raises
        ------
        CorruptionError
            The catalog points to something that is no record of a key with its fingerprint.
        """
        for _ in range(2):
            try:
                return self._match(key, self.catalog.lookup(key.fingerprint()))
            except CorruptionError as error:
                # compaction may have moved the record and removed its segment meanwhile: look
                # once more, and believe the second answer
                if error.kind is not ErrorKind.MISSING_SEGMENT:
                    raise
                last = error
        raise last

    def find_many(self, keys: Sequence[StoredKey]) -> list[Record | None]:
        """`find` for each key, in one transaction of the catalog."""
        with self.catalog.reading() as view:
            found = view.lookup_many([key.fingerprint() for key in keys])
        records: list[Record | None] = []
        for key, addresses in zip(keys, found, strict=True):
            try:
                records.append(self._match(key, addresses))
            except CorruptionError as error:
                if error.kind is not ErrorKind.MISSING_SEGMENT:
                    raise
                records.append(self.find(key))
        return records

    def _match(self, key: StoredKey, addresses: Sequence[Address]) -> Record | None:
        for address in addresses:
            record = self.reader.record(address)
            if record.key == key:
                return record
            if record.key.fingerprint() != key.fingerprint():
                raise CorruptionError(
                    f"catalog: {address} holds a record of another key", ErrorKind.BAD_CATALOG
                )
        return None

    def siblings(self, document: int) -> list[Record]:
        """All records of a document, in its order; empty when it is gone."""
        with self.catalog.reading() as view:
            return document_records(view, self.reader, document)


def document_records(view: CatalogView, reader: SegmentReader, document: int) -> list[Record]:
    """The records that a document's runs lead to, in its order."""
    found = view.document(document)
    records: list[Record] = []
    for start, count in found[1] if found else ():
        address = start
        for place in range(count):
            if place:
                address = reader.following(address.segment, records[-1].end)
            records.append(reader.record(address))
    return records
