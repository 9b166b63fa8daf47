"""What a search returns is what the store held at one moment of the call, whoever writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from suites.tests.concurrency.groups import (
    FAST,
    GROUP,
    QUERY,
    STABLE,
    assert_stable,
    at,
    small_segments,
    version_of,
    versioned,
)
from titanstore import EmbeddingStore
from titanstore.search import engine


class Log:
    """Which version of the group there was, and when."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.versions: list[int | None] = []

    def write(self, version: int | None, change: Callable[[], object]) -> None:
        self.began.append(time.monotonic())
        self.versions.append(version)
        change()
        self.ended.append(time.monotonic())

    def has(self, version: int | None, start: float, end: float) -> bool:
        """Was this the version at some moment between?"""
        began, ended, versions = list(self.began), list(self.ended), list(self.versions)
        return any(
            seen == version
            and began[place] <= end
            # until the next write has ended at the latest
            and (place + 1 >= len(ended) or ended[place + 1] >= start)
            for place, seen in enumerate(versions[: len(began)])
        )


def write(store: EmbeddingStore, log: Log, rounds: int) -> None:
    states: dict[int, int | None] = {}
    for turn in range(rounds):
        version = turn % 30
        rows = versioned(version)
        match turn % 6:
            case 0 | 3:
                log.write(version, partial(store.put_many, GROUP, rows))
            case 1:
                chunks = list(zip(GROUP, rows, strict=True))
                log.write(version, partial(store.update_document, "doc", chunks))
            case 2:
                states[store.snapshot().number] = log.versions[-1]
                log.write(None, partial(store.delete, GROUP))
            case 4:
                number = list(states)[-1]
                log.write(states[number], partial(store.rollback, number))
            case _:
                store.drop_versions(keep=0)
                states.clear()
                store.maintain()
        store.put(f"more {turn % 7}", at(200 + turn))


@pytest.mark.parametrize("cache", [0, 128])
def test_threads_see_one_moment(tmp_path: Path, cache: int) -> None:
    """The group whole, of a version that there was during the call; no stable key missing."""
    log, stop = Log(), threading.Event()
    failures: list[BaseException] = []
    searches = [0, 0, 0]
    with EmbeddingStore.open(tmp_path, small_segments(cache=cache)) as store:
        for place, key in enumerate(STABLE):
            store.put(key, at(place * 3))
        log.write(0, lambda: store.put_many(GROUP, versioned(0)))

        def search(seed: int) -> None:
            try:
                while not stop.is_set():
                    for k in (3, 100):
                        start = time.monotonic()
                        if seed:
                            hits = store.search(QUERY, k, metric="l2")
                        else:
                            hits = store.search_many([QUERY, -QUERY], k, metric="l2")[0]
                        end = time.monotonic()
                        assert_stable(hits, k)
                        if k == 100:
                            assert log.has(version_of(hits), start, end)
                        searches[seed] += 1
            except BaseException as failure:
                failures.append(failure)
                raise

        threads = [threading.Thread(target=search, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            write(store, log, 120)
            while not (all(searches) or failures):
                write(store, log, 12)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures
        assert all(searches)
        # nobody tries more often than this, however fast the writer
        assert (
            store.stats().counters["search_retries"] <= sum(searches) * 2 * engine._TRIES_BY_MARKS
        )
        assert store.check().is_clean


# Searches over and over until a line comes; then tells whether the group is of that version now.
_READER = """
import select, sys
import numpy as np
from titanstore import EmbeddingStore, StoreConfig
config = StoreConfig(result_cache_entries=int(sys.argv[2]))
store = EmbeddingStore.open(sys.argv[1], config, read_only=True)
query = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)
print("open", flush=True)
for line in sys.stdin:
    wanted = eval(line)
    hits = store.search(query, 100, metric="l2")
    good = {key: distance for key, distance in hits if key.startswith("group")} == wanted
    rounds = 0
    print(good, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        hits = store.search(query, 100, metric="l2")
        group = [distance for key, distance in sorted(hits) if key.startswith("group")]
        roots = [distance ** 0.5 for distance in group]
        whole = not group or [root - roots[0] for root in roots] == [0, 0.125, 0.25, 0.375]
        stable = sum(key.startswith("stable") for key, _ in hits) == 12
        if not (whole and stable):
            print(hits, flush=True)
        rounds += 1
"""


class Reader:
    """A process that searches all the time."""

    def __init__(self, folder: Path, cache: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder), str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "open"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def sees(self, version: int | None) -> str:
        """ "True", or what it saw instead."""
        rows = [] if version is None else versioned(version)
        wanted = {key: float(row[1]) ** 2 for key, row in zip(GROUP, rows, strict=False)}
        print(wanted, file=self.process.stdin, flush=True)
        return self._line()

    def end(self) -> None:
        rest, _ = self.process.communicate(timeout=60)
        assert rest == ""
        assert self.process.returncode == 0


@pytest.mark.parametrize("cache", [0, 128])
def test_another_process_sees_one_moment(tmp_path: Path, cache: int) -> None:
    with EmbeddingStore.open(tmp_path, small_segments()) as store:
        for place, key in enumerate(STABLE):
            store.put(key, at(place * 3))
        reader = Reader(tmp_path, cache)
        log = Log()
        log.write(0, lambda: store.put_many(GROUP, versioned(0)))
        for turn in range(8):
            assert reader.sees(log.versions[-1]) == "True", turn
            write(store, log, 12)
        reader.end()


# Is killed by its own hand when a row is marked and its record not yet acknowledged.
_KILLED = """
import os, signal, sys
import numpy as np
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(durability="power_cut_may_lose_store"))
writer = store._rooms._writer
append = writer.append
def append_and_die(*given, **named):
    append(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
writer.append = append_and_die
rows = np.zeros((300, 8), np.float32)
rows[:, 0] = 1
rows[:, 1] = np.linspace(0, 0.01, 300)
store.put_many([f"group {place}" for place in range(300)], rows)
"""


def test_a_killed_writers_rows_are_never_results(tmp_path: Path) -> None:
    """Marked rows without records, at offsets that are cut off and then written over."""
    with EmbeddingStore.open(tmp_path, FAST) as store:
        for place, key in enumerate(STABLE):
            store.put(key, at(place * 3))
    reader = Reader(tmp_path, 0)
    assert reader.sees(None) == "True"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    for _ in range(3):
        assert reader.sees(None) == "True"
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as other:
        assert [hit.key for hit in other.search(QUERY, 20, metric="l2")] == STABLE
    with EmbeddingStore.open(tmp_path, FAST) as store:
        assert [hit.key for hit in store.search(QUERY, 20, metric="l2")] == STABLE
        assert reader.sees(None) == "True"
        # far ones, where the near ones lay: their codes must not speak for them
        store.put_many(GROUP, versioned(17))
        assert [hit.key for hit in store.search(QUERY, 3, metric="l2")] == STABLE[:3]
        assert reader.sees(17) == "True"
        assert store.check().is_clean
    reader.end()
