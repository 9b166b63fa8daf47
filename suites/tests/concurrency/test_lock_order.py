"""Risk: two threads take locks in opposite orders, and one day both wait for ever.

What watches for it (`fixtures/lock_order.py`) must see an inversion, and end a real deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fixtures.lock_order import LockOrderError, StallError, Watch, watching
from fixtures.locks import ORDER, SIGNALS, locks_made
from titanstore import EmbeddingStore, StoreConfig

FAST = StoreConfig(durability="power_cut_may_lose_store")
WRITE = "store.EmbeddingStore._write_lock"
MIRROR = "search.mirror.LanceMirror._lock"
HOT = "tiers.hot.HotTier._lock"
GATE = "catalog.environment.Gate"
VECTOR = np.ones(8, np.float32)


@pytest.fixture(autouse=True)
def locks_watched() -> None:
    """Here each test watches for itself."""


def test_every_lock_of_the_store_has_its_place() -> None:
    """One that is new must be put where it belongs before anything else is taken under it."""
    conditions = {"catalog.environment.Gate._changed"}  # over a lock that is listed
    assert set(locks_made().values()) - conditions == {*ORDER, *SIGNALS} - {GATE}
    assert len(ORDER) == len(set(ORDER))


def names_of(watch: Watch) -> set[str]:
    return {name for pair in watch.edges for name in pair}


def test_the_locks_of_a_store_are_watched(tmp_path: Path) -> None:
    with watching() as watch, EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["a", "b"], np.ones((2, 8), np.float32), "doc")
        store.get("a")
        store.maintain()
    assert {WRITE, GATE, HOT, "segments.reader.SegmentReader._lock"} <= names_of(watch)
    assert not watch.faults
    assert not watch.is_over


def test_an_inversion_is_seen_without_a_deadlock(tmp_path: Path) -> None:
    """One thread is enough, and nobody has to be in its way."""
    with (
        pytest.raises(LockOrderError) as caught,
        watching(),
        EmbeddingStore.open(tmp_path, FAST) as store,
        store._rooms.mirror._lock,
    ):
        store.put("a", VECTOR)
    said = str(caught.value)
    assert f"{WRITE} was waited for by MainThread while it held {MIRROR}" in said
    assert "store.py" in said
    assert "test_lock_order.py" in said


def test_two_locks_of_one_name_are_an_inversion(tmp_path: Path) -> None:
    """Nothing says which of two stores comes first."""
    with (
        pytest.raises(LockOrderError, match="another one of the same name"),
        watching(),
        EmbeddingStore.open(tmp_path / "one", FAST) as one,
        EmbeddingStore.open(tmp_path / "two", FAST) as two,
        one._write_lock,
    ):
        two.put("a", VECTOR)


def test_a_transaction_within_a_transaction_is_an_inversion(tmp_path: Path) -> None:
    """Between the two, somebody may have shut the gate: each would wait for the other."""
    with (
        pytest.raises(LockOrderError, match=f"{GATE} was waited for"),
        watching(),
        EmbeddingStore.open(tmp_path, FAST) as store,
        store._catalog.reading(),
        store._catalog.reading(),
    ):
        pass


def test_a_lock_taken_again_by_its_holder_is_none(tmp_path: Path) -> None:
    with watching(), EmbeddingStore.open(tmp_path, FAST) as store, store._write_lock:
        store.put("a", VECTOR)


def test_a_deadlock_ends_with_the_stacks_of_both(tmp_path: Path) -> None:
    found: list[BaseException] = []
    both = threading.Barrier(2)

    def take(first: threading.Lock, then: threading.Lock) -> None:
        try:
            with first:
                both.wait(60)
                with then:
                    pass
        except StallError as error:
            found.append(error)

    def deadlock(store: EmbeddingStore) -> None:
        locks = store._cascade.hot._lock, store._cascade.warm._lock
        threads = [
            threading.Thread(target=take, args=pair, name=f"taker {number}")
            for number, pair in enumerate((locks, locks[::-1]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    with (
        pytest.raises(LockOrderError),
        watching(patience_s=0.3) as watch,
        EmbeddingStore.open(tmp_path, FAST) as store,
    ):
        deadlock(store)
    assert watch.is_over
    assert found
    said = str(found[0])
    assert f"{HOT} was not to be had for 0.3 s" in said or "WarmTier._lock was not to be" in said
    assert "held by taker" in said
    assert said.count(" in take") >= 2  # the stacks of both


def _never(_: Path) -> None:
    threading.Event().wait()


def _wait_under_a_lock(folder: Path) -> None:
    """The thread waits for the lock, the holder of the lock for the thread."""
    done = threading.Event()

    def put() -> None:
        with suppress(StallError):
            store.put("a", VECTOR)
        done.set()

    with EmbeddingStore.open(folder, FAST) as store:
        thread = threading.Thread(target=put)
        try:
            with store._write_lock:
                thread.start()
                done.wait()
        finally:
            done.wait(60)
            thread.join()


@pytest.mark.parametrize("stall", [_never, _wait_under_a_lock])
def test_what_never_ends_fails_and_says_where(
    tmp_path: Path, stall: Callable[[Path], None]
) -> None:
    with pytest.raises(StallError) as caught, watching(limit_s=0.3):
        stall(tmp_path)
    said = str(caught.value)
    assert said.startswith("nothing came of it within 0.3 s")
    assert f" in {stall.__name__}" in said
    assert "most recent call first" in said
    if stall is _wait_under_a_lock:
        assert f"waits for {WRITE}, held by MainThread" in said


def test_the_locks_of_other_packages_are_left_alone() -> None:
    kind = type(threading.Lock())
    with watching():
        assert type(threading.Lock()) is kind
        assert type(threading.Condition()._lock) is type(threading.RLock())  # type: ignore[attr-defined]
