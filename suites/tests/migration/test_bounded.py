"""Risk: memory that grows with the number of vectors moved."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suites.tests.migration.sources import WRITERS, Writer, rows_of
from titanstore import StoreConfig
from titanstore.migration import SourceOptions, migrate, open_source

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
_FEW, _MANY, _BATCH = 300, 2400, 64
# arrow and lance allocate outside Python's sight: the long form measures the process
SEEN = {name: WRITERS[name] for name in ("npy", "npz", "npy-folder", "sql-store", "jsonl-gz")}


def peak_of_reading(path: Path, options: SourceOptions) -> tuple[int, int]:
    """Vectors read, and the most bytes that were allocated meanwhile."""
    source = open_source(path, replace(options, batch_rows=_BATCH))
    tracemalloc.start()
    try:
        count = sum(len(batch.keys) for batch in source.batches())
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", SEEN.values(), ids=SEEN)
def test_reading_takes_the_same_memory_for_eight_times_as_many(
    write: Writer, tmp_path: Path
) -> None:
    peaks = []
    for count in (_FEW, _MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        path, options = write(folder, rows_of(count))
        seen, peak = peak_of_reading(path, options)
        assert seen == count
        peaks.append(peak)
    assert peaks[1] < 1.3 * peaks[0] + 16_384
    assert peaks[1] < _MANY * 24 * 4 + 100_000  # not even the floats themselves fit


def test_a_whole_migration_keeps_nothing_of_a_batch(tmp_path: Path) -> None:
    """Live objects after each batch, at the second and at the last one."""
    rows = rows_of(_MANY, 64)
    np.save(tmp_path / "m.npy", rows)
    seen: list[int] = []

    def look(done: int, _: int | None) -> None:
        seen.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        options = SourceOptions(batch_rows=_BATCH)
        migrate(tmp_path / "m.npy", tmp_path / "store", options, config=FAST, progress=look)
    finally:
        tracemalloc.stop()
    middle, end = seen[len(seen) // 2], seen[-1]
    # the store's own tiers fill up to their budget; vectors of the second half are 307 200 bytes
    assert end - middle < 150_000
