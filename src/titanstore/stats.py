"""What a store says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """A store at one moment. Sizes in bytes; counters since it was opened.

    Attributes
    ----------
    dead_bytes
        Of `segment_bytes`, those of records that are no longer current; `maintain` gives them back.
    """

    vectors: int
    documents: int
    segments: int
    segment_bytes: int
    dead_bytes: int
    catalog_bytes: int
    hot_rows: int
    hot_bytes: int
    warm_frames: int
    warm_bytes: int
    counters: dict[str, int]

    @property
    def disk_bytes(self) -> int:
        """Everything on the disk but 100 bytes of header files."""
        return self.segment_bytes + self.catalog_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """What `EmbeddingStore.maintain` did."""

    segments_removed: int
    bytes_freed: int
