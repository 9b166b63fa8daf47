"""A search in the middle of a write or a closing sees one moment; both are stopped step by step."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
from titanstore import ClosedError, EmbeddingStore, StoreConfig
from titanstore.search import engine, scope
from titanstore.segments import marks, plane_reader, planes


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
