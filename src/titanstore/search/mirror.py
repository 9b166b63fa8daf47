"""The Lance tables of a store, one for each dimension that is large enough: kept in step, asked.

A table is derived data. Its rows carry the position of the record that they mirror, segment times
2^32 plus offset, and it has a watermark: every current record before it is in. Records from the
watermark on are scanned by their codes like those of a small store, so an answer never waits for
LanceDB to take up a write. A rollback makes old records current again behind the watermark: from
then until `sync` a mark in the folder keeps everybody off the table.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.codec.choose import decode_frame
from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError, InvalidInputError, StoreError
from titanstore.events import Event, tell
from titanstore.keys import stored_key
from titanstore.metrics import Counters
from titanstore.search.distance import Metric
from titanstore.search.lance import LanceRow, LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.lance_folder import empty_folder
from titanstore.segments.disk import storage_error, sync_folder
from titanstore.segments.layout import Address
from titanstore.segments.planes import asked_together, plane_ids
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.cold import match_record

ROLLED_BACK = "ROLLED-BACK"
# Share of rows that may be fresh, or of keys that are gone, before a sync pays: scanning them costs
# less than what LanceDB copies for a handful (reports/decisions/0007)
_SLACK_ROWS = 0.02
_NO_SPACE = ("No space left", "os error 28", "os error 122", "File too large")


Positions = NDArray[np.int64]


def position(at: Address) -> int:
    """The place of a record in the order in which records are written."""
    return at.segment << 32 | at.offset


def _address(place: int) -> Address:
    return Address(int(place) >> 32, int(place) & 0xFFFFFFFF)


class LanceMirror:
    """Lance tables below one folder. Any thread may ask; one at a time may sync."""

    def __init__(
        self,
        folder: Path,
        config: StoreConfig,
        catalog: Catalog,
        reader: SegmentReader,
        counters: Counters,
        *,
        read_only: bool,
    ) -> None:
        self._folder = folder
        self._config = config
        self._catalog = catalog
        self._reader = reader
        self._counters = counters
        self._read_only = read_only
        self._tables: dict[int, LanceTable] = {}
        self._suspects: set[int] = set()  # tables that failed to answer
        self._lock = threading.Lock()
        self._is_closed = False
        self.trouble: str | None = None  # why the last search that wanted a table went without

    def is_wanted(self, vectors: int) -> bool:
        """Is a table kept and asked for so many vectors of one dimension?"""
        if self._config.search_index == "auto":
            return vectors >= self._config.lance_vectors_min
        return self._config.search_index == "lance"

    # -- asking ----------------------------------------------------------------------------

    def near(
        self, queries: NDArray[np.float32], k: int, metric: Metric
    ) -> tuple[int, list[list[Address]]] | None:
        """A watermark, and current records before it that are probably near each query.

        None where the table cannot answer: the caller scans everything, and counts it.
        """
        try:
            if (self._folder / ROLLED_BACK).exists():
                raise LanceUnavailableError("a rollback came after it; maintain() mends that")
            table = self._table(queries.shape[1])
            if not table.serves(metric):
                raise LanceUnavailableError(f"the table has no index for {metric}")
            if not np.any(queries, axis=1).all():
                raise LanceUnavailableError("a query of length 0 has no direction")
            watermark, count = table.watermark, table.candidates_of(k)
            found = self._asked(table, queries, count)
            if table.watermark != watermark:
                raise LanceUnavailableError("it was synced meanwhile")
            near = self._current([[key for key, _ in each] for each in found])
            # Rows that are gone may all lie in one place, and leave nothing of what is behind them
            enough = (k + min(count, table.content.rows)) // 2
            if min(len(set(each)) for each in near) < enough:
                raise LanceUnavailableError("too much of what it proposed for a query is gone")
        except (LanceUnavailableError, InvalidInputError) as error:
            # InvalidInputError: lancedb is not installed
            if self.trouble is None:  # the first of a row of them
                tell(
                    logging.WARNING,
                    Event.LANCE_UNAVAILABLE,
                    "searches scan for want of a LanceDB table; stats() says why",
                )
            self.trouble = str(error)
            self._counters.lance_unavailable += 1
            return None
        self._counters.lance_searches += len(queries)
        return watermark, near

    def _asked(
        self, table: LanceTable, queries: NDArray[np.float32], count: int
    ) -> list[list[tuple[str, float]]]:
        try:
            return table.candidates_many(list(queries), count)
        except LanceUnavailableError:
            self._suspects.add(queries.shape[1])
            raise

    def _table(self, dimension: int) -> LanceTable:
        table = self._tables.get(dimension)
        if table is None:
            with self._lock:
                table = self._tables.get(dimension)
                if table is None:
                    if self._is_closed:  # by another thread, during a search
                        raise LanceUnavailableError("the store is closed")
                    table = LanceTable.open(
                        self._folder / str(dimension),
                        dimension,
                        self._settings(),
                        read_only=self._read_only,
                    )
                    self._tables[dimension] = table
        return table

    def _settings(self) -> LanceSettings:
        config = self._config
        return LanceSettings(
            index=config.lance_index,
            vectors_min=0 if config.search_index == "lance" else config.lance_vectors_min,
            cache_bytes=config.lance_cache_bytes,
            durable=config.durability == "full",
        )

    def _current(self, keys: Sequence[Sequence[str]]) -> list[list[Address]]:
        """Where the current records of keys are; those that are gone are left out."""
        distinct = list(dict.fromkeys(key for each in keys for key in each))
        stored = [stored_key(key) for key in distinct]
        places: dict[str, Address] = {}
        with self._catalog.reading() as view:
            found = view.lookup_many([key.fingerprint() for key in stored])
        for text, key, addresses in zip(distinct, stored, found, strict=True):
            # a fingerprint that one record has is not looked at: what it is decides the scan
            if len(addresses) == 1:
                places[text] = addresses[0]
            elif addresses:
                try:
                    matched = match_record(self._reader.record, key, addresses)
                except CorruptionError:
                    continue  # moved or gone meanwhile: the scan is done again
                if matched is not None:
                    places[text] = matched[0]
        return [[places[key] for key in each if key in places] for each in keys]

    # -- keeping in step -------------------------------------------------------------------

    def rolled_back(self) -> None:
        """Keep everybody off the tables until the next `sync`; before a rollback is committed."""
        if not self._folder.is_dir():
            return
        path = self._folder / ROLLED_BACK
        try:
            path.write_text(json.dumps({"process": os.getpid()}))
            if self._config.durability == "full":
                sync_folder(self._folder)
        except OSError as error:
            raise storage_error(error, f"writing {path.name}") from error

    def sync(self, progress: Callable[[int], None] | None = None) -> int:
        """Bring tables that are behind up to the present, make missing ones, drop unwanted ones.

        Returns how many rows were written; a table that lacks less than 2 % is left for later. The
        caller lets nobody write. A damaged table is made anew. Raises LanceUnavailableError where
        LanceDB fails: the store is whole, and search goes on by scanning.
        """
        with self._catalog.reading() as view:
            vectors = view.entry_count()
        if not self.is_wanted(vectors) and not self._folder.is_dir():
            return 0
        mark = self._folder / ROLLED_BACK
        is_behind = mark.exists()
        written = 0
        dimensions = {width for _, width in plane_ids(self._reader.folder)}
        if self._folder.is_dir():
            dimensions |= {int(p.name) for p in self._folder.iterdir() if p.name.isdecimal()}
        for dimension in sorted(dimensions):
            positions = self._positions(dimension)
            if positions.size and self.is_wanted(positions.size):
                written += self._sync_one(dimension, positions, progress, is_behind=is_behind)
            else:
                self._drop(dimension)
        mark.unlink(missing_ok=True)
        self.trouble = None
        return written

    def _positions(self, dimension: int) -> Positions:
        """Of the current records of one dimension, ascending; 8 bytes each."""
        found = [np.empty(0, np.int64)]
        with self._catalog.reading() as view:
            planes = [plane for plane, _ in self._reader.planes.current(dimension)]
            offsets = asked_together(view.offsets_of, planes)
            for plane in planes:
                rows = plane.rows["offset"]
                here = np.unique(rows[np.isin(rows, offsets(plane.number))])
                found.append((plane.number << 32) + here.astype(np.int64))
        return np.concatenate(found)

    def _forget(self, dimension: int) -> None:
        old = self._tables.pop(dimension, None)
        if old is not None:
            old.close()
        self._suspects.discard(dimension)

    def _drop(self, dimension: int) -> None:
        """Remove a table that is not wanted; LanceDB need not be there."""
        self._forget(dimension)
        folder = self._folder / str(dimension)
        if folder.is_dir():
            empty_folder(folder)
            try:
                folder.rmdir()
            except OSError as error:
                raise storage_error(error, f"removing {folder.name}") from error

    def _anew(self, dimension: int) -> LanceTable:
        self._forget(dimension)
        table = LanceTable.create(self._folder / str(dimension), dimension, self._settings())
        self._tables[dimension] = table
        return table

    def _sync_one(
        self,
        dimension: int,
        positions: Positions,
        progress: Callable[[int], None] | None,
        *,
        is_behind: bool,
    ) -> int:
        with self._catalog.reading() as view:
            end = position(view.last_end())
        gone: list[str] = []
        try:
            table = self._verified(dimension, positions)
            fresh = positions[positions >= table.watermark]
            surplus = table.content.rows + fresh.size - positions.size
            slack = _SLACK_ROWS * positions.size
            if is_behind or surplus > slack:
                fresh, gone = self._differences(table, positions)
            elif fresh.size < slack and not table.wants_index(table.content):
                return 0
        except LanceUnavailableError:
            table, fresh = self._anew(dimension), positions  # damaged, or not there yet
        try:
            return table.sync(self._rows(fresh), gone, end, progress=progress).upserted
        except LanceUnavailableError as error:
            # a full disk is no reason to throw the table away: it is as before
            if not any(sign in error.reason for sign in _NO_SPACE):
                self._suspects.add(dimension)
            raise

    def _verified(self, dimension: int, positions: Positions) -> LanceTable:
        """The table of a dimension, if it answers."""
        table = self._table(dimension)
        if table.content.index:
            probe = decode_frame(self._reader.record(_address(positions[-1])).frame)
            if np.isfinite(probe).all() and probe.any():
                self._asked(table, probe[None], 1)
        if dimension in self._suspects:
            raise LanceUnavailableError("it failed to answer, or to be synced")
        return table

    def _differences(self, table: LanceTable, positions: Positions) -> tuple[Positions, list[str]]:
        """Records that the table lacks or has another one of the key of, and keys that are gone."""
        is_missing = np.ones(positions.size, np.bool_)
        gone = []
        for row in table.rows():
            place = int(np.searchsorted(positions, row.version))
            if place < positions.size and positions[place] == row.version:
                is_missing[place] = False
            else:
                gone.append(row.key)
        return positions[is_missing], gone

    def _rows(self, positions: Positions) -> Iterator[LanceRow]:
        names: dict[int, str | None] = {0: None}
        for at in map(_address, positions):
            record = self._reader.record(at)
            if record.document not in names:
                with self._catalog.reading() as view:
                    found = view.document(record.document)
                names[record.document] = None if found is None else found[0]
            yield LanceRow(
                key=record.key.text,
                vector=decode_frame(record.frame),
                version=position(at),
                document=names[record.document],
            )

    def close(self) -> None:
        """Give LanceDB's thread and caches back; idempotent."""
        with self._lock:
            self._is_closed = True
            tables, self._tables = self._tables, {}
        for table in tables.values():
            table.close()

    def file_bytes(self) -> int:
        """Bytes of all files of the tables; those that go meanwhile are passed over."""
        total = 0
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(f"{folder}{os.sep}{name}").st_size
        return total


def note_trouble(mirror: LanceMirror, sync: Callable[[], int]) -> tuple[int, str | None]:
    """Do a sync; what it wrote, and in words what went wrong, if anything did."""
    try:
        return sync(), None
    except LanceUnavailableError as error:
        mirror.trouble = error.reason
        return 0, error.reason
    except StoreError as error:  # lancedb is not installed, or a vector cannot be read
        mirror.trouble = str(error)
        return 0, str(error)
