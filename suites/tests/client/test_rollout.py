"""Risk: a rollout answers what it should not, hides a wrong answer, or cannot be taken back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.exceptions
import numpy as np
import pytest

from fixtures.titan.answers import Answers
from fixtures.titan.responder import TitanResponder
from suites.tests.client.conftest import V2, Scripted, ask, body_of
from titanstore import EmbeddingStore, StoreConfig, load_config
from titanstore.clients.bedrock import wrap
from titanstore.clients.langchain import TitanEmbeddings
from titanstore.rollout import is_rolled_out

TEXTS = [f"a chunk of text, number {number}" for number in range(12)]


@contextmanager
def wrapped(plain: Any, folder: Path, *, read_only: bool = False, **settings: Any) -> Iterator[Any]:
    """A client on a store with these settings; `client.titan` and its `store` are closed after."""
    with EmbeddingStore.open(folder, StoreConfig(**settings), read_only=read_only) as store:
        client = wrap(plain, store)
        client.titan.store = store
        yield client
        client.titan.close()


def inside(client: Any, percent: float) -> set[str]:
    """Texts that a rollout of so many percent answers from the store."""
    keys = {text: client.titan.key(modelId=V2, body=body_of(text)) for text in TEXTS}
    return {text for text, key in keys.items() if is_rolled_out(key, percent)}


def test_the_share_is_answered_and_the_rest_is_called_and_compared(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=40) as client:
        chosen = inside(client, 40)
        assert 0 < len(chosen) < len(TEXTS)
        first = [ask(client, text) for text in TEXTS]
        calls = titan.calls
        assert calls == len(TEXTS)
        assert [ask(client, text) for text in TEXTS] == first
        rest = len(TEXTS) - len(chosen)
        assert titan.calls == calls + rest
        counted = client.titan.counters
        assert counted.hits == len(chosen)
        assert counted.outside == 2 * rest
        assert (counted.compared, counted.shadow_mismatches) == (rest, 0)
        assert counted.kept == len(TEXTS)  # what agreed was not written again
    assert first == [ask(plain, text) for text in TEXTS]


def test_a_larger_share_goes_on_with_what_the_shadow_kept(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    served: list[set[str]] = []
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        wanted = {text: ask(client, text) for text in TEXTS}
    for percent in (0, 20, 60, 100):
        with wrapped(plain, tmp_path / "s", rollout_percent=percent) as client:
            served.append(set())
            for text in TEXTS:
                before = titan.calls
                assert ask(client, text) == wanted[text]
                if titan.calls == before:
                    served[-1].add(text)
            assert served[-1] == inside(client, percent)
            assert client.titan.counters.shadow_mismatches == 0
            assert client.titan.counters.kept == 0
    assert served[0] == set()
    assert served[0] <= served[1] < served[2] < served[3] == set(TEXTS)


def test_every_door_goes_by_it(plain: Any, titan: TitanResponder, tmp_path: Path) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        embedder = client.titan.embedder(V2)
        langchain = TitanEmbeddings(client, V2)
        doors: dict[str, Callable[[str], Any]] = {
            "invoke_model": lambda text: json.loads(ask(client, text))["embedding"],
            "embed": lambda text: embedder.embed(text).tolist(),
            "embed_many": lambda text: embedder.embed_many([text])[0].tolist(),
            "floats": embedder.floats,
            "floats_many": lambda text: embedder.floats_many([text])[0],
            "aio": lambda text: asyncio.run(client.titan.aio.embed(embedder, text)).tolist(),
            "LangChain": langchain.embed_query,
        }
        wanted = np.array(json.loads(ask(plain))["embedding"], np.float32)
        for _ in range(2):
            for name, door in doors.items():
                before = titan.calls
                assert np.array_equal(np.array(door("hello"), np.float32), wanted), name
                assert titan.calls == before + 1, name
        counted = client.titan.counters
        assert (counted.outside, counted.compared) == (2 * len(doors), 2 * len(doors) - 1)
        assert (counted.hits, counted.shared, counted.shadow_mismatches) == (0, 0, 0)


def test_without_a_shadow_the_store_is_not_touched(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0, shadow=False) as client:
        wanted = ask(plain)
        assert [ask(client), ask(client)] == [wanted] * 2
        assert client.titan.embedder(V2).embed("hello").size == 1024
        assert len(client.titan.store) == 0
        assert not (tmp_path / "s" / "answers").exists()
        assert client.titan.counters.outside == client.titan.counters.calls == 3
        assert client.titan.counters.compared == 0
    with wrapped(plain, tmp_path / "s") as client:
        ask(client)
        (segment,) = (tmp_path / "s" / "segments").glob("*.seg")
    segment.write_bytes(b"damaged")  # not even that is seen
    with wrapped(plain, tmp_path / "s", read_only=True, rollout_percent=0, shadow=False) as client:
        assert ask(client) == wanted
        assert client.titan.counters.store_failures == 0


# ---------------------------------------------------------------- a store that is wrong


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "shadow" in record.getMessage()]


def test_another_vector_in_the_store_is_counted_logged_and_replaced(
    plain: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`embed` would have returned it: a vector has no checksum of Titan's answer."""
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        store = client.titan.store
        wanted = ask(client)
        key = client.titan.key(modelId=V2, body=body_of())
        right = store.get(key)
        wrong = right.copy()
        wrong[7] = np.nextafter(wrong[7], np.float32(1))  # one bit
        store.put(key, wrong)
        assert ask(client) == wanted
        counted = client.titan.counters
        assert (counted.compared, counted.shadow_mismatches) == (1, 1)
        (line,) = logged(caplog)
        assert f"key {key}: 1 of 1024 values, by at most " in line
        assert "hello" not in line
        assert store.get(key).tobytes() == right.tobytes()
        assert ask(client) == wanted
        assert client.titan.counters.shadow_mismatches == 1
        assert client.titan.counters.compared == 2


