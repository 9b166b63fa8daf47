"""What two states of a store have different, from the changes recorded between them."""

from __future__ import annotations

from collections.abc import Iterable

from titanstore.catalog.history import DOCUMENTS, ENTRIES, NAMES, unpack_addresses
from titanstore.catalog.layout import unpack_document
from titanstore.catalog.lookups import Lookups
from titanstore.catalog.views import CatalogView
from titanstore.codec.choose import decode_frame
from titanstore.segments.layout import Record
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.cold import document_records
from titanstore.types import Difference
from titanstore.vectors import same_bits


def difference(view: CatalogView, reader: SegmentReader, one: int, other: int | None) -> Difference:
    """From version `one` to version `other`, None for the present. Cost grows with the changes."""
    if other is not None and other < one:
        return _backwards(difference(view, reader, other, one))
    numbers = [n for n in view.history.numbers() if one <= n and (other is None or n < other)]
    touched = view.history.touched(numbers)
    before = view.at(one)
    after: Lookups = view if other is None else view.at(other)
    came: dict[str, Record] = {}
    went: dict[str, Record] = {}
    for place, value in touched.items():
        if place[:1] == ENTRIES:
            old, new = unpack_addresses(value), unpack_addresses(after.value(place))
            for address in set(old) ^ set(new):
                record = reader.record(address)
                (went if address in old else came)[record.key.text] = record
    both = came.keys() & went.keys()
    replaced = {key for key in both if not _is_same(came[key], went[key])}
    names = {
        name
        for place, value in touched.items()
        for name in _names(place, (value, after.value(place)))
    }
    return Difference(
        added=tuple(sorted(came.keys() - both)),
        replaced=tuple(sorted(replaced)),
        removed=tuple(sorted(went.keys() - both)),
        documents_changed=tuple(
            sorted(name for name in names if _is_changed(before, after, reader, name, replaced))
        ),
    )


def _backwards(found: Difference) -> Difference:
    return Difference(
        added=found.removed,
        replaced=found.replaced,
        removed=found.added,
        documents_changed=found.documents_changed,
    )


def _is_same(one: Record, other: Record) -> bool:
    return one.frame == other.frame or same_bits(decode_frame(one.frame), decode_frame(other.frame))


def _names(place: bytes, values: Iterable[bytes]) -> list[str]:
    """Names of the documents that a change is about."""
    if place[:1] == NAMES:
        return [place[1:].decode()]
    if place[:1] == DOCUMENTS:
        return [unpack_document(value)[0] for value in values if value]
    return []


def _is_changed(
    before: Lookups, after: Lookups, reader: SegmentReader, name: str, replaced: set[str]
) -> bool:
    old, new = (_keys(view, reader, name) for view in (before, after))
    return old != new or not replaced.isdisjoint(new)


def _keys(view: Lookups, reader: SegmentReader, name: str) -> list[str]:
    number = view.document_number(name)
    if number is None:
        return []
    return [record.key.text for _, record in document_records(view, reader, number)]
