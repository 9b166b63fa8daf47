"""What was seen of a store as values of the catalogue's metrics. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from titanstore.exporter.families import LATENCY, PREFIX, counter_name
from titanstore.figures.latencies import BUCKETS, bound_ns
from titanstore.figures.layout import Figures
from titanstore.monitor.processes import PageTypes
from titanstore.monitor.reading import Process, Reading
from titanstore.stats import StoreStats

_STORE_GAUGES = (
    "vectors",
    "documents",
    "segments",
    "segment_bytes",
    "dead_bytes",
    "plane_bytes",
    "catalog_bytes",
    "lance_bytes",
)
_TIER_GAUGES = ("hot_rows", "hot_bytes", "warm_frames", "warm_bytes", "memory_bytes_max")
_PER_DOUBLING = 4  # buckets of the figures; one `le` a doubling is exported


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bound in seconds, the last of them infinity; and the sum."""

    below: tuple[tuple[float, int], ...]
    sum_s: float


Values = dict[tuple[str, ...], float]
"""By the values of a family's own labels, in their order."""


@dataclass(slots=True)
class Samples:
    """Values of metrics by name; what is not known is not there."""

    numbers: dict[str, Values] = field(default_factory=dict)
    histograms: dict[tuple[str, ...], Histogram] = field(default_factory=dict)

    def put(self, name: str, value: float, *labels: str) -> None:
        """Set a metric, by its name without the prefix."""
        self.numbers.setdefault(f"{PREFIX}{name}", {})[labels] = value

    def put_counters(self, counters: Mapping[str, int]) -> None:
        """Set counters by their names in `titanstore.metrics.Counters`."""
        for name, value in counters.items():
            self.numbers[counter_name(name)] = {(): value}

    def put_latencies(self, latencies: Mapping[str, Sequence[int]]) -> None:
        """Set the histogram of each operation from buckets of figures."""
        for operation, counts in latencies.items():
            self.histograms[(operation,)] = histogram(counts)

    def put_stats(self, stats: StoreStats) -> None:
        """Set the sizes on the disk."""
        for name in _STORE_GAUGES:
            self.put(name, getattr(stats, name))


def histogram(counts: Sequence[int]) -> Histogram:
    """One bucket a doubling, of four; each latency counts with the middle of its own four."""
    below = []
    seen, sum_ns, low = 0, 0.0, 0.0
    for place, count in enumerate(counts):
        seen += count
        high = bound_ns(place)
        # from 1.88 s on there is one bucket: what is in it counts with its beginning
        sum_ns += count * (low if math.isinf(high) else (low + high) / 2)
        low = high
        if place % _PER_DOUBLING == _PER_DOUBLING - 1 or place == BUCKETS - 1:
            below.append((high * 1e-9, seen))
    return Histogram(tuple(below), sum_ns * 1e-9)


def put_reading(samples: Samples, reading: Reading) -> None:
    """Set what one look at a store and its processes found."""
    samples.put_stats(reading.stats)
    samples.put("versions", reading.versions)
    if reading.rows_behind is not None:
        samples.put("lance_rows_behind", reading.rows_behind)
    samples.put("figures_unreadable", reading.unreadable)
    roles = Counter({"writer": 0, "reader": 0, "silent": 0})
    roles.update(_role(process) for process in reading.processes)
    for role, count in roles.items():
        samples.put("processes", count, role)
    publishing = [each.figures for each in reading.processes if each.figures is not None]
    put_tiers(samples, publishing)
    memory = {process.pid: process.memory for process in reading.processes}
    _put_memory(samples, [each for each in memory.values() if each is not None])


def _role(process: Process) -> str:
    if process.figures is None:
        return "silent"
    return "writer" if process.figures.values.get("is_writer") else "reader"


def put_tiers(samples: Samples, publishing: Iterable[Figures]) -> None:
    """Set what the tiers of these processes hold, and of how many calls one is timed."""
    added: Counter[str] = Counter(dict.fromkeys(_TIER_GAUGES, 0))
    for figures in publishing:
        for name in _TIER_GAUGES:
            added[name] += figures.values.get(name, 0)
        for operation, sampled in figures.sampled.items():
            samples.put("latency_sampled", sampled, operation)
    for name, value in added.items():
        samples.put(name, value)


def _put_memory(samples: Samples, found: Sequence[PageTypes]) -> None:
    for name in ("anonymous", "shared", "files", "swapped"):
        samples.put("process_memory_bytes", sum(asdict(each)[name] for each in found), name)


def known_names(samples: Samples) -> set[str]:
    """Metrics that have a value."""
    return {*samples.numbers, *([LATENCY] if samples.histograms else [])}
