"""What is measured of each subject: names, units, and how one number comes from many.

Less is better in all of them: throughput is kept as time for a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MEASURES", "METRICS", "SETS", "Metric", "metrics_of"]

MEASURES = ("size", "put", "hot", "warm", "cold", "batch", "open", "memory", "search", "crash")
"""What `--only` takes; `crash` has counts instead of metrics."""

SETS: Mapping[str, str] = {
    "v1_chunks": "v1",
    "v2_scaled_bf16": "v2 of 2024",
    "v2_token_mean": "v2 of today",
}
"""Recorded vectors by the name of their file, as they are called in tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a subject in a round.

    Attributes
    ----------
    short
        For the head of a column.
    how
        What was timed or counted, in a sentence.
    """

    id: str
    measure: str
    unit: str
    short: str
    how: str


def _metric(name: str, measure: str, unit: str, short: str, how: str) -> tuple[str, Metric]:
    return name, Metric(id=name, measure=measure, unit=unit, short=short, how=how)


METRICS: Mapping[str, Metric] = dict(
    [
        *(
            _metric(
                f"bytes_{name}",
                "size",
                "B",
                f"bytes, {short}",
                "Bytes on the disk for one more vector: half of the vectors taken from all.",
            )
            for name, short in SETS.items()
        ),
        _metric("put_s", "put", "s", "put", "One vector, durable when it returns; median."),
        _metric("get_hot_s", "hot", "s", "get, hot", "One of 64 vectors read over and over."),
        _metric(
            "get_warm_s",
            "warm",
            "s",
            "get, warm",
            "Any of 2 200, page cache warm; ours without those that its hot tier served; median.",
        ),
        _metric("get_warm_s_p99", "warm", "s", "get, warm, p99", "The same, 99 of 100."),
        _metric(
            "get_cold_s",
            "cold",
            "s",
            "get, cold",
            "The first of a document after reopening with the page cache dropped; median.",
        ),
        _metric("put_many_s", "batch", "s", "put of many", "A vector of one call with 110."),
        _metric("get_many_s", "batch", "s", "get of many", "A vector of one call with 500."),
        _metric("open_s", "open", "s", "open", "Opening what lies there, and the first vector."),
        _metric(
            "import_s",
            "open",
            "s",
            "import",
            "The same and importing its packages, once a process.",
        ),
        _metric(
            "memory",
            "memory",
            "B",
            "memory",
            "What process and server took for packages, opening and reading 600 vectors; all but "
            "clean file pages.",
        ),
        _metric("search_2200_s", "search", "s", "search, 2 200", "The 10 nearest; median."),
        _metric("search_10000_s", "search", "s", "search, 10 000", "The 10 nearest; median."),
    ]
)


def metrics_of(measure: str) -> tuple[Metric, ...]:
    """The metrics of one measure."""
    return tuple(one for one in METRICS.values() if one.measure == measure)
