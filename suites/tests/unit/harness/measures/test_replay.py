"""Memory that a replay takes looks like a leak; one that writes nothing new shows no leak."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.measures.replay import Replay, lay_out
from harness.memory.populations import make_population
from harness.subject import Vectors
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


class _Held:
    """What a subject was told to hold; it has no search."""

    def __init__(self) -> None:
        self.documents: dict[str, list[tuple[str, bytes]]] = {}

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vectors]]) -> None:
        self.documents[document] = [(key, row.tobytes()) for key, row in chunks]

    def get(self, key: str) -> None:
        assert any(key == one for held in self.documents.values() for one, _ in held)


def test_each_written_chunk_gets_the_key_and_the_vector_of_its_write(tmp_path: Path) -> None:
    population = make_population(
        "files-1024", tmp_path / "population", files=20, recorded=None, seed=1
    )
    session = EditingSession(documents=20, chunks_per_document=22, dimension=1024, reads=2_000)
    trace = editing_session(1, session)
    replay, held = Replay(lay_out(trace, tmp_path / "trace"), population), _Held()
    replay.fill(held)  # type: ignore[arg-type]  # all that it asks for
    wanted = {name: list(chunks) for name, chunks in held.documents.items()}
    assert [key for chunks in wanted.values() for key, _ in chunks] == list(population.keys)
    rows = population.vectors()
    replay.run(held)  # type: ignore[arg-type]
    writes = np.flatnonzero(trace.operation == Operation.WRITE)
    for at in writes:
        name, number = population.documents[trace.document[at]], int(trace.key[at])
        row = np.asarray(rows[number % len(rows)])
        wanted[name][trace.chunk[at]] = (f"{number:032x}", row.tobytes())
    assert len(writes) > 50
    assert held.documents == wanted
