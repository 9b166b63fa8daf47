"""The integrity walk over what versions remember."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.change_sums import SHARES
from titanstore.catalog.history import (
    DATABASE_OF,
    DOCUMENTS,
    ENTRIES,
    NAMES,
    OWNERS,
    unpack_addresses,
)
from titanstore.catalog.layout import unpack_document
from titanstore.catalog.views import CatalogView
from titanstore.codec.choose import decode_frame
from titanstore.errors import CorruptionError, ErrorKind, StoreError
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.cold import run_records

_PAGE_RECORDS = 2_000  # records a read transaction: a long one would hold back LMDB's pages
_SHARES_AT_ONCE = 4  # of 128 of a version: likewise
_NUMBER_BYTES = 4


class Finding(NamedTuple):
    """One thing that is not as it was written."""

    error: StoreError
    place: str


def audit(catalog: Catalog, reader: SegmentReader) -> Iterator[Finding]:
    """Everything that is wrong with the versions of a store; a writer may go on meanwhile.

    The sums of each version must be those of its records; each record of the log must belong to a
    version, lead to whole records of keys with its fingerprint, and a document to records that its
    version had.

    Raises
    ------
    CorruptionError
        The catalog itself cannot be read.
    """
    catalog.find_databases()  # or the sums of a first version taken since would be without it
    catalog.doubt()
    with catalog.reading() as view:
        view.next_version()
        numbers = [stored.version.number for stored in view.history.versions()]
        lost = sorted(set(view.history.intervals()) - set(numbers))
    for number in lost:
        orphans = CorruptionError("the log has records of no version", ErrorKind.BAD_CATALOG)
        yield Finding(orphans, f"version {number}")
    for number in numbers:
        yield from _count_again(catalog, number)
        start: bytes | None = b""
        while start is not None:
            with catalog.reading() as view:
                page = list(islice(view.history.found(number, start), _PAGE_RECORDS))
                found = [_problem(view, reader, number, *each) for each in page]
            for (place, _), error in zip(page, found, strict=True):
                # a writer may have given the record up, or moved what it led to, since: look again
                again = None if error is None else _second_look(catalog, reader, number, place)
                if again is not None:
                    yield Finding(again, f"version {number}, {DATABASE_OF.get(place[:1], 'log')}")
            start = page[-1][0] + b"\0" if len(page) == _PAGE_RECORDS else None


def _count_again(catalog: Catalog, number: int) -> Iterator[Finding]:
    for first in SHARES[::_SHARES_AT_ONCE]:
        try:
            with catalog.reading() as view:
                view.history.verify(number, range(first, first + _SHARES_AT_ONCE))
        except CorruptionError as error:
            yield Finding(error, f"version {number}, changes")
            return


def _second_look(
    catalog: Catalog, reader: SegmentReader, number: int, place: bytes
) -> StoreError | None:
    with catalog.reading() as view:
        value = view.history.recorded(number, place)
        return None if value is None else _problem(view, reader, number, place, value)


def _problem(
    view: CatalogView, reader: SegmentReader, number: int, place: bytes, value: bytes
) -> StoreError | None:
    try:
        if place[:1] == ENTRIES:
            _check_entries(reader, place[1:], value)
        elif place[:1] == DOCUMENTS:
            _check_document(view, reader, number, value)
        elif place[:1] not in (NAMES, OWNERS) or len(value) % _NUMBER_BYTES:
            raise CorruptionError(f"record of {place!r} is damaged", ErrorKind.BAD_CATALOG)
    except StoreError as error:
        return error
    return None


def _check_entries(reader: SegmentReader, fingerprint: bytes, value: bytes) -> None:
    for address in unpack_addresses(value):
        record = reader.record(address)
        if record.key.fingerprint() != fingerprint:
            raise CorruptionError(
                f"segment {address.segment}, offset {address.offset}: the log leads to another "
                f"key, {record.key.text!r}",
                ErrorKind.BAD_CATALOG,
            )
        try:
            decode_frame(record.frame)
        except CorruptionError as error:
            raise CorruptionError(f"key {record.key.text!r}: {error}", error.kind) from error


def _check_document(view: CatalogView, reader: SegmentReader, number: int, value: bytes) -> None:
    if not value:
        return
    name, runs = unpack_document(value)
    stored = view.history.version(number)
    if stored is None or stored.is_dropped:
        return  # what it had cannot be told any more
    past = view.at(number)
    for address, record in run_records(reader, runs):
        if address not in past.lookup_many([record.key.fingerprint()])[0]:
            raise CorruptionError(
                f"document {name!r} leads to a record of {record.key.text!r} that it had not",
                ErrorKind.BAD_CATALOG,
            )
