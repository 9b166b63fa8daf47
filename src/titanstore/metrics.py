"""Counters of a store, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counters:
    """What happened since the store was opened.

    `hot_hits` is added to without a lock: CPython switches threads only at calls and loops, and
    there is none between reading and writing the attribute. So are those that readers and the
    prefetch thread count; two that add at one moment may count once.
    """

    hot_hits: int = 0
    warm_hits: int = 0
    cold_hits: int = 0
    absent: int = 0  # asked for and not in the store
    bloom_refusals: int = 0  # of them, those that the Bloom filter answered
    promotions: int = 0  # warm to hot
    demotions: int = 0  # hot to warm
    hot_evictions: int = 0
    warm_evictions: int = 0
    prefetches: int = 0  # documents
    prefetched_rows: int = 0
    prefetched_unread: int = 0  # evicted before anyone read them
    prefetch_failures: int = 0
    rows_beside_pool: int = 0  # rows of their own, since callers hold the pool's
    pool_hits: int = 0  # of hot_hits, those that were found in the shared pool
    pool_refusals: int = (
        0  # rows that did not get in: another process published, or the value changed
    )
    pool_resets: int = 0  # changes after which the whole pool was to be filled anew
    pool_fallbacks: int = 0  # the shared pool could not be used, and private memory took its place
    written: int = 0
    unchanged: int = 0  # writes that found the same bits in place
    replaced: int = 0
    deleted: int = 0
    searches: int = 0  # queries
    result_hits: int = 0  # of them, those that the result cache answered
    lance_searches: int = 0  # queries for which LanceDB chose candidates
    lance_unavailable: int = 0  # searches that went without a Lance table that was wanted
    search_retries: int = 0  # scans done again, since a value changed meanwhile

    def snapshot(self) -> dict[str, int]:
        """All counters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
