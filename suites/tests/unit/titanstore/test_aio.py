"""The asynchronous face: the same answers and errors, an event loop that goes on, clean ends."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.vectors import gaussians
from titanstore import (
    ClosedError,
    EmbeddingStore,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StoreConfig,
)

FAST = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=0)
ROWS = gaussians(np.random.default_rng(0), 200, 64)
KEYS = [f"{place:03d}" for place in range(len(ROWS))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(KEYS, ROWS, "doc")
        yield store


def threads() -> int:
    return sum(thread.name.startswith("titanstore-aio") for thread in threading.enumerate())


def held(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Searches wait until this event is set."""
    release = threading.Event()
    search = store.search

    def search_when_released(*given: object, **named: object) -> object:
        assert release.wait(60)
        return search(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "search", search_when_released)
    return release


def test_answers_are_those_of_the_store(store: EmbeddingStore) -> None:
    async def ask() -> None:
        aio = store.aio
        assert await aio.search(ROWS[3], 5) == store.search(ROWS[3], 5)
        assert await aio.search(ROWS[3], metric="l2") == store.search(ROWS[3], metric="l2")
        assert await aio.search(ROWS[3], document_prefix="x") == []
        many = await aio.search_many(ROWS[:4], 3, metric="dot", document_prefix="d")
        assert many == store.search_many(ROWS[:4], 3, metric="dot", document_prefix="d")
        assert (await aio.get("007")).tobytes() == ROWS[7].tobytes()
        assert (await aio.get_many(["001", "002"])).tobytes() == ROWS[1:3].tobytes()
        await aio.put_many(["new"], ROWS[:1], "other")
        assert [hit.key for hit in await aio.search(ROWS[0], 2)] == ["000", "new"]
        await aio.update_document("other", [])
        assert [hit.key for hit in await aio.search(ROWS[0], 1)] == ["000"]

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda aio: aio.search(ROWS[0], 0), ErrorKind.BAD_K),
        (lambda aio: aio.search(ROWS[0], metric="hamming"), ErrorKind.BAD_METRIC),
        (lambda aio: aio.search_many(ROWS[:, :5]), ErrorKind.WRONG_DIMENSION),
        (lambda aio: aio.put_many([""], ROWS[:1]), ErrorKind.EMPTY_KEY),
        (lambda aio: aio.update_document("", []), ErrorKind.EMPTY_KEY),
        (lambda aio: aio.get(7), ErrorKind.KEY_NOT_TEXT),
    ],
)
def test_errors_are_those_of_the_store(
    store: EmbeddingStore, call: Callable[[object], Awaitable[object]], kind: ErrorKind
) -> None:
    async def ask() -> None:
        await call(store.aio)

    with pytest.raises(InvalidInputError) as caught:
        asyncio.run(ask())
    assert caught.value.kind is kind


def test_an_unknown_key_is_a_key_error(store: EmbeddingStore) -> None:
    with pytest.raises(NotFoundError):
        asyncio.run(_get(store, "nobody"))


async def _get(store: EmbeddingStore, key: str) -> np.ndarray:
    return await store.aio.get(key)


