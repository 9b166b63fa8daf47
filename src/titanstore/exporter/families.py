"""Every metric that is exported: name, type, unit, labels, and what it means. Pure.

The one catalogue: the exporter makes its families of it, docs/reference/metrics.md repeats it, and
alert rules and dashboard may name nothing else. Each has the label `store` too, the first eight
digits of the store's id. Nothing that a caller stored (a key, a document's name) is ever a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "titanstore_"
STORE_LABEL = "store"
LATENCY = "titanstore_latency_seconds"


class Type(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric.

    Attributes
    ----------
    name
        As it is asked for: a counter's ends in `_total`.
    unit
        Of its values.
    labels
        Beside `store`.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


# By the names of titanstore.metrics.Counters; docs/reference/metrics.md has the same sentences
_COUNTERS: Mapping[str, str] = {
    "hot_hits": "Reads served by a decoded row.",
    "warm_hits": "Reads served by a frame in memory.",
    "cold_hits": "Reads served by the mapped files.",
    "absent": "Keys asked for that are not stored.",
    "bloom_refusals": "Of the absent keys, those that the Bloom filter answered.",
    "promotions": "Frames that became rows.",
    "demotions": "Rows whose frames were kept in the warm tier.",
    "hot_evictions": "Rows that left the hot tier for want of room.",
    "warm_evictions": "Frames that left the warm tier for want of room.",
    "prefetches": "Documents whose other chunks were fetched.",
    "prefetched_rows": "Rows that prefetching decoded.",
    "prefetched_unread": "Of the prefetched rows, those evicted before anyone read them.",
    "prefetch_failures": "Prefetches that a damaged or vanished record ended.",
    "rows_beside_pool": "Rows with memory of their own, since callers hold the pool's.",
    "pool_hits": "Of the hot hits, those found in the shared pool and not in the process's table.",
    "pool_refusals": "Rows that did not get into the pool.",
    "pool_resets": "Changes that left the whole pool to be filled anew.",
    "pool_fallbacks": "Times that private memory took the place of the pool.",
    "written": "Vectors written.",
    "unchanged": "Writes that found the same bits in place.",
    "replaced": "Keys that got another vector.",
    "deleted": "Keys removed.",
    "searches": "Queries.",
    "result_hits": "Of the queries, those that a kept result answered.",
    "lance_searches": "Queries for which LanceDB chose the candidates.",
    "lance_unavailable": "Searches that scanned although a LanceDB table was wanted.",
    "search_retries": "Scans done again, since a value changed meanwhile.",
}


def counter_name(counter: str) -> str:
    """The metric of a counter of `titanstore.metrics.Counters`."""
    return f"{PREFIX}{counter}_total"


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Family:
    return Family(
        name=f"{PREFIX}{name}", type=Type.GAUGE, unit=unit, meaning=meaning, labels=labels
    )


_ALL = (
    _gauge("up", "0 or 1", "1: the store could be opened and read at this scrape."),
    _gauge("ready", "0 or 1", "1: /readyz answers 200."),
    _gauge("info", "1", "Always 1; the exporter's release is its label.", "version"),
    _gauge("vectors", "count", "Keys with a vector."),
    _gauge("documents", "count", "Documents."),
    _gauge("segments", "count", "Segment files."),
    _gauge("versions", "count", "Kept versions."),
    _gauge("segment_bytes", "bytes", "Committed bytes of all segments."),
    _gauge("dead_bytes", "bytes", "Of the segments, records that nothing needs."),
    _gauge("plane_bytes", "bytes", "Planes and marks: what search scans."),
    _gauge("catalog_bytes", "bytes", "The catalog's file."),
    _gauge("lance_bytes", "bytes", "LanceDB's tables; 0 where the store keeps none."),
    _gauge(
        "lance_rows_behind",
        "count",
        "Rows that LanceDB's tables do not have yet; absent where none is kept.",
    ),
    _gauge("disk_free_bytes", "bytes", "What the file system of the store still takes."),
    _gauge("disk_size_bytes", "bytes", "The file system of the store."),
    _gauge(
        "damaged_places",
        "count",
        "Problems that the last whole check listed, and a record that a scrape found damaged.",
    ),
    _gauge(
        "check_timestamp_seconds",
        "seconds",
        "Unix time at which the last whole check ended; absent before the first.",
    ),
    _gauge(
        "processes",
        "count",
        "Processes that have the store open: writer, reader, or silent (publishes nothing).",
        "role",
    ),
    _gauge("hot_rows", "count", "Decoded rows in memory, of all processes that publish."),
    _gauge("hot_bytes", "bytes", "What the rows take; a shared pool counts in each process."),
    _gauge("warm_frames", "count", "Compressed frames in memory, of all processes."),
    _gauge("warm_bytes", "bytes", "What the frames take."),
    _gauge("memory_bytes_max", "bytes", "The setting, added up over all processes."),
    _gauge(
        "process_memory_bytes",
        "bytes",
        "Memory of the whole processes: anonymous, shared, files (page cache), swapped.",
        "type",
    ),
    _gauge("figures_unreadable", "count", "Processes whose figures were not understood."),
    _gauge("latency_sampled", "count", "One call in so many is timed.", "operation"),
    _gauge("scrape_seconds", "seconds", "How long the exporter took to look at the store."),
    Family(
        name=LATENCY,
        type=Type.HISTOGRAM,
        unit="seconds",
        meaning="Timed calls that returned. The sum is that of the middles of finer buckets.",
        labels=("operation",),
    ),
    *(
        Family(name=counter_name(name), type=Type.COUNTER, unit="count", meaning=meaning)
        for name, meaning in _COUNTERS.items()
    ),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _ALL}
COUNTERS = tuple(_COUNTERS)


def series_of(family: Family) -> tuple[str, ...]:
    """Names by which PromQL asks for a family."""
    if family.type is not Type.HISTOGRAM:
        return (family.name,)
    return tuple(f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
