"""Tier L3: frames in mapped segments, found through the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.layout import Run
from titanstore.catalog.lookups import Lookups
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.keys import StoredKey
from titanstore.metrics import Counters
from titanstore.segments.layout import Address, Record
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.bloom import BloomFilter

_RECORD_BYTES = 2_200  # of a Titan vector of 1 536 dimensions with its key; most are smaller


class ColdTier:
    """Looks a key up in the catalog and gives its record as a view of the mapped segment."""

    def __init__(
        self,
        catalog: Catalog,
        reader: SegmentReader,
        counters: Counters,
        bloom: BloomFilter | None = None,
    ) -> None:
        self.catalog = catalog
        self.reader = reader
        self.bloom = bloom
        self._counters = counters

    def find(self, key: StoredKey) -> Record | None:
        """The current record of a key, or None. About 5 us; the frame is not yet verified.

        Raises
        ------
        CorruptionError
            The catalog points to something that is no record of a key with its fingerprint.
        """
        fingerprint = key.fingerprint()
        bloom = self.bloom  # once: the store may replace it meanwhile
        if bloom is not None and not bloom.may_contain(fingerprint):
            self._counters.bloom_refusals += 1
            return None
        for _ in range(2):
            try:
                addresses = self.catalog.lookup(fingerprint)
                for address in addresses:
                    self.reader.will_need(address, _RECORD_BYTES)
                return self._match(key, addresses)
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
        found = match_record(self.reader.record, key, addresses)
        return None if found is None else found[1]

    def document_keys(self, name: str) -> list[StoredKey] | None:
        """Keys of a document in its order, None if there is no such document."""
        for _ in range(2):
            try:
                with self.catalog.reading() as view:
                    number = view.document_number(name)
                    if number is None:
                        return None
                    return [record.key for _, record in document_records(view, self.reader, number)]
            except CorruptionError as error:
                if error.kind is not ErrorKind.MISSING_SEGMENT:
                    raise
                last = error  # as in `find`: compacted away since this view began
        raise last

    def siblings(self, document: int) -> Iterator[Record]:
        """All records of a document, in its order; none when it is gone."""
        with self.catalog.reading() as view:
            for at, record in document_records(view, self.reader, document):
                yield self.reader.whole(at.segment, record)


def match_record(
    read: Callable[[Address], Record], key: StoredKey, addresses: Sequence[Address]
) -> tuple[Address, Record] | None:
    """The one of these addresses whose record is of `key`, None if none is.

    `read` is a reader's `record` or `head`.

    Raises
    ------
    CorruptionError
        A record cannot be read, or is of a key with another fingerprint (BAD_CATALOG).
    """
    for address in addresses:
        record = read(address)
        if record.key == key:
            return address, record
        if record.key.fingerprint() != key.fingerprint():
            raise CorruptionError(
                f"catalog: {address} holds a record of another key", ErrorKind.BAD_CATALOG
            )
    return None


def document_records(
    view: Lookups, reader: SegmentReader, document: int
) -> Iterator[tuple[Address, Record]]:
    """The records that a document's runs lead to, in its order, as `run_records` has them."""
    found = view.document(document)
    return run_records(reader, found[1] if found else ())


def run_records(reader: SegmentReader, runs: Iterable[Run]) -> Iterator[tuple[Address, Record]]:
    """The records that runs lead to, in their order, as `SegmentReader.head` has them."""
    for start, count in runs:
        address = start
        for place in range(count):
            record = reader.head(address)
            if not place:
                reader.will_need(address, count * (record.end - record.offset))
            yield address, record
            if place + 1 < count:
                address = reader.following(address.segment, record.end)