def test_the_answer_to_another_text_is_a_mismatch(
    plain: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, checked, and wrong: body and vector of another text under this key."""
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        wanted, other = ask(client, "hello"), ask(client, "goodbye")
        keys = [client.titan.key(modelId=V2, body=body_of(t)) for t in ("hello", "goodbye")]
        answers = client.titan._cache.answers
        record = answers.get(keys[1])
        assert record is not None
        answers.put_many({keys[0]: record})
        client.titan.store.put(keys[0], client.titan.store.get(keys[1]))
        with wrapped(plain, tmp_path / "s", read_only=True) as trusting:
            assert ask(trusting) == other  # what a full rollout would have given
        assert ask(client) == wanted
        assert client.titan.counters.shadow_mismatches == 1
        (line,) = logged(caplog)
        assert re.search(r"key [0-9a-f]{32}: \d+ of 1024 values, .*; bodies of \d+ and \d+ b", line)
        with wrapped(plain, tmp_path / "s", read_only=True) as trusting:
            assert ask(trusting) == wanted


def test_damage_on_the_disk_is_no_answer_and_no_mismatch(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        wanted = ask(client)
    (path,) = (tmp_path / "s" / "segments").glob("*.seg")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        assert ask(client) == wanted
        counted = client.titan.counters
        assert counted.store_failures >= 1
        assert (counted.compared, counted.shadow_mismatches, counted.kept) == (0, 0, 1)
        assert ask(client) == wanted  # mended by that answer
        assert (client.titan.counters.compared, client.titan.counters.kept) == (1, 1)
        assert client.titan.store.check().is_clean
    assert titan.calls == 3


def test_a_model_that_never_answers_twice_the_same_fills_no_log(
    plain: Any,
    tmp_path: Path,
    answering: Callable[[Answers], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("titanstore.clients.bedrock.shadow._LOGGED_MAX", 3)
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        for turn in range(8):
            body = json.dumps({"embedding": [0.5 + turn] * 1024, "inputTextTokenCount": 1})
            answering(Scripted(body.encode()))
            assert ask(client) == body.encode()
        assert client.titan.counters.shadow_mismatches == 7
        assert len(logged(caplog)) == 3
        assert logged(caplog)[-1].endswith("further ones are only counted")


def test_an_answer_without_a_vector_is_not_compared(
    plain: Any, tmp_path: Path, answering: Callable[[Answers], None]
) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        ask(client)
        answering(Scripted(b"{}"))
        assert ask(client) == b"{}"
        counted = client.titan.counters
        assert (counted.refused, counted.compared, counted.shadow_mismatches) == (1, 0, 0)


def test_errors_stay_botocores(plain: Any, titan: TitanResponder, tmp_path: Path) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        for asked in (plain, client):
            with pytest.raises(botocore.exceptions.ClientError) as found:
                ask(asked, dimensions=300)
            assert "ValidationException" in str(found.value)
        assert (client.titan.counters.calls, len(client.titan.store)) == (0, 0)


def test_a_reader_compares_and_keeps_nothing(plain: Any, tmp_path: Path) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as client:
        ask(client)
        with wrapped(plain, tmp_path / "s", read_only=True, rollout_percent=0) as reader:
            ask(reader)
            ask(reader, "new")
            counted = reader.titan.counters
            assert (counted.compared, counted.shadow_mismatches, counted.not_kept) == (1, 0, 1)


def test_warming_and_moving_are_for_the_store(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    """They fill it before a rollout begins, also where nothing else may touch it."""
    with wrapped(plain, tmp_path / "s", rollout_percent=0, shadow=False) as client:
        old, new = (client.titan.embedder(V2, dimensions=size) for size in (256, 512))
        assert old.warm(TEXTS).embedded == len(TEXTS)
        assert old.warm(TEXTS).present == len(TEXTS)
        assert titan.calls == len(TEXTS)
        moved = client.titan.move(TEXTS, old, new)
        assert (moved.warmed.is_complete, moved.removed) == (True, len(TEXTS))
        assert titan.calls == 2 * len(TEXTS)
        assert client.titan.counters.outside == 0


def test_past_cache_is_not_the_rollouts(plain: Any, tmp_path: Path) -> None:
    with wrapped(plain, tmp_path / "s", rollout_percent=0) as off:
        for _ in range(2):
            with off.titan.past_cache():
                ask(off)
        counted = off.titan.counters
        assert (counted.past, counted.outside, counted.compared) == (2, 0, 0)


# ---------------------------------------------------------------- fallback


def test_fallback_by_one_variable_and_back(
    plain: Any, titan: TitanResponder, tmp_path: Path
) -> None:
    """The same folder and answers; what is written meanwhile is larger, and stays whole."""
    folder = tmp_path / "s"
    bodies: dict[str, bytes] = {}
    sizes = []
    for texts, environment in (
        (TEXTS[:4], {}),
        (TEXTS[4:8], {"TITANSTORE_FALLBACK": "1"}),
        (TEXTS[8:], {}),
    ):
        config = load_config(environment=environment)
        with EmbeddingStore.open(folder, config) as store:
            client = wrap(plain, store)
            before = store.stats()
            for text in texts:
                bodies[text] = ask(client, text)
            grown = store.stats().segment_bytes - before.segment_bytes
            sizes.append(grown / len(texts))
            calls = titan.calls
            for _ in range(2):
                assert {text: ask(client, text) for text in bodies} == bodies
            assert titan.calls == calls
            found = store.search(store.get(client.titan.key(modelId=V2, body=body_of(TEXTS[0]))), 1)
            assert found[0].key == client.titan.key(modelId=V2, body=body_of(TEXTS[0]))
            after = store.stats()
            assert (after.hot_rows == after.warm_frames == 0) is bool(environment)
            assert store.check().is_clean
            client.titan.close()
    assert sizes[1] > 4 * 1024 > sizes[0]
    assert sizes[2] < 4 * 1024
    assert bodies == {text: ask(plain, text) for text in TEXTS}
