"""Risk: a batch loses a text, pays twice, runs away, or drops what was paid for when one fails."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fixtures.titan.answers import Answer, Answers, EmulatedTitan
from fixtures.titan.requests import TitanError
from fixtures.titan.responder import TitanResponder
from suites.tests.client.conftest import V1, V2, Scripted, ask
from titanstore import EmbeddingStore, InvalidInputError
from titanstore.clients.bedrock import wrap

TEXTS = [f"text {place}" for place in range(10)]


class Refusing:
    """Titan that denies some texts."""

    def __init__(self, inner: EmulatedTitan, denied: set[str]) -> None:
        self.denied = denied
        self.asked: list[str] = []
        self._inner = inner
        self._lock = threading.Lock()

    def answer(self, model_id: str, body: bytes) -> Answer:
        text = json.loads(body)["inputText"]
        with self._lock:
            self.asked.append(text)
        if text in self.denied:
            raise TitanError("AccessDeniedException", "no")
        return self._inner.answer(model_id, body)


@pytest.mark.parametrize("parallel", [1, 3, 32])
def test_a_batch_is_what_single_calls_give(
    parallel: int, client: Any, titan: TitanResponder
) -> None:
    embed = client.titan.embedder(V2, dimensions=256)
    told: list[tuple[int, int]] = []
    embed.embed(TEXTS[3])
    listed = [*TEXTS, TEXTS[0], TEXTS[3]]
    rows = embed.embed_many(listed, parallel=parallel, progress=lambda *at: told.append(at))
    assert titan.calls == 10
    assert rows.shape == (12, 256)
    assert rows.dtype == np.float32
    assert rows.flags.writeable
    assert told == [(done, 10) for done in range(1, 11)]
    for text, row in zip(listed, rows, strict=True):
        assert np.array_equal(row.view(np.uint32), embed.embed(text).view(np.uint32))
    lists = embed.floats_many(listed, parallel=parallel)
    assert lists[0] == lists[10]
    assert lists[0] is not lists[10]
    for text, floats in zip(listed, lists, strict=True):
        wanted = json.loads(ask(client, text, dimensions=256))["embedding"]
        assert (
            list(map(repr, floats))
            == list(map(repr, wanted))
            == list(map(repr, embed.floats(text)))
        )
    assert titan.calls == 10


def test_texts_that_can_be_gone_through_once_lose_none(client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V2, dimensions=256)
    rows = embed.embed_many(iter(TEXTS[:3]))
    assert rows.tolist() == embed.floats_many(iter(TEXTS[:3]))
    assert rows.shape == (3, 256)
    assert titan.calls == 3


def test_no_texts_are_no_calls(client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V2)
    assert embed.embed_many([]).shape == (0, 1024)
    assert embed.floats_many([]) == []
    assert embed.warm([]).is_complete
    assert titan.calls == 0


def test_the_first_error_ends_a_batch_and_what_was_paid_for_is_kept(
    client: Any, emulated: EmulatedTitan, answering: Callable[[Answers], None]
) -> None:
    refusing = Refusing(emulated, {TEXTS[4]})
    answering(refusing)
    embed = client.titan.embedder(V1)
    with pytest.raises(client.exceptions.AccessDeniedException):
        embed.embed_many(TEXTS, parallel=2)
    # those under way were waited for
    assert not [one for one in threading.enumerate() if one.name.startswith("titanstore-batch")]
    begun = len(refusing.asked)
    assert 5 <= begun < 10
    assert client.titan.counters.kept == begun - 1
    refusing.denied.clear()
    embed.embed_many(TEXTS, parallel=2)
    assert len(refusing.asked) == begun + 10 - (begun - 1)


def test_an_answer_without_a_vector_ends_a_batch(
    client: Any, answering: Callable[[Answers], None], store: EmbeddingStore
) -> None:
    answering(Scripted(b"{}"))
    with pytest.raises(Exception, match="without a vector"):
        client.titan.embedder(V1).embed_many(TEXTS)
    assert len(store) == 0


def test_an_empty_text_is_refused_before_anything_is_paid_for(
    client: Any, titan: TitanResponder
) -> None:
    with pytest.raises(InvalidInputError):
        client.titan.embedder(V1).embed_many(["fine", ""])
    assert titan.calls == 0


def test_warming_goes_on_after_errors_and_tells_them(
    client: Any, emulated: EmulatedTitan, answering: Callable[[Answers], None]
) -> None:
    refusing = Refusing(emulated, {TEXTS[1], TEXTS[2]})
    answering(refusing)
    embed = client.titan.embedder(V1)
    embed.embed(TEXTS[0])
    told: list[int] = []
    report = embed.warm([*TEXTS, ""], parallel=3, progress=told.append)
    assert (report.present, report.embedded) == (1, 7)
    assert report.failed == {"AccessDeniedException": 2, "InvalidInputError": 1}
    assert not report.is_complete
    assert told == list(range(1, 12))
    refusing.denied.clear()
    again = embed.warm(TEXTS)
    assert (again.present, again.embedded, again.failed) == (8, 2, {})


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_text_that_is_none_is_an_error_and_no_end(
    parallel: int, client: Any, titan: TitanResponder
) -> None:
    texts: list[Any] = [None, TEXTS[0], None, TEXTS[1], 5]
    report = client.titan.embedder(V2, dimensions=256).warm(texts, parallel=parallel)
    assert (report.embedded, report.failed) == (2, {"InvalidInputError": 3})
    assert titan.calls == 2


def test_warming_a_store_that_keeps_nothing_is_not_complete(
    client: Any, plain: Any, store: EmbeddingStore
) -> None:
    client.titan.embedder(V1).embed(TEXTS[0])
    with EmbeddingStore.open(store.path, read_only=True) as reader:
        other = wrap(plain, reader)
        report = other.titan.embedder(V1).warm(TEXTS[:3])
        other.titan.close()
    assert (report.present, report.embedded, report.failed) == (1, 0, {"not_kept": 2})
    assert not report.is_complete


def test_warming_reads_only_a_little_ahead(
    client: Any, emulated: EmulatedTitan, answering: Callable[[Answers], None]
) -> None:
    """From a source without an end: memory is bounded, and it can be stopped."""
    answering(Refusing(emulated, set()))
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for place in itertools.count():
            taken += 1
            yield f"text {place}"

    class EnoughError(Exception):
        pass

    def enough(done: int) -> None:
        assert taken <= done + 4
        if done == 9:
            raise EnoughError

    with pytest.raises(EnoughError):
        client.titan.embedder(V2, dimensions=256).warm(endless(), parallel=3, progress=enough)
    assert client.titan.counters.kept == client.titan.counters.calls


def test_a_batch_past_the_cache_calls_for_all(client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V2, dimensions=256)
    first = embed.embed_many(TEXTS)
    with client.titan.past_cache():
        again = embed.embed_many(TEXTS)
        assert embed.warm(TEXTS[:2]).embedded == 2
    assert np.array_equal(first, again)
    assert titan.calls == 22
    assert client.titan.counters.past == 12


def test_warming_pays_nothing_for_vectors_that_are_enough(
    client: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    embed = client.titan.embedder(V2, dimensions=256)
    for place in range(4):  # as a migration leaves them
        store.put(embed.key(TEXTS[place]), np.full(256, place, np.float32))
    done = embed.warm(TEXTS[:6], vectors_only=True)
    assert (done.present, done.embedded, titan.calls) == (4, 2, 2)
    assert embed.embed(TEXTS[3])[0] == 3
    assert embed.floats(TEXTS[3])[0] == 3.0
    assert titan.calls == 2
    assert not embed.has(TEXTS[3])
    assert embed.warm(TEXTS[:6]).embedded == 4  # whole answers: those are called for


def test_a_vector_that_the_store_has_from_elsewhere_is_a_hit(
    client: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    """Put by a migration, say: there is no body, so `invoke_model` asks, and `embed` does not."""
    embed = client.titan.embedder(V1)
    vector = np.linspace(-1, 1, 1536, dtype=np.float32)
    store.put(embed.key("moved here"), vector)
    assert np.array_equal(embed.embed("moved here"), vector)
    assert embed.floats("moved here") == vector.astype(np.float64).tolist()
    assert titan.calls == 0
    assert ask(client, "moved here", V1)
    assert titan.calls == 1
    store.put(embed.key("of another size"), vector[:8].copy())
    assert embed.embed("of another size").size == 1536
