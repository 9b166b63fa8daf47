"""A read goes hot, warm, cold; what was read moves up, the evicted down; a document comes whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import CorruptionError, EmbeddingStore, StoreConfig
from titanstore.tiers.prefetch import Prefetcher

KEYS = [f"k{number}" for number in range(22)]
DIMENSION = 256


def open_store(folder: Path, **settings: object) -> EmbeddingStore:
    config = StoreConfig(durability="power_cut_may_lose_store", **settings)  # type: ignore[arg-type]
    return EmbeddingStore.open(folder, config)


def vectors(seed: int = 0, count: int = len(KEYS)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_store(tmp_path) as store:
        store.put_many(KEYS, vectors(), "doc")
        store.put_many([f"other {key}" for key in KEYS], vectors(1), "other")
        store.put("alone", vectors(2, 1)[0])
    return tmp_path


def prefetch_threads() -> int:
    """By name: threads that other tests left may end at any moment."""
    return sum(thread.name == "titanstore-prefetch" for thread in threading.enumerate())


def hot_keys(store: EmbeddingStore) -> set[str]:
    return set(store._cascade.hot.keys())


def test_a_miss_brings_its_document_in(folder: Path) -> None:
    with open_store(folder) as store:
        store.get("k7")
        assert store.wait_for_prefetch()
        assert hot_keys(store) == set(KEYS)
        for key, row in zip(KEYS, vectors(), strict=True):
            assert store.get(key).tobytes() == row.tobytes()
        counters = store.stats().counters
        assert (counters["cold_hits"], counters["hot_hits"]) == (1, len(KEYS))
        assert (counters["prefetches"], counters["prefetched_rows"]) == (1, len(KEYS) - 1)
        store.get("alone")
        assert store.wait_for_prefetch()
        assert hot_keys(store) == {*KEYS, "alone"}


def test_the_wanted_vector_does_not_wait_for_its_siblings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetch cannot end before the read has returned: it waits for it."""
    with open_store(folder) as store:
        returned = threading.Event()
        threads: list[str] = []
        siblings = store._cascade.cold.siblings

        def waiting(document: int) -> object:
            threads.append(threading.current_thread().name)
            assert returned.wait(60)
            return siblings(document)

        monkeypatch.setattr(store._cascade.cold, "siblings", waiting)
        assert store.get("k0").tobytes() == vectors()[0].tobytes()
        assert "k1" not in hot_keys(store)
        returned.set()
        assert store.wait_for_prefetch()
        assert threads == ["titanstore-prefetch"]
        assert hot_keys(store) == set(KEYS)


def test_without_prefetch_no_thread_and_no_siblings(folder: Path) -> None:
    before = prefetch_threads()
    with open_store(folder, prefetch=False) as store:
        store.get("k0")
        assert store.wait_for_prefetch()
        assert hot_keys(store) == {"k0"}
        assert prefetch_threads() == before


def test_a_document_larger_than_the_tier_takes_half_of_it(folder: Path) -> None:
    with open_store(folder, hot_bytes_max=20_000) as store:
        store.get("k21")
        assert store.wait_for_prefetch()
        counters = store.stats().counters
        assert 0 < counters["prefetched_rows"] * 4 * DIMENSION <= 10_000
        assert "k21" in hot_keys(store)
        assert store.stats().hot_bytes <= 20_000


def test_a_damaged_sibling_hurts_nobody_else(folder: Path) -> None:
    with open_store(folder) as store:
        record = list(store._cascade.cold.siblings(1))[4]
        end = record.end
        del record
    segment = folder / "segments" / "00001.seg"
    content = bytearray(segment.read_bytes())
    content[end - 1] ^= 1
    segment.write_bytes(content)
    with open_store(folder) as store:
        store.get("k0")
        assert store.wait_for_prefetch()
        assert store.stats().counters["prefetch_failures"] == 1
        for number, row in enumerate(vectors()):
            if number != 4:
                assert store.get(f"k{number}").tobytes() == row.tobytes()
                assert store.wait_for_prefetch()
        with pytest.raises(CorruptionError, match="'k4'"):
            store.get("k4")
        assert "k4" not in hot_keys(store)


