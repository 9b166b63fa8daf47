"""Old records move as current ones do, and every version follows them to their new place.

So a segment that some version leads into is compacted like any other: without this, the first
snapshot of a store would keep the space of all its later edits for good.
"""

from __future__ import annotations

from collections.abc import Mapping

from titanstore.catalog.history import DOCUMENTS, ENTRIES, pack_addresses, unpack_addresses
from titanstore.catalog.layout import pack_document, runs_of, unpack_document
from titanstore.catalog.views import CatalogView, CatalogWriter
from titanstore.segments.layout import Address
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import Placed
from titanstore.tiers.cold import run_records


def held_offsets(view: CatalogView, segment: int) -> set[int]:
    """Offsets of the records of a segment that changed since some version: it needs them."""
    history = view.history
    return {
        address.offset
        for number in history.numbers()
        for _, value in history.changes(number, ENTRIES)
        for address in unpack_addresses(value)
        if address.segment == segment
    }


def lead_history(
    view: CatalogWriter, reader: SegmentReader, segment: int, places: Mapping[int, Placed]
) -> None:
    """Lead what versions remember to copies of records: `places` by offset in `segment`.

    All needed records of the segment before the last of them have moved already or are among them.
    Cost grows with the whole history.
    """
    history = view.history
    last = max(places)
    for number in history.numbers():
        changed = {}
        for place, value in history.changes(number):
            if place[:1] == ENTRIES:
                addresses = unpack_addresses(value)
                if any(each.segment == segment and each.offset in places for each in addresses):
                    changed[place] = pack_addresses(
                        sorted(_moved(each, segment, places) for each in addresses)
                    )
            elif place[:1] == DOCUMENTS and value:
                name, runs = unpack_document(value)
                if any(r.start.segment == segment and r.start.offset <= last for r in runs):
                    content = [
                        places[address.offset]
                        if address.segment == segment and address.offset in places
                        else Placed(address, record.end)
                        for address, record in run_records(reader, runs)
                    ]
                    packed = pack_document(name, runs_of(content))
                    if packed != value:  # a page that is written is one that LMDB keeps (0019)
                        changed[place] = packed
        for place, value in changed.items():
            history.record(number, place, value)


def _moved(address: Address, segment: int, places: Mapping[int, Placed]) -> Address:
    is_moved = address.segment == segment and address.offset in places
    return places[address.offset].address if is_moved else address
