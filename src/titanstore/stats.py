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
    warm_frames: int
    warm_bytes: int
    lance_bytes: int
    lance_trouble: str | None
    counters: dict[str, int]

    @property
    def disk_bytes(self) -> int:
        """Everything on the disk but 100 bytes of header files, and what clients keep."""
        return self.segment_bytes + self.plane_bytes + self.catalog_bytes + self.lance_bytes


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