@pytest.mark.parametrize("prefetch", [True, False])
def test_the_evicted_are_kept_as_frames_and_come_up_again(folder: Path, *, prefetch: bool) -> None:
    limits = {"hot_bytes_max": 6_000, "memory_bytes_max": 100_000}
    with open_store(folder, prefetch=prefetch, **limits) as store:
        for key in KEYS:
            store.get(key)
            assert store.wait_for_prefetch()
        stats = store.stats()
        assert stats.counters["demotions"] > 0
        assert stats.warm_frames > 0
        # a key is in one tier
        assert hot_keys(store).isdisjoint(store._cascade.warm._frames)
        before = stats.counters
        key = next(iter(store._cascade.warm._frames))
        assert store.get(key).tobytes() == vectors()[KEYS.index(key)].tobytes()
        after = store.stats().counters
        assert after["warm_hits"] - before["warm_hits"] == 1
        assert after["promotions"] - before["promotions"] == 1
        assert after["cold_hits"] == before["cold_hits"]


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("policy", ["probation", "lru"])
def test_both_tiers_together_keep_to_the_total_at_every_moment(
    folder: Path, policy: str, *, prefetch: bool
) -> None:
    """Vectors of very different sizes, so that the hot tier's filling jumps."""
    rng = np.random.default_rng(3)
    sizes = (1, 40, 900, 3_000)
    with open_store(
        folder, prefetch=prefetch, policy=policy, hot_bytes_max=14_000, memory_bytes_max=18_000
    ) as store:
        for number in range(60):
            store.put(f"s{number}", rng.random(sizes[number % 4], np.float32), f"d{number // 6}")
        for number in rng.integers(0, 60, 800).tolist():
            store.get(f"s{number}")
            stats = store.stats()
            if prefetch:
                assert stats.hot_bytes <= 14_000
            else:
                assert stats.hot_bytes + stats.warm_bytes <= 18_000
        assert store.wait_for_prefetch()
        stats = store.stats()
        assert stats.hot_bytes + stats.warm_bytes <= 18_000
        assert stats.counters["warm_hits"] > 0


def test_the_hot_tier_grows_and_the_warm_one_gives_way_at_once(folder: Path) -> None:
    with open_store(folder, hot_bytes_max=30_000, memory_bytes_max=31_000) as store:
        cascade = store._cascade
        cascade.clear()
        for number in range(20):
            cascade.warm.admit(f"frame {number}", bytes(1_000), cascade.warm.epoch)
        assert cascade.warm.nbytes > 20_000
        for number in range(12):
            row = cascade.hot.new_row(400, lambda out: out.fill(1))
            cascade._admit(f"row {number}", row, cascade.hot.epoch)
            assert cascade.hot.nbytes + cascade.warm.nbytes <= 31_000


def test_a_large_batch_does_not_sweep_the_tier(folder: Path) -> None:
    with open_store(folder, hot_bytes_max=40_000, prefetch=False) as store:
        store.get("alone")
        store.get_many(KEYS)
        assert hot_keys(store) == {"alone"}
        store.get_many(KEYS[:4])
        assert hot_keys(store) == {"alone", *KEYS[:4]}


