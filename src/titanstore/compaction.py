"""Giving back the space of records that are no longer current.

Live records of a segment are appended again and the catalog is led to them, a few megabytes a
transaction; then the file goes. At every moment each key leads to a whole record, so a crash in
between costs nothing but the space of copies made so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from titanstore.catalog.catalog import Catalog, CatalogWriter
from titanstore.catalog.layout import SegmentState, runs_of
from titanstore.changes import append_records, bury, documents_of, in_transaction
from titanstore.codec.choose import RAW
from titanstore.codec.frame import checked_body, parse_header
from titanstore.errors import CorruptionError
from titanstore.keys import StoredKey
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import (
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    Address,
    Record,
    records,
)
from titanstore.segments.reader import SegmentReader, segment_path
from titanstore.segments.writer import NewRecord, Placed, SegmentWriter
from titanstore.tiers.cold import document_records

_BATCH_BYTES = 4_000_000


class Compaction:
    """Rewrites segments that are mostly dead. Use under the store's write lock."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        reader: SegmentReader,
        writer: SegmentWriter,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._reader = reader
        self._writer = writer

    def run(self, dead_share: float) -> tuple[int, int]:
        """Compact each segment of which more than `dead_share` is dead.

        Returns
        -------
        segments, bytes
            How many files went and how many bytes that gave back, net of the copies. A segment
            with a damaged record stays whole.
        """
        before = self._file_bytes()
        with self._catalog.reading() as view:
            states = view.segments()
        removed = self._remove_orphans(set(states))
        for number in states:
            with self._catalog.reading() as view:
                # an earlier turn may have appended to it, or begun another one after it
                state, last = view.segment(number), view.last_end().segment
            assert state is not None
            size = state.end - SEGMENT_HEADER_BYTES
            if size and state.dead_bytes > dead_share * size:
                try:
                    removed += self._compact(number, state.end, is_last=number == last)
                except CorruptionError:
                    continue  # it stays as it is, for `check` to list; the others can be done
        return removed, before - self._file_bytes()

    def _file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*.seg"))

    def _remove_orphans(self, known: set[int]) -> int:
        """Files that a crash left behind after their records had moved."""
        orphans = [path for path in self._folder.glob("*.seg") if int(path.stem) not in known]
        for path in orphans:
            path.unlink()
        return len(orphans)

    def _compact(self, number: int, end: int, *, is_last: bool) -> int:
        is_first_batch = True
        for batch in self._batches(number, end):
            # the last segment is the one appended to: its records move on to a new one
            force = Address(number, SEGMENT_BYTES_LIMIT) if is_last and is_first_batch else None
            in_transaction(self._catalog, partial(self._move, number, batch, force))
            is_first_batch = False
        if is_last and is_first_batch:
            # nothing lives in it, but numbers are never used twice: an empty one follows it
            in_transaction(self._catalog, partial(self._begin_after, number))
        in_transaction(self._catalog, lambda view: view.set_segment(number, None))
        self._reader.forget(number)
        try:
            segment_path(self._folder, number).unlink()
        except OSError as error:
            raise storage_error(error, f"removing segment {number}") from error
        return 1

    def _begin_after(self, number: int, view: CatalogWriter) -> None:
        end = self._writer.begin(number + 1)
        view.set_segment(number + 1, SegmentState(end, 0))

    def _batches(self, number: int, end: int) -> Iterator[list[Record]]:
        """Live records of a segment, some megabytes at a time."""
        batch: list[Record] = []
        size = 0
        with self._catalog.reading() as view:
            live = {address.offset for address in view.addresses() if address.segment == number}
        for record in records(self._reader.view(number, end)[:end], SEGMENT_HEADER_BYTES, end):
            if record.offset not in live:
                continue
            batch.append(record)
            size += record.end - record.offset
            if size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _move(
        self, number: int, batch: list[Record], last: Address | None, view: CatalogWriter
    ) -> None:
        fresh = []
        for record in batch:
            header = parse_header(record.frame)
            checked_body(record.frame, header)  # never copy damage under a new address
            is_raw = header.codec_id == RAW.codec_id
            fresh.append(NewRecord(record.key, record.document, bytes(record.frame), is_raw))
        placed = append_records(view, self._writer, fresh, last)
        moved: dict[int, dict[StoredKey, Placed]] = {}
        for record in batch:
            fingerprint = record.key.fingerprint()
            view.add(fingerprint, placed[record.key].address)
            view.remove(fingerprint, Address(number, record.offset))
            bury(view, number, record.end - record.offset)
            for owner in documents_of(view, record.key, record):
                moved.setdefault(owner, {})[record.key] = placed[record.key]
        for owner, places in moved.items():
            document = view.document(owner)
            if document is None:
                continue
            content = [
                places.get(record.key, Placed(address, record.end))
                for address, record in document_records(view, self._reader, owner)
            ]
            view.set_document(owner, document[0], runs_of(content))
