"""The rooms of one open store, put together: catalog, segments, tiers, and what writes to them."""

from __future__ import annotations

from titanstore.catalog.catalog import Catalog
from titanstore.changes import Changes
from titanstore.compaction import Compaction
from titanstore.config import StoreConfig
from titanstore.folder import StoreFolder
from titanstore.metrics import Counters
from titanstore.segments.reader import SegmentReader
from titanstore.segments.recovery import cut_tail
from titanstore.segments.writer import SegmentWriter
from titanstore.tiers.bloom import BloomFilter
from titanstore.tiers.cascade import Cascade
from titanstore.tiers.cold import ColdTier


class Rooms:
    """Everything that one process has open of a store. Owned by one `EmbeddingStore`.

    Attributes
    ----------
    bloom
        None where the setting is off, or a reader finds no filter that can be believed.
    changes
        None where the store is open for reading.
    """

    def __init__(
        self, folder: StoreFolder, config: StoreConfig, counters: Counters, *, read_only: bool
    ) -> None:
        self._folder = folder
        self._config = config
        durable = config.durability == "full"
        self.catalog = Catalog(folder.catalog, read_only=read_only, durable=durable)
        try:
            self.reader = SegmentReader(folder.segments, folder.store_id)
            self.bloom: BloomFilter | None = None
            self.changes: Changes | None = None
            self._writer: SegmentWriter | None = None
            if not read_only:
                self._prepare_writing(durable)
            elif config.bloom:
                self.bloom = BloomFilter.open(folder.bloom, folder.store_id, read_only=True)
        except BaseException:
            self.catalog.close()
            raise
        cold = ColdTier(self.catalog, self.reader, counters, self.bloom)
        self.cascade = Cascade(config, cold, counters)

    def _prepare_writing(self, durable: bool) -> None:
        folder, config = self._folder, self._config
        with self.catalog.reading() as view:
            last = view.last_end()
        cut_tail(folder.segments, last)
        if last.segment:  # never append to a file of another store
            self.reader.view(last.segment, last.offset)
        self._writer = SegmentWriter(
            folder.segments, folder.store_id, durable=durable, bytes_max=config.segment_bytes_max
        )
        if config.bloom:
            self.bloom = BloomFilter.open(folder.bloom, folder.store_id, read_only=False)
            if self.bloom is None or self.bloom.is_full:
                self._rebuild_bloom()
        else:
            BloomFilter.discard(folder.bloom)  # it would miss the keys written from now on
        self.changes = Changes(config, self.catalog, self.reader, self._writer, self._announce)

    def _rebuild_bloom(self) -> None:
        folder = self._folder
        BloomFilter.discard(folder.bloom)
        with self.catalog.reading() as view:
            self.bloom = BloomFilter.build(
                folder.bloom, folder.store_id, view.fingerprints(), view.entry_count()
            )

    def _announce(self, fingerprints: list[bytes]) -> None:
        """Tell the filter of keys that are about to become visible."""
        if self.bloom is None:
            return
        if self.bloom.is_full:
            self._rebuild_bloom()
            self.cascade.cold.bloom = self.bloom
        self.bloom.add(fingerprints)

    def compact(self, *, dead_share: float) -> tuple[int, int]:
        """`Compaction.run` on these rooms; only under the store's write lock."""
        assert self._writer is not None
        compaction = Compaction(self._folder.segments, self.catalog, self.reader, self._writer)
        return compaction.run(dead_share)

    def stop_writing(self) -> None:
        """Give up the file appended to; what a forked child does first."""
        self.changes = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self, *, is_own: bool) -> None:
        """Give everything back. `is_own` is false in a forked child that never used them."""
        if is_own:
            self.cascade.close()
            self.reader.close()
            if self.bloom is not None and self._writer is not None:
                self.bloom.close(is_clean=True)
            self.catalog.close()
        self.stop_writing()
        self.bloom = self.cascade.cold.bloom = None