@pytest.mark.parametrize("change", ["put", "update", "delete"])
def test_a_replaced_value_never_comes_back_by_a_fetch_under_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The fetch has read the old records when the write is acknowledged."""
    with open_store(folder) as store:
        begun, go_on = threading.Event(), threading.Event()
        siblings = store._cascade.cold.siblings

        def slow(document: int) -> Iterator[object]:
            for record in siblings(document):
                begun.set()
                assert go_on.wait(60)
                yield record

        monkeypatch.setattr(store._cascade.cold, "siblings", slow)
        store.get("k9")
        assert begun.wait(60)
        fresh = vectors(7)
        if change == "put":
            store.put("k0", fresh[0])
        elif change == "update":
            store.update_document("doc", list(zip(KEYS, fresh, strict=True)))
        else:
            store.delete(["k0"])
        go_on.set()
        assert store.wait_for_prefetch()
        monkeypatch.undo()
        if change == "delete":
            assert "k0" not in store
            with pytest.raises(KeyError):
                store.get("k0")
        else:
            assert store.get("k0").tobytes() == fresh[0].tobytes()


def test_a_replaced_value_never_comes_back_from_the_warm_tier(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that was looked up for demotion before the write is not kept after it."""
    limits = {"hot_bytes_max": 4_000, "memory_bytes_max": 60_000, "prefetch": False}
    with open_store(folder, **limits) as store:
        find = store._cascade.cold.find
        fresh = vectors(7)

        def overtaken(key: object) -> object:
            record = find(key)  # type: ignore[arg-type]
            if getattr(key, "text", "") == "k0" and armed:
                armed.clear()
                store.put("k0", fresh[0])
            return record

        armed: list[bool] = []
        store.get("k0")
        monkeypatch.setattr(store._cascade.cold, "find", overtaken)
        armed.append(True)
        for key in KEYS[1:]:
            store.get(key)
        assert not armed
        assert store.get("k0").tobytes() == fresh[0].tobytes()


def test_a_read_overtaken_by_a_write_does_not_make_the_old_row_hot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(folder, prefetch=False) as store:
        find = store._cascade.cold.find
        fresh = vectors(7)

        def overtaken(key: object) -> object:
            record = find(key)  # type: ignore[arg-type]
            monkeypatch.undo()
            store.put("k0", fresh[0])
            store._cascade.hot.invalidate(["k0"])
            return record

        monkeypatch.setattr(store._cascade.cold, "find", overtaken)
        assert store.get("k0").tobytes() == vectors()[0].tobytes()  # began before the write
        assert store.get("k0").tobytes() == fresh[0].tobytes()


class Recorder:
    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.tidied = 0

    def fetch(self, document: int, go_on: Callable[[], bool]) -> None:
        assert go_on()
        self.fetched.append(document)

    def tidy(self, _: Callable[[], bool]) -> None:
        self.tidied += 1


def test_the_prefetcher_starts_with_the_first_request_and_ends() -> None:
    recorder = Recorder()
    prefetcher = Prefetcher(recorder.fetch, recorder.tidy)
    assert prefetcher.drain(60)
    prefetcher.stop()
    before = prefetch_threads()
    prefetcher = Prefetcher(recorder.fetch, recorder.tidy)
    assert prefetch_threads() == before
    prefetcher.request(5)
    assert prefetch_threads() == before + 1
    assert prefetcher.drain(60)
    assert (recorder.fetched, recorder.tidied) == ([5], 1)
    prefetcher.request(0)
    assert prefetcher.drain(60)
    assert (recorder.fetched, recorder.tidied) == ([5], 2)
    prefetcher.stop()
    prefetcher.stop()
    assert prefetch_threads() == before
    prefetcher.request(6)
    assert prefetch_threads() == before
    assert recorder.fetched == [5]


def test_stopping_does_not_wait_for_a_long_fetch() -> None:
    begun = threading.Event()

    def endless(_: int, go_on: Callable[[], bool]) -> None:
        begun.set()
        while go_on():
            pass

    prefetcher = Prefetcher(endless, lambda _: None)
    prefetcher.request(1)
    assert begun.wait(60)
    prefetcher.stop()


def test_a_fetch_gives_way_to_another_document() -> None:
    begun, fetched = threading.Event(), []

    def fetch(document: int, go_on: Callable[[], bool]) -> None:
        fetched.append(document)
        begun.set()
        while document == 1 and go_on():
            pass

    prefetcher = Prefetcher(fetch, lambda _: None)
    prefetcher.request(1)
    assert begun.wait(60)
    prefetcher.request(2)
    prefetcher.request(2)
    assert prefetcher.drain(60)
    assert fetched == [1, 2]
    prefetcher.stop()
