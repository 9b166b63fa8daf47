"""What a store publishes is what it did, and publishing changes nothing that it does."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest

from titanstore import EmbeddingStore, NotFoundError, StoreConfig
from titanstore.figures import folder as module
from titanstore.figures.folder import published
from titanstore.figures.layout import Figures
from titanstore.figures.publisher import HOT_SAMPLED, LOADS_SAMPLED, Operation

FAST = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)
QUIET = StoreConfig(durability="power_cut_may_lose_store", prefetch=False, publish=False)
ROW = np.ones(64, np.float32)


def figures_of(path: Path) -> list[Figures]:
    store_id = bytes.fromhex(json.loads((path / "STORE").read_text())["store_id"])
    found, unreadable = published(store_id)
    assert not unreadable
    return list(found.values())


def timed(figures: Figures) -> dict[str, int]:
    return {name: sum(counts) for name, counts in figures.latencies.items()}


def test_each_call_is_counted_and_timed_once(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["a", "b"], [ROW, -ROW], "doc")
        store.put("c", ROW)
        store.update_document("doc", [("a", -ROW)])
        for _ in range(LOADS_SAMPLED):
            store._cascade.clear()
            store.get("a")
        store.get_many(["a", "c"])
        store.search(ROW)
        with pytest.raises(NotFoundError):
            store.get("absent")
        for _ in range(3 * HOT_SAMPLED):
            store.get("a")
        store.delete(["a"])
        (found,) = figures_of(tmp_path)
        stats = store.stats()
    assert found.pid == os.getpid()
    wanted = {"put": 2, "update": 1, "get_other": 1, "get_many": 1, "search": 1, "get_hot": 3}
    assert timed(found) == wanted
    sampled = {"get_hot": HOT_SAMPLED, "get_other": LOADS_SAMPLED}
    assert found.sampled == dict.fromkeys(wanted, 1) | sampled
    assert {name: found.values[name] for name in stats.counters} == stats.counters
    sizes = ("hot_rows", "hot_bytes", "warm_frames", "warm_bytes")
    assert {name: found.values[name] for name in sizes} == {
        name: getattr(stats, name) for name in sizes
    }
    assert found.values["is_writer"] == 1
    assert found.values["memory_bytes_max"] == FAST.memory_bytes_max
    assert not figures_of(tmp_path)  # closed


def test_hot_reads_show_up_after_as_many_as_are_sampled(tmp_path: Path) -> None:
    """With nothing else going on, and the clock aside: a sample is what shows them."""
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put("a", ROW)
        for _ in range(HOT_SAMPLED + 2):
            store._publisher._published_ns = 0
            store.get("a")
        (found,) = figures_of(tmp_path)
        assert found.values["hot_hits"] > HOT_SAMPLED // 2


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_that_does_not_publish_has_no_file(tmp_path: Path, *, read_only: bool) -> None:
    EmbeddingStore.open(tmp_path, QUIET).close()
    with EmbeddingStore.open(tmp_path, QUIET, read_only=read_only) as store:
        assert not figures_of(tmp_path)
        assert not store._publisher.is_publishing
        assert "a" not in store


def test_a_reader_publishes_and_writes_nothing_into_the_store_s_folder(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, QUIET) as store:
        store.put("a", ROW)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as store:
        store.get("a")
        (found,) = figures_of(tmp_path)
    assert found.values["is_writer"] == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    del before[tmp_path / "catalog" / "lock.mdb"], after[tmp_path / "catalog" / "lock.mdb"]
    assert before == after


def test_two_stores_of_one_process_have_a_file_each(tmp_path: Path) -> None:
    with (
        EmbeddingStore.open(tmp_path, FAST) as writer,
        EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader,
    ):
        writer.put("a", ROW)
        reader.get_many(["a"])
        found = {each.values["is_writer"]: timed(each) for each in figures_of(tmp_path)}
    assert (found[1]["put"], found[1]["get_many"]) == (1, 0)
    assert (found[0]["put"], found[0]["get_many"]) == (0, 1)


def test_without_shared_memory_the_store_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "absent")
    with EmbeddingStore.open(tmp_path / "s", FAST) as store:
        assert not store._publisher.is_publishing
        store.put("a", ROW)
        for _ in range(2 * HOT_SAMPLED):
            assert (store.get("a") == ROW).all()


def test_a_call_under_way_may_still_note_after_close(tmp_path: Path) -> None:
    store = EmbeddingStore.open(tmp_path, FAST)
    publisher = store._publisher
    cells = publisher._cells
    store.close()
    store.close()
    publisher.note(Operation.PUT, 0)
    publisher.publish()
    assert not any(publisher._cells)
    assert len(cells) == len(publisher._cells)


def test_a_store_that_was_forgotten_leaves_no_file_for_long(tmp_path: Path) -> None:
    """Not closed, only collected: the lock goes with the mapping, the file with the next open."""
    EmbeddingStore.open(tmp_path, FAST).close()
    store = EmbeddingStore.open(tmp_path, FAST, read_only=True)
    assert len(figures_of(tmp_path)) == 1
    del store
    gc.collect()
    assert not figures_of(tmp_path)
