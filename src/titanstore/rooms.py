"""The rooms of one open store, put together: catalog, segments, tiers, and what writes to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.views import CatalogWriter
from titanstore.changes import Changes, row_address
from titanstore.compaction import Compaction
from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError, StoreError
from titanstore.events import Event, tell
from titanstore.figures.publisher import Publisher
from titanstore.folder import Generation, StoreFolder
from titanstore.metrics import Counters
from titanstore.repair import Repair
from titanstore.search.engine import SearchEngine
from titanstore.search.mirror import LanceMirror, note_trouble
from titanstore.segments.layout import NO_ROW, SEGMENT_VERSION, Address
from titanstore.segments.planes import PlaneWriter, RowAddress
from titanstore.segments.reader import SegmentReader
from titanstore.segments.recovery import cut_tail
from titanstore.segments.writer import SegmentWriter
from titanstore.stats import Maintenance, StoreStats
from titanstore.tiers.bloom import BloomFilter
from titanstore.tiers.cascade import Cascade
from titanstore.tiers.cold import ColdTier
from titanstore.tiers.hot import HotTier
from titanstore.tiers.shared import note_trouble_of_pool, open_shared_tier
from titanstore.versions.versions import Versions


class Rooms:
    """Everything that one process has open of a store. Owned by one `EmbeddingStore`.

    Attributes
    ----------
    bloom
        None where the setting is off, or a reader finds no filter that can be believed.
    changes, versions
        None where the store is open for reading.
    publisher
        What `titanstore top` sees of this process.
    """

    def __init__(
        self,
        folder: StoreFolder,
        config: StoreConfig,
        counters: Counters,
        generation: Generation,
        *,
        read_only: bool,
    ) -> None:
        self._folder = folder
        self._config = config
        self._counters = counters
        done_before = tuple(counters.snapshot().values())
        durable = config.durability == "full"
        try:
            self.catalog = Catalog(folder.catalog, read_only=read_only, durable=durable)
        except CorruptionError:
            if read_only or not folder.is_unused():
                raise
            # a power cut tore it while the store was being made
            folder.discard_catalog()
            self.catalog = Catalog(folder.catalog, read_only=read_only, durable=durable)
        try:
            self.reader = SegmentReader(
                folder.segments, folder.store_id, by_pread=config.segment_reads == "pread"
            )
            self.bloom: BloomFilter | None = None
            self.changes: Changes | None = None
            self.versions: Versions | None = None
            self._writer: SegmentWriter | None = None
            if not read_only:
                self._prepare_writing(durable)
            elif config.bloom:
                self.bloom = BloomFilter.open(folder.bloom, folder.store_id, read_only=True)
        except BaseException:
            self.catalog.close()
            raise
        self.mirror = LanceMirror(
            folder.lance, config, self.catalog, self.reader, counters, read_only=read_only
        )
        cold = ColdTier(self.catalog, self.reader, counters, self.bloom)
        self._pool_trouble: str | None = None
        self.cascade = Cascade(config, cold, counters, self._hot_tier(generation))
        self._engine: SearchEngine | None = None
        self.publisher = _publisher(  # last: what is visible is to be taken back
            folder.store_id, config, self.cascade, done_before, is_writer=not read_only
        )
        # readers come and go, one of them at each scrape of an exporter
        level, purpose = (logging.DEBUG, "read") if read_only else (logging.INFO, "write")
        self.tell(level, Event.OPENED, f"opened to {purpose}")

    def tell(self, level: int, event: Event, message: str, **fields: object) -> None:
        """Log an event of this store (`titanstore.events.tell`)."""
        tell(level, event, message, store_id=self._folder.store_id, **fields)

    def search_engine(self, generation: Callable[[], int]) -> SearchEngine:
        """What searches here, made on first use; `generation` as SearchEngine has it."""
        if self._engine is None:
            self._engine = SearchEngine(
                *(self._config, self.catalog, self.reader, self._counters, self.mirror),
                generation,
            )
        return self._engine

    def _hot_tier(self, generation: Generation) -> HotTier | None:
        """The tier in shared memory; None if it is not wanted or not to be had."""
        if not self._config.shared_pool:
            return None
        try:
            return open_shared_tier(
                self._folder.pool,
                self._folder.store_id + generation.file,
                generation.cells,
                self._config,
                self._counters,
            )
        except OSError as error:
            self._pool_trouble = note_trouble_of_pool(error, self._counters)
            return None

    def _prepare_writing(self, durable: bool) -> None:
        folder, config = self._folder, self._config
        with self.catalog.reading() as view:
            last = view.last_end()
        if cut := cut_tail(folder.segments, last):
            self.tell(
                logging.WARNING,
                Event.RECOVERED,
                "what a crash left half-written was cut",
                size_bytes=cut,
            )
        if last.segment:  # never append to a file of another store
            self.reader.require(last.segment, last.offset)
        planes = PlaneWriter(
            folder.segments,
            folder.store_id,
            durable=durable,
            by_pread=config.segment_reads == "pread",
            current_offsets=self._current_offsets,
        )
        planes.make_sure_of_marks()
        # Rows beside a segment of a release that knew none are of a write that was killed before it
        is_older = bool(last.segment) and self.reader.version(last.segment) < SEGMENT_VERSION
        planes.take_back_all(Address(last.segment, 0) if is_older else last)
        self._writer = SegmentWriter(
            folder.segments,
            folder.store_id,
            planes,
            durable=durable,
            bytes_max=config.segment_bytes_max,
        )
        if is_older:
            self._writer.full.add(last.segment)  # what reads it as such knows no rows
        if config.bloom:
            self.bloom = BloomFilter.open(folder.bloom, folder.store_id, read_only=False)
            if self.bloom is None or self.bloom.is_worn:
                self._rebuild_bloom()
        else:
            BloomFilter.discard(folder.bloom)  # it would miss the keys written from now on
        self.changes = Changes(
            config,
            self.catalog,
            self.reader,
            self._writer,
            self._announce,
            lambda text: self.cascade.hot.lookup(text),
        )
        self.versions = Versions(
            self.catalog,
            self.reader,
            announce=self._announce,
            on_revive=self._revive,
            on_first=folder.raise_format,
        )

    def _rebuild_bloom(self) -> None:
        folder = self._folder
        BloomFilter.discard(folder.bloom)
        with self.catalog.reading() as view:
            self.bloom = BloomFilter.build(
                folder.bloom, folder.store_id, view.fingerprints(), view.entry_count()
            )

    def _current_offsets(self, segments: Iterable[int]) -> dict[int, NDArray[np.uint32]]:
        with self.catalog.reading() as view:
            return view.offsets_of(segments)

    def _revive(self, view: CatalogWriter, addresses: Sequence[Address]) -> None:
        """Mark the rows of records that become current again; before the commit."""
        assert self._writer is not None
        self.mirror.rolled_back()
        rows = []
        for address in addresses:  # one record at a time: they may be all there are
            record = self.reader.record(address)
            if record.row != NO_ROW:
                rows.append(row_address(address, record))
        if len(rows) < len(addresses):
            view.set_all_have_rows(is_so=False)
        self._writer.planes.revive(rows)

    def retire(self, rows: Sequence[RowAddress]) -> None:
        """Unmark the rows of records that are no longer current; after the commit."""
        assert self._writer is not None
        # it was committed: a row that stays marked is found out whenever it comes up
        with suppress(StoreError):
            self._writer.planes.retire(rows)

    def _announce(self, fingerprints: list[bytes]) -> None:
        """Tell the filter of keys that are about to become visible."""
        if self.bloom is None:
            return
        if self.bloom.is_worn:
            self._rebuild_bloom()
            self.cascade.cold.bloom = self.bloom
        self.bloom.add(fingerprints)

    def maintain(
        self, changed: Callable[[], object], progress: Callable[[int], None] | None
    ) -> Maintenance:
        """What `EmbeddingStore.maintain` does; only under the store's write lock.

        `changed` tells every process that files are gone.
        """
        assert self._writer is not None
        assert self.versions is not None
        dropped = self.versions.drop(self._config.versions_max)
        compaction = self._compaction(self._writer)
        removed, freed = compaction.run(dead_share=0.5)
        if removed:
            changed()  # whoever maps a removed file keeps its space: let go
        rows, trouble = (
            note_trouble(self.mirror, lambda: self.mirror.sync(progress))
            if self._config.search
            else (0, None)
        )
        self.tell(logging.INFO, Event.MAINTAINED, "maintained", count=removed, size_bytes=freed)
        if trouble is not None:
            self.tell(
                logging.WARNING,
                Event.LANCE_UNAVAILABLE,
                "a LanceDB table could not be brought up to date",
            )
        return Maintenance(
            segments_removed=removed,
            bytes_freed=freed,
            versions_dropped=dropped,
            lance_rows=rows,
            lance_trouble=trouble,
        )

    def _compaction(self, writer: SegmentWriter) -> Compaction:
        return Compaction(self._folder.segments, self.catalog, self.reader, writer, self._config)

    def repair(self) -> tuple[str, ...]:
        """Keys of the damaged vectors that were stored again; under the store's write lock."""
        assert self._writer is not None
        repair = Repair(
            self._folder.lance, self.catalog, self.reader, self._compaction(self._writer)
        )
        restored = repair.run()
        if restored:
            self.tell(
                logging.WARNING,
                Event.REPAIRED,
                "damaged vectors were stored again from copies",
                count=len(restored),
            )
        return restored

    def stats(self) -> StoreStats:
        """Sizes and counters at this moment."""
        with self.catalog.reading() as view:
            states = view.segments()
            vectors, documents = view.entry_count(), view.document_count()
        hot, warm, bloom = self.cascade.hot, self.cascade.warm, self.bloom
        return StoreStats(
            vectors=vectors,
            documents=documents,
            segments=len(states),
            segment_bytes=sum(state.end for state in states.values()),
            dead_bytes=sum(state.dead_bytes for state in states.values()),
            plane_bytes=self.reader.planes.file_bytes(),
            catalog_bytes=self.catalog.file_bytes(),
            hot_rows=len(hot),
            hot_bytes=hot.nbytes,
            pool_bytes=hot.pool_bytes,
            pool_trouble=hot.trouble or self._pool_trouble,
            warm_frames=len(warm),
            warm_bytes=warm.nbytes,
            idle_row_bytes=hot.idle_bytes,
            result_bytes=0 if self._engine is None else self._engine.result_bytes,
            marks_bytes=self.reader.planes.marks_bytes(),
            mapped_bytes=self.reader.mapped_bytes() + (0 if bloom is None else bloom.nbytes),
            lance_bytes=self.mirror.file_bytes(),
            lance_trouble=self.mirror.trouble,
            counters=self.cascade.counters.snapshot(),
        )

    def stop_writing(self) -> None:
        """Give up the file appended to."""
        self.changes = self.versions = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def leave_parent(self) -> None:
        """What a forked child does first, of its parent's rooms."""
        self.publisher.leave()
        self.cascade.leave_parent()
        self.stop_writing()

    def close(self, *, is_own: bool) -> None:
        """Give everything back. `is_own` is false in a forked child that never used them."""
        if is_own:
            self.publisher.close()
            self.mirror.close()
            self.cascade.close()
            self.reader.close()
            if self.bloom is not None and self._writer is not None:
                self.bloom.close(is_clean=True)
            self.catalog.close()
        self.stop_writing()
        self.bloom = self.cascade.cold.bloom = None


