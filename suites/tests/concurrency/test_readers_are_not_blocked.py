"""Risk: a reader waits for the writer: for its disk, its transaction, or a lock that it holds.

The writer is held up at each of its steps, for as long as the readers take; all that can be read
is read meanwhile, by threads of its process and by another process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suites.bench import readers_beside
from titanstore import EmbeddingStore, StoreConfig
from titanstore.catalog.catalog import Catalog
from titanstore.compaction import Compaction
from titanstore.segments.planes import PlaneWriter
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import SegmentWriter
from titanstore.tiers.cascade import Cascade

KEYS = [f"key {number}" for number in range(30)]
SMALL = StoreConfig()
object.__setattr__(SMALL, "segment_bytes_max", 700)  # so that there is something to compact
SECONDS = 30.0  # a reader that is blocked; a busy machine is no fault

_READER = """
import sys
import numpy as np
from titanstore import EmbeddingStore
keys = sys.argv[1:]
store = folder = None
print("ready", flush=True)
for line in sys.stdin:
    if line.strip():
        folder = line.strip()
        store = EmbeddingStore.open(folder, read_only=True)
        print("open", flush=True)
        continue
    with EmbeddingStore.open(folder, read_only=True) as other:
        seen = [*map(store.get, keys), *store.get_many(keys), other.get(keys[0])]
        hits = store.search(np.ones(8, np.float32), k=3)
    print(all((row == 1).all() for row in seen) and len(hits) == 3, flush=True)
"""
Say = Callable[[str], str]


@pytest.fixture(scope="module")
def process() -> Iterator[Say]:
    """Another process; it opens a store when it is told a folder, and answers."""
    with subprocess.Popen(
        [sys.executable, "-c", _READER, *KEYS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as found:
        assert found.stdin is not None
        assert found.stdout is not None
        assert found.stdout.readline() == "ready\n"

        def say(line: str) -> str:
            assert found.stdin is not None
            assert found.stdout is not None
            print(line, file=found.stdin, flush=True)
            return found.stdout.readline()

        yield say
        found.communicate(timeout=60)


@pytest.fixture
def reader(tmp_path: Path, process: Say) -> Callable[[], str]:
    """A store, and another process that reads all there is when it is asked to."""
    folder = tmp_path / "store"
    with EmbeddingStore.open(folder, SMALL) as store:
        store.put("beside", np.full(8, 2, np.float32))
        store.put_many(KEYS, np.zeros((len(KEYS), 8), np.float32), "doc")
        store.put_many(KEYS, np.ones((len(KEYS), 8), np.float32), "doc")
        store.snapshot("ones")
    assert process(str(folder)) == "open\n"
    return lambda: process("")


# A call of each step of a write, and of tidying
STEPS: dict[str, tuple[Any, str]] = {
    "about to append": (SegmentWriter, "append"),
    "waiting for the disk": (os, "fdatasync"),
    "in a transaction": (Catalog, "_require_file"),
    "telling of it": (Cascade, "invalidate"),
    "unmarking rows": (PlaneWriter, "retire"),
    "moving records": (Compaction, "_move"),
    "removing a segment": (SegmentReader, "forget"),
}


def held_up(
    patch: pytest.MonkeyPatch, step: str, writer: threading.Thread
) -> tuple[threading.Event, threading.Event]:
    """Let a thread wait when it comes to a step: set when it is there, and to be set to go on."""
    owner, name = STEPS[step]
    reached, go_on = threading.Event(), threading.Event()
    real = getattr(owner, name)

    def waits(*given: Any, **named: Any) -> Any:
        if threading.current_thread() is writer:
            reached.set()
            assert go_on.wait(4 * SECONDS)
        return real(*given, **named)

    patch.setattr(owner, name, waits)
    return reached, go_on


def read_all(store: EmbeddingStore, folder: Path) -> None:
    """Every kind of read, by the writer's own object and by a new one."""
    with EmbeddingStore.open(folder, store._config, read_only=True) as other:
        for one in (store, other):
            assert all((one.get(key) == 1).all() for key in KEYS)
            assert (one.get_many(KEYS) == 1).all()
            assert len(one.search(np.ones(8, np.float32), k=3)) == 3
            assert len(one) == len(KEYS) + 1
            assert one.document_keys("doc") == KEYS
            assert (one.at(1).get(KEYS[0]) == 1).all()
            assert len(one.versions()) == 1
            assert one.stats().vectors == len(KEYS) + 1


def write(store: EmbeddingStore) -> None:
    """Replace a value, and tidy."""
    store.put("beside", np.full(8, 3, np.float32))
    store.maintain()


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_held_up_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[], str], step: str
) -> None:
    folder = tmp_path / "store"
    with EmbeddingStore.open(folder, SMALL) as store:
        errors: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:  # shown below
                errors.append(error)

        writer = threading.Thread(target=guarded, args=(lambda: write(store),))
        reading = threading.Thread(target=guarded, args=(lambda: read_all(store, folder),))
        reached, go_on = held_up(monkeypatch, step, writer)
        writer.start()
        try:
            assert reached.wait(SECONDS), f"the writer never came there: {errors}"
            reading.start()
            assert reader() == "True\n"
            reading.join(SECONDS)
            assert not reading.is_alive(), "a reader waits for the writer"
            assert not go_on.is_set()
        finally:
            go_on.set()
            writer.join(SECONDS)
        assert errors == []
        assert (store.get("beside") == 3).all()


_WRITER = """
import sys
import numpy as np
from titanstore import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1])
turn = 1
while True:
    store.put("beside", np.full(8, turn, np.float32))
    if turn % 20 == 0:
        store.maintain()
    print(turn, flush=True)
    turn += 1
"""


def test_a_stopped_writer_stops_nobody(tmp_path: Path, reader: Callable[[], str]) -> None:
    """SIGSTOP, wherever it is: with LMDB's lock, in a system call, between two lines."""
    rng = np.random.default_rng()
    with (
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer,
        EmbeddingStore.open(tmp_path / "store", read_only=True) as store,
    ):
        assert writer.stdout is not None
        try:
            for _ in range(6):
                acknowledged = int(writer.stdout.readline())
                time.sleep(rng.uniform(0, 0.003))
                os.kill(writer.pid, signal.SIGSTOP)
                assert reader() == "True\n"
                assert all((store.get(key) == 1).all() for key in KEYS)
                assert store.get("beside")[0] >= acknowledged
                os.kill(writer.pid, signal.SIGCONT)
        finally:
            writer.kill()


def test_an_interrupted_measurement_leaves_no_reader_behind(tmp_path: Path) -> None:
    """Each was waited for, 20 seconds, without having been told, and then killed."""
    readers_beside.fill(tmp_path / "store")

    def interrupted() -> None:
        with readers_beside._readers(tmp_path / "store", 2):
            assert len(multiprocessing.active_children()) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == []


def test_what_is_reported_of_readers_and_a_writer_is_measured(tmp_path: Path) -> None:
    """The smoke form of suites/bench/readers_beside.py: each case once, values checked."""
    found = list(
        readers_beside.rounds_of(tmp_path / "store", 1, 0.02, readers=(1,), paces=("paced",))
    )
    assert [one["readers"] for one in sorted(found, key=lambda one: one["readers"])] == [0, 1]
    for one in found:
        assert one["saves_per_second"] > 0
        if one["readers"]:
            assert one["alone"]["gets"] > 0
            assert one["beside"]["gets"] > 0
