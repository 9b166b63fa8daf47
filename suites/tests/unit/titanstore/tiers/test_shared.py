"""The shared tier tells what the private one would; without shared memory it becomes one."""

from __future__ import annotations

import errno
import gc
import logging
import mmap
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, StoreConfig
from titanstore.metrics import Counters
from titanstore.pool.shared import SLAB_BYTES_MIN
from titanstore.tiers.shared import VIEW_BYTES, VIEWS_MAX, SharedTier, open_shared_tier

CONFIG = StoreConfig(
    shared_pool=True,
    hot_bytes_max=2_300_000,
    memory_bytes_max=2_400_000,
    durability="power_cut_may_lose_store",
)
IDENTITY = b"i" * 32


class Place:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "POOL"
        self.generation = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self.generation[0] = 1
        self.counters = Counters()

    def tier(self, config: StoreConfig = CONFIG) -> SharedTier:
        return open_shared_tier(self.path, IDENTITY, self.generation, config, self.counters)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def row_of(value: float) -> NDArray[np.float32]:
    return np.full(1024, value, np.float32)


def refuse(error: int) -> Callable[..., int]:
    def refused(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return refused


@pytest.fixture
def warnings_said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "titanstore"):
        yield caplog


def test_the_overhead_of_a_view_is_what_it_takes(place: Place) -> None:
    tier = place.tier()
    count = VIEWS_MAX
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            key = f"{number:032x}"
            tier.admit(key, row_of(number), tier.epoch)
            tier.touch(key)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # tracemalloc does not see where numpy keeps shapes: 32 bytes a row
    assert grown / count + 32 == pytest.approx(VIEW_BYTES, rel=0.15)
    tier.close()


def test_all_hits_come_from_the_pool_and_the_table_is_bounded(place: Place) -> None:
    one, two = place.tier(), place.tier()
    for number in range(400):
        one.admit(f"key {number}", row_of(number), one.epoch)
    for _ in range(2):
        for number in range(400):
            row = two.lookup(f"key {number}")
            if row is None:
                row = two.find(f"key {number}")
            assert row is not None
            assert (row == number).all()
    assert len(two.keys()) == VIEWS_MAX
    assert len(two) == 400
    assert place.counters.pool_hits == 2 * 400 - VIEWS_MAX
    assert two.nbytes <= CONFIG.hot_bytes_max
    assert two.pool_bytes <= CONFIG.hot_bytes_max - VIEWS_MAX * VIEW_BYTES
    one.close()
    two.close()


def test_the_table_keeps_no_slab_that_left_the_pool(place: Place) -> None:
    one, two = place.tier(), place.tier()
    for number in range(1_500):
        one.admit(f"key {number}", row_of(number), one.epoch)
        two.find(f"key {number}")
    for tier in (one, two):
        shared = tier._shared
        assert shared is not None
        keys = tier.keys()
        rows = [tier.lookup(key) for key in keys]
        assert rows
        assert all(row is not None and shared.is_in_use(row) for row in rows)
        del rows
        gc.collect()
        shared._count_held()
        assert shared._held == []
        tier.close()


def test_a_row_found_before_a_change_does_not_enter_the_table(place: Place) -> None:
    tier = place.tier()
    tier.admit("key", row_of(1), tier.epoch)
    tier.clear()
    shared = tier._shared
    assert shared is not None
    find = shared.find

    def slow(key: str) -> NDArray[np.float32] | None:
        found = find(key)
        place.generation[0] += 1
        tier.invalidate([key])
        return found

    shared.find = slow  # type: ignore[assignment,method-assign]
    assert tier.find("key") is not None  # it was true when the call began
    assert tier.lookup("key") is None
    shared.find = find  # type: ignore[method-assign]
    assert tier.find("key") is None
    tier.close()


