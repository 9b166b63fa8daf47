"""What a search returns is what the store held at one moment of the call, whoever writes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import ClosedError, EmbeddingStore, Hit, StoreConfig
from titanstore.search import engine, scope
from titanstore.segments import marks, plane_reader, planes

Vector = NDArray[np.float32]
QUERY = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)
GROUP = [f"group {place}" for place in range(4)]  # always written and removed together
STABLE = [f"stable {place}" for place in range(12)]
FAST = StoreConfig(durability="power_cut_may_lose_store")


def at(distance: float) -> Vector:
    """Its squared distance from QUERY is the square of `distance`."""
    return np.array([1, distance, 0, 0, 0, 0, 0, 0], np.float32)


def small_segments(size: int = 1000, *, cache: int = 128) -> StoreConfig:
    config = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=cache)
    object.__setattr__(config, "segment_bytes_max", size)
    return config


def versioned(version: int) -> list[Vector]:
    return [at(version + place / 8) for place in range(len(GROUP))]


def version_of(hits: list[Hit]) -> int | None:
    """Which version of the group a result shows, None if it is not there; all or nothing."""
    group = {hit.key: hit.distance for hit in hits if hit.key in GROUP}
    if not group:
        return None
    version = int(group[GROUP[0]] ** 0.5)
    wanted = {key: float(row[1]) ** 2 for key, row in zip(GROUP, versioned(version), strict=True)}
    assert group == wanted
    return version


def assert_stable(hits: list[Hit], k: int) -> None:
    """Vectors that never change are missing only where k nearer ones are there."""
    assert [(hit.distance, hit.key) for hit in hits] == sorted(
        (hit.distance, hit.key) for hit in hits
    )
    found = {hit.key: hit.distance for hit in hits}
    for place, key in enumerate(STABLE):
        distance = float(at(place * 3)[1]) ** 2
        if key in found:
            assert found[key] == distance
        else:
            assert len(hits) == k
            assert hits[-1].distance <= distance


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


# ---------------------------------------------------------------- one moment, step by step


def in_a_thread(action: Callable[[], object]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def test_half_a_write_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of its first segments are marked when a search looks; then all is committed."""
    with EmbeddingStore.open(tmp_path, small_segments(200, cache=0)) as store:
        store.put("y", at(9))
        writer = store._rooms._writer
        assert writer is not None
        half, looked = threading.Event(), threading.Event()
        count = itertools.count()
        flush, look = writer._flush, scope.look

        def flush_and_wait(*given: Any) -> None:
            flush(*given)
            if next(count) == 2:
                half.set()
                looked.wait(60)

        def look_and_let_commit(*given: Any, **named: Any) -> object:
            found = look(*given, **named)
            looked.set()
            thread.join()
            return found

        monkeypatch.setattr(writer, "_flush", flush_and_wait)
        monkeypatch.setattr(engine, "look", look_and_let_commit)
        thread = threading.Thread(
            target=store.put_many, args=([f"k{n}" for n in range(9)], [at(n) for n in range(9)])
        )
        thread.start()
        assert half.wait(60)
        assert [hit.key for hit in store.search(QUERY, 2, metric="l2")] == ["y"]
        assert [hit.key for hit in store.search(QUERY, 2, metric="l2")] == ["k0", "k1"]


@pytest.mark.parametrize("cache", [0, 128])
def test_a_plane_that_goes_while_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: int
) -> None:
    """Listed, then compacted into one that was not there to be listed."""
    config = StoreConfig(result_cache_entries=cache)
    with (
        EmbeddingStore.open(tmp_path, FAST) as store,
        EmbeddingStore.open(tmp_path, config, read_only=True) as reader,
    ):
        store.put_many(STABLE, [at(place) for place in range(len(STABLE))])
        store.delete(STABLE[3:])
        for _ in range(2):
            list_planes = planes.plane_ids

            def list_and_compact(folder: Path, lister: Any = list_planes) -> object:
                found = lister(folder)
                monkeypatch.setattr(plane_reader, "plane_ids", lister)
                in_a_thread(store.maintain)
                assert lister(folder) != found
                return found

            monkeypatch.setattr(plane_reader, "plane_ids", list_and_compact)
            assert [hit.key for hit in reader.search(QUERY, 9, metric="l2")] == STABLE[:3]
            assert vars(plane_reader)["plane_ids"] is list_planes
            store.put_many(STABLE[3:], [at(place) for place in range(3, len(STABLE))])
            store.delete(STABLE[3:])