def _publisher(
    store_id: bytes,
    config: StoreConfig,
    cascade: Cascade,
    done_before: Sequence[int],
    *,
    is_writer: bool,
) -> Publisher:
    counters, hot, warm = cascade.counters, cascade.hot, cascade.warm
    names = [field.name for field in fields(Counters)]
    of_counters = attrgetter(*names)
    settings = {
        "is_writer": int(is_writer),
        "memory_bytes_max": config.memory_bytes_max,
        "hot_bytes_max": min(config.hot_bytes_max, config.memory_bytes_max),
        "warm_bytes_max": min(config.warm_bytes_max, config.memory_bytes_max),
    }
    fixed = tuple(settings.values())

    def values() -> tuple[int, ...]:  # names no rooms: a cycle would keep the file locked
        return (*of_counters(counters), *fixed, len(hot), hot.nbytes, len(warm), warm.nbytes)

    zeros = (0,) * (len(fixed) + 4)

    def values_of_child() -> tuple[int, ...]:
        inherited = (*done_before, *zeros)
        return tuple(max(0, now - was) for now, was in zip(values(), inherited, strict=True))

    names += [*settings, "hot_rows", "hot_bytes", "warm_frames", "warm_bytes"]
    # what a forked child's parent did is its parent's
    publish = values_of_child if any(done_before) else values
    return Publisher(store_id, names, publish, wanted=config.publish)
