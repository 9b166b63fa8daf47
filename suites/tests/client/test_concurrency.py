"""Risk: the same text is paid for twice, an error is kept, a fork hangs, a count is lost."""

from __future__ import annotations

import gc
import io
import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from fixtures.titan.answers import Answer, EmulatedTitan
from fixtures.titan.requests import TitanError
from fixtures.titan.responder import ResponderOptions, TitanResponder, bedrock_client
from suites.tests.client.conftest import V1, V2, ask
from titanstore import EmbeddingStore
from titanstore.catalog import environment
from titanstore.clients.bedrock import wrap

THREADS = 8


class Held:
    """Titan that answers only when it is let go."""

    def __init__(self, inner: EmulatedTitan, error: TitanError | None = None) -> None:
        self.arrived = threading.Semaphore(0)
        self.go = threading.Event()
        self._inner, self._error = inner, error

    def answer(self, model_id: str, body: bytes) -> Answer:
        self.arrived.release()
        assert self.go.wait(30)
        if self._error is not None:
            raise self._error
        return self._inner.answer(model_id, body)


@pytest.fixture
def held(emulated: EmulatedTitan) -> Held:
    return Held(emulated)


@pytest.fixture
def held_client(held: Held, store: EmbeddingStore) -> Iterator[tuple[Any, TitanResponder]]:
    with TitanResponder(answers=held) as titan, mock_aws():
        yield wrap(bedrock_client(attempts=1), store), titan


def waiting(client: Any, count: int) -> bool:
    """Until so many threads wait for the call of another."""
    deadline = time.monotonic() + 30
    flights = client.titan._calls._flights._under_way
    while time.monotonic() < deadline:
        for flight, _ in list(flights.values()):
            if len(flight._condition._waiters) >= count:
                return True
        time.sleep(0.01)
    return False


def test_identical_requests_make_one_call(
    held_client: tuple[Any, TitanResponder], held: Held
) -> None:
    client, titan = held_client
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(ask, client, "same") for _ in range(THREADS)]
        assert waiting(client, THREADS - 1)
        held.go.set()
        bodies = [future.result() for future in futures]
    assert titan.calls == 1
    assert set(bodies) == {ask(client, "same")}
    counted = client.titan.counters
    assert (counted.calls, counted.shared, counted.hits) == (1, THREADS - 1, 1)
    assert counted.tokens_saved == THREADS * counted.tokens_spent


def test_an_error_goes_to_all_who_wait_and_to_nobody_later(
    emulated: EmulatedTitan, store: EmbeddingStore
) -> None:
    held = Held(emulated, TitanError("AccessDeniedException", "not yours"))
    with TitanResponder(answers=held) as titan, mock_aws():
        client = wrap(bedrock_client(attempts=1), store)
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(ask, client, "same") for _ in range(THREADS)]
            assert waiting(client, THREADS - 1)
            held.go.set()
            errors = [future.exception() for future in futures]
        assert {type(error) for error in errors} == {client.exceptions.AccessDeniedException}
        assert len({str(error) for error in errors}) == 1
        for error in errors:
            assert isinstance(error, ClientError)
            assert error.response["Error"]["Code"] == "AccessDeniedException"
            assert error.operation_name == "InvokeModel"
        # a traceback, and what is added to an error, is one thread's
        assert len({id(error) for error in errors}) == THREADS
        lengths = {len(traceback.extract_tb(error.__traceback__)) for error in errors if error}
        assert len(lengths) <= 2  # of who called, and of who waited
        assert titan.calls == 1
        titan._answers = emulated
        assert ask(client, "same")
        assert titan.calls == 2


MINE = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"


def test_names_of_one_model_do_not_share_an_error(
    plain: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not call a model by its ARN may call it by its id."""
    invoke = plain.invoke_model
    arrived, go = threading.Event(), threading.Event()

    class DeniedError(Exception):
        pass

    def may_not(**arguments: Any) -> Any:
        if arguments["modelId"] != MINE:
            return invoke(**arguments)
        arrived.set()
        assert go.wait(30)
        raise DeniedError

    monkeypatch.setattr(plain, "invoke_model", may_not, raising=False)
    client = wrap(plain, store, models={MINE: V1})
    with ThreadPoolExecutor(2) as pool:
        denied = pool.submit(ask, client, "same", MINE)
        assert arrived.wait(30)
        allowed = pool.submit(ask, client, "same", V1)
        try:
            assert allowed.result(30)
        finally:
            go.set()
        assert isinstance(denied.exception(30), DeniedError)
    client.titan.close()


def test_a_response_of_a_shape_nobody_knows_is_no_ones_but_its_callers(
    plain: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream can be read once: whoever waited for it calls for one of his own."""
    go = threading.Event()
    made = itertools.count()

    def strange(**_: Any) -> Any:
        next(made)
        assert go.wait(30)
        return {"body": io.BytesIO(b"read once")}

    monkeypatch.setattr(plain, "invoke_model", strange, raising=False)
    client = wrap(plain, store)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(ask, client, "same") for _ in range(THREADS)]
        assert waiting(client, THREADS - 1)
        go.set()
        assert [future.result(30) for future in futures] == [b"read once"] * THREADS
    assert next(made) == THREADS
    counted = client.titan.counters
    assert (counted.calls, counted.refused, counted.shared) == (THREADS, THREADS, 0)


