"""A replay that takes memory of its own as it goes on looks like a store that leaks."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np

from harness.measures.replay import Replay, lay_out
from harness.memory.populations import make_population
from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import Operation


def test_it_takes_no_more_memory_the_more_has_been_written(tmp_path: Path) -> None:
    """Keys and rows of 2 200 chunks, one after the other, were 10 kB an hour of a session."""
    population = make_population(
        "files-1024", tmp_path / "population", files=20, recorded=None, seed=1
    )
    session = EditingSession(documents=20, chunks_per_document=22, dimension=1024, reads=8_000)
    trace = editing_session(1, session)
    folder = lay_out(trace, tmp_path / "trace")
    sizes: dict[int, int] = {}

    def look(done: int) -> None:
        if done // 1_000 not in sizes:
            gc.collect()
            sizes[done // 1_000] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()  # before the replay has anything: what it drops is counted then
    try:
        Replay(folder, population).run_without(look)
    finally:
        tracemalloc.stop()
    assert len(np.unique(trace.key[trace.operation == Operation.WRITE])) > 250
    assert sizes[max(sizes)] - sizes[1] < 3_000