def test_a_change_that_could_not_be_announced_is_counted(place: Place) -> None:
    tier = place.tier()
    tier.admit("key", row_of(1), tier.epoch)
    place.generation[0] += 2
    tier.invalidate(["other"])
    assert place.counters.pool_resets == 1
    assert tier.find("key") is None
    tier.close()


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC, errno.EMFILE])
def test_no_memory_for_another_slab_turns_it_private_and_says_so(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    warnings_said: pytest.LogCaptureFixture,
    error: int,
) -> None:
    tier = place.tier()
    tier.admit("before", row_of(1), tier.epoch)
    kept = tier.find("before")
    stale = tier.epoch
    monkeypatch.setattr(os, "memfd_create", refuse(error))
    for number in range(100):
        tier.admit(f"key {number}", row_of(number), tier.epoch)
    assert tier.trouble == os.strerror(error)
    assert place.counters.pool_fallbacks == 1
    assert [record.message for record in warnings_said.records] == [
        f"hot rows are kept in private memory, not shared: {os.strerror(error)}"
    ]
    row = tier.lookup("key 99")
    assert row is not None
    assert (row == 99).all()
    assert tier.find("before") is None
    assert tier.pool_bytes == 0
    assert 0 < tier.nbytes <= CONFIG.hot_bytes_max
    assert tier.admit("late", row_of(7), stale) == []
    assert tier.lookup("late") is None, "admitted with an epoch of the shared tier"
    tier.invalidate(["key 99"])
    assert tier.lookup("key 99") is None
    assert kept is not None
    assert (kept == 1).all()
    tier.close()
    tier.close()


def test_a_tier_of_three_slabs_is_not_shared(place: Place) -> None:
    small = StoreConfig(
        shared_pool=True, hot_bytes_max=4 * SLAB_BYTES_MIN, memory_bytes_max=4 * SLAB_BYTES_MIN
    )
    with pytest.raises(OSError, match="too small to be shared"):
        place.tier(small)


# -- whole stores -----------------------------------------------------------------------------


def test_a_store_without_shared_memory_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_said: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse(errno.ENOSYS))
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put("key", row_of(1))
        for _ in range(3):
            assert (store.get("key") == 1).all()
        stats = store.stats()
    assert stats.pool_trouble == os.strerror(errno.ENOSYS)
    assert stats.pool_bytes == 0
    assert stats.counters["pool_fallbacks"] == 1
    assert stats.counters["hot_hits"] == 3
    assert len(warnings_said.records) == 1


def test_trouble_with_the_pool_of_an_open_store_shows_in_its_stats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put("key", row_of(1))
        assert store.stats().pool_trouble is None
        assert store.stats().pool_bytes > 0
        monkeypatch.setattr(os, "memfd_create", refuse(errno.EMFILE))
        for number in range(60):
            store.put(f"key {number}", row_of(number))
        assert store.stats().pool_trouble == os.strerror(errno.EMFILE)
        for _ in range(2):
            for number in range(60):
                assert (store.get(f"key {number}") == number).all()
        assert store.stats().counters["hot_hits"] >= 60


def test_a_private_store_makes_no_pool_and_tells_of_no_trouble(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path) as store:
        store.put("key", row_of(1))
        assert store.stats().pool_trouble is None
        assert store.stats().pool_bytes == 0
    assert not (tmp_path / "POOL").exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_reads_of_all_kinds_find_rows_of_the_pool(tmp_path: Path, *, read_only: bool) -> None:
    with EmbeddingStore.open(tmp_path, CONFIG) as writer:
        keys = [f"key {number}" for number in range(300)]
        for first in range(0, 300, 50):
            part = range(first, first + 50)
            writer.put_many([keys[n] for n in part], np.stack([row_of(n) for n in part]))
        store = EmbeddingStore.open(tmp_path, CONFIG, read_only=True) if read_only else writer
        many = store.get_many(keys)
        assert (many == np.arange(300)[:, None]).all()
        assert many.flags.writeable
        for number, key in enumerate(keys):
            assert (store.get(key) == number).all()
        counters = store.stats().counters
        assert counters["cold_hits"] == 0
        assert counters["hot_hits"] == 600
        assert 0 < counters["pool_hits"] <= 600
        writer.delete([keys[5]])
        assert keys[5] not in store
        with pytest.raises(KeyError):
            store.get(keys[5])
        writer.update_document("doc", [(keys[6], row_of(-1))])
        assert (store.get(keys[6]) == -1).all()
        assert (store.get_many(keys[6:8])[:, 0] == [-1, 7]).all()
        store.close()