def test_different_texts_do_not_wait(held_client: tuple[Any, TitanResponder], held: Held) -> None:
    client, _ = held_client
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(ask, client, f"text {place}") for place in range(THREADS)]
        for _ in range(THREADS):
            assert held.arrived.acquire(timeout=30)
        held.go.set()
        assert len({future.result() for future in futures}) == THREADS
    assert client.titan.counters.kept == THREADS


def test_many_threads_pay_for_each_text_once(client: Any, titan: TitanResponder) -> None:
    texts = [f"text {place % 20}" for place in range(200)]
    embed = client.titan.embedder(V1)
    calls: list[Callable[[str], Any]] = [embed.embed, lambda text: ask(client, text, V1)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda at: calls[at[0] % 2](at[1]), enumerate(texts)))
    assert titan.calls == 20
    counted = client.titan.counters
    assert counted.hits + counted.shared + counted.calls == 200
    assert counted.calls == counted.kept == 20


def in_child(child: Callable[[], None]) -> int:
    """Exit status of a forked child; 99 if it hangs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 99


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_answers_and_calls_for_itself(
    emulated: EmulatedTitan, store: EmbeddingStore
) -> None:
    """Forked while another thread is in the middle of a call for the same text."""
    held = Held(emulated)
    with TitanResponder(answers=held) as titan, mock_aws():
        client = wrap(bedrock_client(attempts=1), store)
        held.go.set()
        wanted = ask(client, "kept", V1)
        vector = client.titan.embedder(V1).embed("kept")
        held.go.clear()
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(ask, client, "under way", V1)
            assert held.arrived.acquire(timeout=30)
            assert held.arrived.acquire(timeout=30)

            def child() -> None:
                assert ask(client, "kept", V1) == wanted
                found = client.titan.embedder(V1).embed("kept")
                assert np.array_equal(found.view(np.uint32), vector.view(np.uint32))
                titan._answers = emulated
                titan._lock = threading.Lock()
                assert ask(client, "under way", V1)
                counted = client.titan.counters
                assert (counted.not_kept, counted.store_failures) == (1, 0)

            assert in_child(child) == 0
            held.go.set()
            assert under_way.result(30)
        assert ask(client, "after", V1)
        assert client.titan.counters.kept == 3


def test_past_the_cache_holds_for_its_thread_alone(client: Any, titan: TitanResponder) -> None:
    ask(client)
    with client.titan.past_cache():
        ask(client)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask, client).result()
    assert titan.calls == 2
    assert client.titan.counters.past == 1
    ask(client)
    assert titan.calls == 2


def test_a_client_that_is_dropped_takes_no_lock(
    plain: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    """The collector runs at any moment, also where this thread holds the lock of environments."""

    def drop() -> None:
        client = wrap(plain, store)
        ask(client)
        with environment._lock:
            del client
            gc.collect()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_latency_of_the_service_is_shared_not_added(
    emulated: EmulatedTitan, store: EmbeddingStore
) -> None:
    """A batch has its calls under way together: seen by the calls, not by a clock."""
    most = 0
    now = 0
    lock, met = threading.Lock(), threading.Event()

    def sleep(_: float) -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            if now > 1:
                met.set()
        met.wait(60)  # the first one for a second one, however late that gets its turn
        met.set()
        time.sleep(0.01)
        with lock:
            now -= 1

    options = ResponderOptions(latency_s=0.05)
    with TitanResponder(options, emulated, sleep=sleep) as titan, mock_aws():
        embed = wrap(bedrock_client(), store).titan.embedder(V2, dimensions=256)
        rows = embed.embed_many([f"text {place % 12}" for place in range(24)], parallel=4)
    assert rows.shape == (24, 256)
    assert np.array_equal(rows[:12], rows[12:])
    assert titan.calls == 12
    assert 2 <= most <= 4
