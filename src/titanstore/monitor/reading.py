"""What a store and its processes are like at one moment, and what they did between two."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from titanstore.config import StoreConfig
from titanstore.errors import StoreError
from titanstore.figures.folder import pid_namespace, published
from titanstore.figures.latencies import quantile_ns
from titanstore.figures.layout import Figures
from titanstore.folder import StoreFolder, open_folder
from titanstore.monitor.processes import PageTypes, command_of, lock_holders, page_types
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_state import read_state
from titanstore.segments.plane import PLANE_HEADER_BYTES, plane_path, row_bytes
from titanstore.segments.planes import plane_ids
from titanstore.segments.reader import SegmentReader
from titanstore.stats import StoreStats
from titanstore.store import EmbeddingStore

_READS = ("hot_hits", "warm_hits", "cold_hits", "absent")
_WRITES = ("written", "unchanged", "deleted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process that has the store open.

    Attributes
    ----------
    name
        What no other open of a store is ever called.
    pid
        None for one of another container, where numbers mean nothing here.
    figures
        None for one that publishes nothing that we may read.
    memory
        None where we may not see it.
    """

    name: str
    pid: int | None
    command: str
    figures: Figures | None
    memory: PageTypes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A store at one moment, and every process found that has it open.

    Attributes
    ----------
    taken_s
        On the caller's clock, which runs evenly.
    versions
        How many it keeps.
    rows_behind
        Rows of planes that LanceDB's tables do not have yet; None where none is kept.
    unreadable
        Files of figures that were not understood.
    """

    taken_s: float
    stats: StoreStats
    versions: int
    rows_behind: int | None
    processes: tuple[Process, ...]
    unreadable: int


def take_reading(path: Path, config: StoreConfig, clock: Callable[[], float]) -> Reading:
    """Look at the store in a folder. It is opened for reading and closed again.

    Raises as `EmbeddingStore.open` does.
    """
    quiet = replace(config, publish=False, prefetch=False)
    with EmbeddingStore.open(path, quiet, read_only=True) as store:
        stats = store.stats()
        versions = len(store.versions())
        folder, _ = open_folder(path, read_only=True, create=False)
        found, unreadable = published(folder.store_id)
    processes = [_publishing(name, figures) for name, figures in found.items()]
    known = {process.pid for process in processes} | {os.getpid()}
    # LMDB holds a lock on it as long as it is open
    holders = lock_holders(folder.catalog / "lock.mdb")
    processes += [_silent(pid) for pid in holders - known]
    return Reading(
        taken_s=clock(),
        stats=stats,
        versions=versions,
        rows_behind=_rows_behind(folder),
        processes=tuple(sorted(processes, key=lambda each: (each.pid or 0, each.name))),
        unreadable=unreadable,
    )


def _rows_behind(folder: StoreFolder) -> int | None:
    """Rows written since the tables were brought up to date, replaced ones among them."""
    try:
        dimensions = [int(name) for name in os.listdir(folder.lance) if name.isdecimal()]  # noqa: PTH208
    except OSError:
        return None
    # not mapped: a plane that somebody cuts short must not end who only looks
    reader = SegmentReader(folder.segments, folder.store_id, by_pread=True)
    behind = None
    for dimension in dimensions:
        # a table that is being made, or is damaged, has nothing
        with contextlib.suppress(LanceUnavailableError, StoreError, OSError):
            watermark = read_state(folder.lance / str(dimension)).content.watermark
            behind = (behind or 0) + sum(
                _rows_from(reader, segment, dimension, watermark)
                for segment, width in plane_ids(folder.segments)
                if width == dimension
            )
    reader.close()
    return behind


def _rows_from(reader: SegmentReader, segment: int, dimension: int, watermark: int) -> int:
    first = watermark - (segment << 32)
    if first >= 2**32:
        return 0
    size = plane_path(reader.folder, segment, dimension).stat().st_size
    rows = max(0, (size - PLANE_HEADER_BYTES) // row_bytes(dimension))
    if first <= 0 or not rows:
        return rows
    plane = reader.planes.plane(segment, dimension, rows)
    return max(0, rows - plane.rows_before(first))


def _publishing(name: str, figures: Figures) -> Process:
    is_near = figures.namespace == pid_namespace()
    return Process(
        name=name,
        pid=figures.pid if is_near else None,
        command=command_of(figures.pid) if is_near else "",
        figures=figures,
        memory=page_types(figures.pid) if is_near else None,
    )


def _silent(pid: int) -> Process:
    return Process(
        name=f"process {pid}",
        pid=pid,
        command=command_of(pid),
        figures=None,
        memory=page_types(pid),
    )


# ---------------------------------------------------------------- what was done


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Calls of one operation.

    Attributes
    ----------
    timed
        So many calls were timed: one in `sampled`.
    p50_s, p99_s
        What half and 99 % of them took at most, rounded up by less than a quarter. None: there
        were none. Infinity: more than 1.88 s.
    """

    timed: int
    sampled: int
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one process did.

    Attributes
    ----------
    seconds
        How long it had for that; None where that is not known.
    counters
        By name, as `titanstore.metrics.Counters`; what this release does not know is there too.
    latencies
        By operation.
    """

    seconds: float | None
    counters: Mapping[str, int]
    latencies: Mapping[str, Latency]

    @property
    def reads(self) -> int:
        """Vectors asked for."""
        return sum(self.counters.get(name, 0) for name in _READS)

    @property
    def writes(self) -> int:
        """Vectors given to be stored, or removed."""
        return sum(self.counters.get(name, 0) for name in _WRITES)

    def share(self, counter: str, of: int) -> float | None:
        """A counter as a share of others; None where there are none."""
        return self.counters.get(counter, 0) / of if of > 0 else None

    def rate(self, count: int) -> float | None:
        """A count a second."""
        return count / self.seconds if self.seconds else None


def work_since(before: Figures | None, now: Figures, seconds: float | None) -> Work:
    """What a process did between two looks at it, or since it opened the store.

    `seconds` is what lay between them. Nothing is ever negative, whatever the files held.
    """
    old_values = before.values if before is not None else {}
    counters = {name: max(0, value - old_values.get(name, 0)) for name, value in now.values.items()}
    latencies = {}
    for name, counts in now.latencies.items():
        old = before.latencies.get(name, ()) if before is not None else ()
        latencies[name] = _latency(_difference(counts, old), now.sampled[name])
    return Work(seconds=seconds, counters=counters, latencies=latencies)


def _difference(counts: Sequence[int], old: Sequence[int]) -> list[int]:
    if not old:
        return list(counts)
    return [max(0, one - other) for one, other in zip(counts, old, strict=True)]


def _latency(counts: Sequence[int], sampled: int) -> Latency:
    return Latency(
        timed=sum(counts),
        sampled=sampled,
        p50_s=_seconds(quantile_ns(counts, 0.50)),
        p99_s=_seconds(quantile_ns(counts, 0.99)),
    )


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds * 1e-9
