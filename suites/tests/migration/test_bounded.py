"""Risk: memory that grows with the number of vectors moved."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suites.tests.migration.sources import WRITERS, Writer, rows_of
from titanstore import StoreConfig
from titanstore.migration import SourceOptions, migrate, open_source

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
_FEW, _MANY, _BATCH = 300, 1200, 64  # the fewer are several batches, and several reads of a zip
# arrow and lance allocate outside Python's sight: the long form measures the process
SEEN = {name: WRITERS[name] for name in ("npz", "npy-folder", "sql-store")}


def peak_of_reading(path: Path, options: SourceOptions) -> tuple[int, int]:
    """Vectors read, and the most bytes that were allocated meanwhile.

    Cycles are collected after each batch: when Python does it by itself depends on all else that
    this process holds.
    """
    source = open_source(path, replace(options, batch_rows=_BATCH))
    count = 0
    gc.freeze()  # so that collecting looks at the new objects alone
    tracemalloc.start()
    try:
        for batch in source.batches():
            count += len(batch.keys)
            gc.collect()
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@pytest.mark.parametrize("write", SEEN.values(), ids=SEEN)
def test_reading_takes_the_same_memory_for_four_times_as_many(
    write: Writer, tmp_path: Path
) -> None:
    sources = {}
    for count in (_FEW, _MANY):
        (tmp_path / str(count)).mkdir()
        sources[count] = write(tmp_path / str(count), rows_of(count, 96))
    peak_of_reading(*sources[_MANY])  # what Python keeps for good, interned names and the like
    peaks = {}
    for count, (path, options) in sources.items():
        seen, peaks[count] = peak_of_reading(path, options)
        assert seen == count
    assert peaks[_MANY] < 1.3 * peaks[_FEW]
    assert peaks[_MANY] < rows_of(_MANY, 96).nbytes  # not even the numbers themselves fit


def test_a_whole_migration_keeps_nothing_of_a_batch(tmp_path: Path) -> None:
    """Live objects half-way and at the end, without tiers, which would fill up to their budget."""
    rows = rows_of(384, 64)
    np.save(tmp_path / "m.npy", rows)
    seen: list[int] = []

    def look(done: int, _: int | None) -> None:
        gc.collect()
        seen.append(tracemalloc.get_traced_memory()[0])

    bare = replace(FAST, memory_bytes_max=0, hot_bytes_max=0, warm_bytes_max=0, prefetch=False)
    tracemalloc.start()
    try:
        options = SourceOptions(batch_rows=_BATCH)
        migrate(tmp_path / "m.npy", tmp_path / "store", options, config=bare, progress=look)
    finally:
        tracemalloc.stop()
    assert len(seen) == 7
    assert seen[-1] - seen[len(seen) // 2] < rows.nbytes / 2 / 4  # a quarter of what was moved