def test_the_loop_goes_on_while_searches_wait(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The searches are let go by what runs on the loop beside them: a blocked loop never would."""
    release = held(store, monkeypatch)

    async def ask() -> int:
        searches = [asyncio.create_task(store.aio.search(row)) for row in ROWS[:10]]
        ticks = 0
        for _ in range(200):
            await asyncio.sleep(0)
            ticks += 1
        assert not any(task.done() for task in searches)
        release.set()
        assert [hits[0].key for hits in await asyncio.gather(*searches)] == KEYS[:10]
        return ticks

    assert asyncio.run(ask()) == 200


def test_the_loop_keeps_its_pace_beside_searches(store: EmbeddingStore) -> None:
    """Ticks of the loop between the beginning and the end of real searches: many, not none."""

    async def ask() -> int:
        search = asyncio.create_task(store.aio.search_many(np.tile(ROWS, (2, 1)), 50))
        ticks = 0
        while not search.done():
            await asyncio.sleep(0)
            ticks += 1
        assert len(await search) == 400
        return ticks

    assert asyncio.run(ask()) > 20


def test_a_cancelled_call_harms_no_other(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = held(store, monkeypatch)

    async def ask() -> None:
        begun = [asyncio.create_task(store.aio.search(row)) for row in ROWS[:12]]
        await asyncio.sleep(0)
        for task in (begun[0], begun[11]):  # one in a thread, one that waits for a thread
            task.cancel()
        release.set()
        done = await asyncio.gather(*begun, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert isinstance(done[11], asyncio.CancelledError)
        assert [hits[0].key for hits in done[1:11]] == KEYS[1:11]  # type: ignore[index]
        assert (await store.aio.search(ROWS[0], 1))[0].key == "000"

    asyncio.run(ask())


def test_a_cancelled_write_is_whole_or_not_done(store: EmbeddingStore) -> None:
    async def ask() -> None:
        for turn in range(20):
            keys = [f"c{turn}-{place}" for place in range(5)]
            task = asyncio.create_task(store.aio.put_many(keys, ROWS[:5]))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(ask())
    store.aio.close()  # waits for what still runs
    for turn in range(20):
        assert sum(f"c{turn}-{place}" in store for place in range(5)) in (0, 5)


def test_close_waits_for_calls_under_way(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = held(store, monkeypatch)

    async def ask() -> None:
        searches = [asyncio.create_task(store.aio.search(row)) for row in ROWS[:9]]
        await asyncio.sleep(0)
        closing = asyncio.get_running_loop().run_in_executor(None, store.close)
        while not store.aio._is_closed:
            await asyncio.sleep(0)
        assert not closing.done()
        with pytest.raises(ClosedError):
            await store.aio.search(ROWS[0])
        release.set()
        assert [hits[0].key for hits in await asyncio.gather(*searches)] == KEYS[:9]
        await closing

    asyncio.run(ask())
    assert not threads()


def test_close_on_the_loop_itself(store: EmbeddingStore) -> None:
    async def ask() -> None:
        searches = [asyncio.create_task(store.aio.search(row)) for row in ROWS[:9]]
        await asyncio.sleep(0)
        store.close()
        assert [hits[0].key for hits in await asyncio.gather(*searches)] == KEYS[:9]

    asyncio.run(ask())
    assert not threads()


def test_after_close_there_are_no_threads_and_the_error_says_so(store: EmbeddingStore) -> None:
    asyncio.run(_get(store, "000"))
    assert threads()
    store.close()
    store.close()
    for _ in range(2):
        with pytest.raises(ClosedError) as caught:
            asyncio.run(_get(store, "000"))
        assert caught.value.kind is ErrorKind.CLOSED
        assert not threads()


def test_many_calls_take_few_threads(store: EmbeddingStore) -> None:
    async def ask() -> None:
        found = await asyncio.gather(*(store.aio.search(row, 1) for row in ROWS))
        assert [hits[0].key for hits in found] == KEYS

    asyncio.run(ask())
    assert 0 < threads() <= 4


def test_loops_one_after_the_other_and_at_once(store: EmbeddingStore) -> None:
    async def ask(place: int) -> str:
        hits = await store.aio.search(ROWS[place], 1)
        return hits[0].key

    assert [asyncio.run(ask(place)) for place in range(3)] == KEYS[:3]
    found: dict[int, str] = {}

    def in_a_thread(place: int) -> None:
        found[place] = asyncio.run(ask(place))

    workers = [threading.Thread(target=in_a_thread, args=(place,)) for place in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == dict(enumerate(KEYS[:6]))


def test_a_forked_child_has_threads_of_its_own(store: EmbeddingStore) -> None:
    """Also where the parent was about to begin a call, its lock taken."""
    asyncio.run(_get(store, "000"))
    with store.aio._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads run: that is the point
        child = os.fork()
        if not child:
            status = 1
            try:
                hits = asyncio.run(store.aio.search(ROWS[5], 1))
                store.close()
                status = 0 if hits[0].key == "005" and not threads() else 2
            finally:
                os._exit(status)
    until = time.monotonic() + 60
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() > until:
            break
        time.sleep(0.01)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done
    assert status == 0
    assert asyncio.run(_get(store, "001")).tobytes() == ROWS[1].tobytes()


def test_no_thread_before_the_first_call(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST):
        assert not threads()


def test_a_store_that_nobody_keeps_is_closed(tmp_path: Path) -> None:
    aio = EmbeddingStore.open(tmp_path, FAST).aio
    gc.collect()

    async def ask() -> None:
        await aio.get("000")

    with pytest.raises(ClosedError, match="keep it"):
        asyncio.run(ask())
    aio.close()
