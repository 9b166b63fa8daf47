"""Giving back the space of records that neither the present nor a version needs.

Live records of a segment are appended again and catalog and versions are led to them, a few
megabytes a transaction; then the file goes. At every moment each key leads to a whole record, so a
crash in between costs nothing but the space of copies made so far.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.layout import SegmentState, runs_of
from titanstore.catalog.views import CatalogWriter
from titanstore.changes import (
    append_records,
    count_dead,
    documents_of,
    in_transaction,
    new_records,
)
from titanstore.codec.base import Vector
from titanstore.codec.choose import RAW, decode_frame
from titanstore.codec.frame import checked_body
from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError
from titanstore.keys import StoredKey
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import (
    NO_ROW,
    SEGMENT_HEADER_BYTES,
    Address,
    Record,
)
from titanstore.segments.plane import plane_row
from titanstore.segments.planes import plane_ids
from titanstore.segments.reader import SegmentReader, segment_path
from titanstore.segments.writer import NewRecord, Placed, SegmentWriter
from titanstore.tiers.cold import document_records
from titanstore.versions.relocation import held_offsets, lead_history

_BATCH_BYTES = 4_000_000
_SEGMENT_NAME = re.compile(r"[0-9]{5}\.seg")  # as `segment_path` makes them


class _Offsets:
    """A set of offsets in 4 bytes each: a segment has some hundred thousand."""

    def __init__(self, offsets: NDArray[np.uint32]) -> None:
        self._sorted = array("I", np.sort(offsets).tobytes())

    def __contains__(self, offset: int) -> bool:
        place = bisect_left(self._sorted, offset)
        return place < len(self._sorted) and self._sorted[place] == offset

    def __len__(self) -> int:
        return len(self._sorted)


class Compaction:
    """Rewrites segments that are mostly dead. Use under the store's write lock."""

    def __init__(
        self,
        folder: Path,
        catalog: Catalog,
        reader: SegmentReader,
        writer: SegmentWriter,
        config: StoreConfig,
    ) -> None:
        self._config = config
        self._folder = folder
        self._catalog = catalog
        self._reader = reader
        self._writer = writer
        self._known: Mapping[int, Vector] = {}  # vectors of records that cannot be decoded

    def run(self, dead_share: float) -> tuple[int, int]:
        """Compact each segment of which more than `dead_share` is dead, or search sees not all.

        Returns
        -------
        segments, bytes
            How many files went and how many bytes that gave back, net of the copies. A segment
            with a damaged record stays whole.
        """
        before = self._file_bytes()
        with self._catalog.reading() as view:
            states = view.segments()
            is_complete = not self._config.search or view.all_have_rows()
        removed = self._remove_orphans(set(states))
        for number in states:
            with self._catalog.reading() as view:
                # an earlier turn may have appended to it, or begun another one after it
                state, last = view.segment(number), view.last_end().segment
            assert state is not None
            size = state.end - SEGMENT_HEADER_BYTES
            is_worth_it = state.dead_bytes > dead_share * size
            if size and (is_worth_it or not (is_complete or self._all_have_rows(number))):
                try:
                    removed += self._compact(number, state.end, is_last=number == last)
                except CorruptionError:
                    continue  # it stays as it is, for `check` to list; the others can be done
        if not is_complete and all(self._all_have_rows(number) for number in self._numbers()):
            in_transaction(self._catalog, lambda view: view.set_all_have_rows(is_so=True))
        return removed, before - self._file_bytes()

    def _numbers(self) -> list[int]:
        with self._catalog.reading() as view:
            return list(view.segments())

    def _all_have_rows(self, number: int) -> bool:
        """Has each current record of a segment a row in one of its planes?"""
        with self._catalog.reading() as view:
            offsets = view.offsets(number)
        try:
            return not self._reader.without_rows(number, offsets).size
        except CorruptionError:
            return False  # it is `check` that lists it

    def _file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def _remove_orphans(self, known: set[int]) -> int:
        """Files that a crash left behind after their records had moved."""
        found = [path for path in self._folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name)]
        orphans = [path for path in found if int(path.stem) not in known]
        # planes of a segment still to be begun stay: readers may have mapped them
        for number in {key[0] for key in plane_ids(self._folder)} - known:
            if number < max(known, default=0):
                self._writer.planes.remove(number)
        for path in orphans:
            path.unlink()
        return len(orphans)

    def _compact(self, number: int, end: int, *, is_last: bool) -> int:
        with self._catalog.reading() as view:
            current = _Offsets(view.offsets(number))
            held = held_offsets(view, number)
        if is_last:  # its records move on to a new one
            self._writer.full.add(number)
        for batch in self._batches(number, end, current, held):
            in_transaction(self._catalog, partial(self._move, number, batch, current))
        if is_last and not current and not held:
            # nothing lives in it, but numbers are never used twice: an empty one follows it
            in_transaction(self._catalog, partial(self._begin_after, number))
        in_transaction(self._catalog, lambda view: view.set_segment(number, None))
        self._reader.forget(number)
        self._writer.planes.remove(number)
        try:
            segment_path(self._folder, number).unlink()
        except OSError as error:
            raise storage_error(error, f"removing segment {number}") from error
        return 1

    def _begin_after(self, number: int, view: CatalogWriter) -> None:
        end = self._writer.begin(number + 1)
        view.set_segment(number + 1, SegmentState(end, 0))

    def _batches(
        self, number: int, end: int, current: _Offsets, held: set[int]
    ) -> Iterator[list[Record]]:
        """Records of a segment that begin at these offsets, some megabytes at a time."""
        batch: list[Record] = []
        size = 0
        for record in self._reader.records(number, end):
            if record.offset not in current and record.offset not in held:
                continue
            batch.append(record)
            size += record.end - record.offset
            if size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def replace(self, number: int, known: Mapping[int, Vector]) -> None:
        """Append damaged records of a segment anew, and lead everything to them.

        Parameters
        ----------
        known
            The vectors that they should hold, by offset; their heads are whole.

        Raises
        ------
        CorruptionError
            A document or version that leads to one of them cannot be read; nothing has changed.
        StorageError, ReadOnlyError
        """
        with self._catalog.reading() as view:
            current = _Offsets(view.offsets(number))
        batch = [self._reader.head(Address(number, offset)) for offset in sorted(known)]
        self._known = known
        try:
            in_transaction(self._catalog, partial(self._move, number, batch, current))
        finally:
            self._known = {}

    def _copy_of(self, number: int, record: Record) -> NewRecord:
        """What is appended for a record that moves: the same bytes, where the settings agree."""
        known = self._known.get(record.offset)
        if known is not None:
            return new_records([(record.key, record.document, known)], self._config)[0]
        record = self._reader.whole(number, record)
        header = record.header
        checked_body(record.frame, header)  # never copy damage under a new address
        has_row = record.row != NO_ROW
        if has_row != self._config.search:
            vector = decode_frame(record.frame)
            return new_records([(record.key, record.document, vector)], self._config)[0]
        row = None
        if has_row:
            plane = self._reader.planes.plane(number, header.dimension, record.row + 1)
            row = plane.row(record.row)
            if row is None:  # only what is derived is damaged
                row = plane_row(decode_frame(record.frame), record.frame)
        is_raw = header.codec_id == RAW.codec_id
        return NewRecord(record.key, record.document, bytes(record.frame), is_raw, row)

    def _move(
        self,
        number: int,
        batch: list[Record],
        current: _Offsets,
        view: CatalogWriter,
    ) -> None:
        if not self._config.search:
            view.set_all_have_rows(is_so=False)
        fresh = []
        for record in batch:
            key, owner, frame, is_raw, row, _ = self._copy_of(number, record)
            is_current = record.offset in current
            fresh.append(NewRecord(key, owner, frame, is_raw, row, is_current))
        placed = append_records(view, self._writer, fresh)
        moved: dict[int, dict[StoredKey, Placed]] = {}
        for record, place in zip(batch, placed, strict=True):
            count_dead(view, number, record.end - record.offset)
            if record.offset not in current:
                continue
            view.move(record.key.fingerprint(), Address(number, record.offset), place.address)
            for owner in documents_of(view, record.key, record):
                moved.setdefault(owner, {})[record.key] = place
        for owner, places in moved.items():
            document = view.document(owner)
            if document is None:
                continue
            content = [
                places.get(record.key, Placed(address, record.end))
                for address, record in document_records(view, self._reader, owner)
            ]
            view.move_document(owner, document[0], runs_of(content))
        offsets = (record.offset for record in batch)
        lead_history(view, self._reader, number, dict(zip(offsets, placed, strict=True)))
