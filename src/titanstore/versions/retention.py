"""Giving versions up: their records go to the version before, or nobody needs them any more.

A version is first marked, and its records are dealt with a batch a transaction. Until its last one
is, it still counts as an interval, so that older versions read the same at every moment; one that
a crash left half-way is finished by the next run.
"""

from __future__ import annotations

from itertools import islice

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.history import ENTRIES, unpack_addresses
from titanstore.catalog.layout import StoredVersion
from titanstore.catalog.views import CatalogView, CatalogWriter
from titanstore.changes import bury, in_transaction
from titanstore.errors import CorruptionError
from titanstore.segments.layout import Address
from titanstore.segments.reader import SegmentReader

_BATCH_RECORDS = 10_000


class Retention:
    """Takes versions away. Use under the store's write lock."""

    def __init__(self, catalog: Catalog, reader: SegmentReader) -> None:
        self._catalog = catalog
        self._reader = reader

    def run(self, keep: int) -> int:
        """Give up the oldest untagged versions beyond `keep`; returns how many."""
        with self._catalog.reading() as view:
            if not _beyond(view, keep) and not _dropped(view):
                return 0

        def begin(view: CatalogWriter) -> tuple[int, bool]:
            chosen = _beyond(view, keep)
            for stored in chosen:
                view.history.set_version(StoredVersion(stored.version, is_dropped=True))
            return len(chosen), self._step(view)

        dropped, is_done = in_transaction(self._catalog, begin)
        while not is_done:
            is_done = in_transaction(self._catalog, self._step)
        return dropped

    def _step(self, view: CatalogWriter) -> bool:
        """Deal with one batch of records, those of the oldest version first; is it all done?"""
        history = view.history
        left = _BATCH_RECORDS
        for stored in _dropped(view):
            number = stored.version.number
            # dropped ones before it are gone by now
            before = [each for each in history.numbers() if each < number]
            # what nobody inherits may go even where it is damaged
            changes = history.changes(number) if before else history.found(number)
            batch = list(islice(changes, left))
            for place, value in batch:
                history.forget(number, place)
                if before and history.first(before[-1:], place) is None:
                    history.record(before[-1], place, value)
                elif place[:1] == ENTRIES:
                    self._bury(view, place[1:], unpack_addresses(value))
            left -= len(batch)
            if not left:
                return False
            history.remove_version(number)
        return True

    def _bury(self, view: CatalogWriter, fingerprint: bytes, addresses: list[Address]) -> None:
        for address in addresses:
            try:
                record = self._reader.record(address)
            except CorruptionError:
                continue  # its size cannot be told; `check` lists it
            bury(view, fingerprint, address, record.end - record.offset)


def _beyond(view: CatalogView, keep: int) -> list[StoredVersion]:
    untagged = [
        stored
        for stored in view.history.versions()
        if not stored.is_dropped and not stored.version.tags
    ]
    return untagged[: max(0, len(untagged) - keep)]


def _dropped(view: CatalogView) -> list[StoredVersion]:
    return [stored for stored in view.history.versions() if stored.is_dropped]