def test_a_storm_of_writes_does_not_keep_a_search_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value changes during each attempt; the catalog alone then says what is current."""
    look = scope.look
    versions = itertools.count(1)
    with EmbeddingStore.open(tmp_path, small_segments(cache=0)) as store:
        store.put_many(STABLE, [at(place * 3) for place in range(len(STABLE))])
        store.put_many(GROUP, versioned(0))

        def look_and_replace(*given: Any, **named: Any) -> object:
            found = look(*given, **named)
            in_a_thread(lambda: store.put_many(GROUP, versioned(next(versions))))
            return found

        monkeypatch.setattr(engine, "look", look_and_replace)
        hits = store.search(QUERY, 100, metric="l2")
        tries = next(versions) - 1
        assert version_of(hits) == tries - 1
        assert_stable(hits, 100)
        assert store.stats().counters["search_retries"] == tries - 1 == engine._TRIES_BY_MARKS


def test_a_value_that_comes_back_during_a_search_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stale at the first attempt; the second one must not leave it out."""
    look = scope.look
    with EmbeddingStore.open(tmp_path, small_segments(cache=0)) as store:
        store.put_many(GROUP, versioned(1))
        number = store.snapshot().number
        changes = iter([lambda: store.delete(GROUP[:1]), lambda: store.rollback(number)])

        def look_then_change(*given: Any, **named: Any) -> object:
            found = look(*given, **named)
            change = next(changes, None)
            if change is not None:
                in_a_thread(change)
            return found

        monkeypatch.setattr(engine, "look", look_then_change)
        assert version_of(store.search(QUERY, 9, metric="l2")) == 1


# ---------------------------------------------------------------- marks that are not believed


@pytest.mark.parametrize("lost", ["deleted", "of another boot", "damaged"])
def test_a_reader_makes_do_without_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with EmbeddingStore.open(tmp_path, small_segments()) as store:
        store.put_many(STABLE, [at(place * 3) for place in range(len(STABLE))])
        store.put_many(GROUP, versioned(5))
        store.put_many(GROUP, versioned(2))
        store.put("nan", np.full(8, np.nan, np.float32))
        store.delete(STABLE[:1])
        wanted = store.search(QUERY, 100, metric="l2")
    files = list((tmp_path / "segments").glob("*.marks"))
    assert files
    if lost == "of another boot":
        other_boot = os.urandom(16)
        monkeypatch.setattr(marks, "boot_id", lambda: other_boot)
    for file in files:
        if lost == "deleted":
            file.unlink()
        elif lost == "damaged":
            file.write_bytes(file.read_bytes()[:30])
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader:
        assert reader.search(QUERY, 100, metric="l2") == wanted
    with (
        EmbeddingStore.open(tmp_path, FAST) as store,
        EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader,
    ):
        for each in (store, reader):
            assert each.search(QUERY, 100, metric="l2") == wanted
        store.put_many(GROUP, versioned(3))
        for each in (store, reader):
            assert version_of(each.search(QUERY, 100, metric="l2")) == 3
    assert all(file.exists() for file in files)


@pytest.mark.parametrize("_turn", range(4))
def test_closing_while_threads_search(tmp_path: Path, _turn: int) -> None:
    """Each call has its result, or says that the store is closed."""
    with EmbeddingStore.open(tmp_path, small_segments(cache=0)) as store:
        store.put_many(STABLE, [at(place * 3) for place in range(len(STABLE))])
        wanted = store.search(QUERY, 100, metric="l2")
        begun = threading.Barrier(4)
        ends: list[BaseException] = []

        def search() -> None:
            begun.wait()
            try:
                while True:
                    assert store.search(QUERY, 100, metric="l2") == wanted
            except BaseException as end:
                ends.append(end)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait()
        store.search(QUERY)
        store.close()
        for thread in threads:
            thread.join()
        assert [type(end) for end in ends] == [ClosedError] * 3, ends
