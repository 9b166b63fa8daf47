"""What a store says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """A store at one moment. Sizes in bytes; counters since it was opened.

    Attributes
    ----------
    dead_bytes
        Of `segment_bytes`, those of records that neither the present nor a version needs;
        `maintain` gives them back.
    plane_bytes
        Planes and marks: the codes of the vectors, which search scans, and the part of each
        compressed vector that they are.
    hot_bytes, warm_bytes
        Of the two tiers, keys and bookkeeping included.
    idle_row_bytes
        Memory for rows that no row lies in; the pool keeps it for the next ones.
    result_bytes
        Kept results of searches.
    marks_bytes
        Marks that this process worked out itself, since no writer of this boot had made them.
    mapped_bytes
        Files mapped for reading: address space, whose pages are the page cache's.
    pool_bytes
        Of `hot_bytes`, those that all processes of the store share; 0 without the shared pool.
    pool_trouble
        Why hot rows lie in private memory though the setting `shared_pool` is on; None: they do
        not, or it is off.
    lance_trouble
        Why the last search that wanted a Lance table scanned instead; None since it did not.
    """

    vectors: int
    documents: int
    segments: int
    segment_bytes: int
    dead_bytes: int
    plane_bytes: int
    catalog_bytes: int
    hot_rows: int
    hot_bytes: int
    pool_bytes: int
    pool_trouble: str | None
    warm_frames: int
    warm_bytes: int
    idle_row_bytes: int
    result_bytes: int
    marks_bytes: int
    mapped_bytes: int
    lance_bytes: int
    lance_trouble: str | None
    counters: dict[str, int]

    @property
    def disk_bytes(self) -> int:
        """Everything on the disk but 100 bytes of header files, and what clients keep."""
        return self.segment_bytes + self.plane_bytes + self.catalog_bytes + self.lance_bytes

    @property
    def memory_bytes(self) -> int:
        """Anonymous memory by the store's own account: everything that grows with its settings.

        Not in it is what every store takes once (docs/reference/metrics.md, "Memory"), and what
        LanceDB keeps (setting `lance_cache_bytes`).
        """
        tiers = self.hot_bytes - self.pool_bytes + self.idle_row_bytes + self.warm_bytes
        return tiers + self.result_bytes + self.marks_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """What `EmbeddingStore.maintain` did.

    Attributes
    ----------
    lance_rows
        Rows written to Lance tables; 0 where the store keeps none.
    lance_trouble
        Why a Lance table could not be brought up to date; search goes on without it. None: nothing.
    """

    segments_removed: int
    bytes_freed: int
    versions_dropped: int
    lance_rows: int
    lance_trouble: str | None
