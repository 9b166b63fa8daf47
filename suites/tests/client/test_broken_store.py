"""Risk: a failing store fails its caller, answers wrongly, floods the log or tells a secret."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.titan.answers import Answers
from fixtures.titan.responder import TitanResponder
from suites.tests.client.conftest import V1, V2, Scripted, ask, body_of
from titanstore import (
    AnswerError,
    EmbeddingStore,
    ErrorKind,
    InvalidInputError,
    StorageError,
    StoreConfig,
)
from titanstore.clients.bedrock import wrap
from titanstore.clients.bedrock.answers import Answers as KeptAnswers
from titanstore.clients.bedrock.records import AnswerRecord
from titanstore.errors import ReadOnlyError

SECRET = "the patient's name is Hildegard"


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "titanstore" in record.name]


def test_a_read_only_store_answers_and_keeps_nothing(
    client: Any, plain: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    wanted = ask(client, "kept")
    with EmbeddingStore.open(store.path, read_only=True) as reader:
        other = wrap(plain, reader)
        assert ask(other, "kept") == wanted
        assert [ask(other, "new"), ask(other, "new")] == [ask(plain, "new")] * 2
        counted = other.titan.counters
        assert (counted.hits, counted.calls, counted.not_kept) == (1, 2, 2)
        assert counted.store_failures == 0
        with pytest.raises(ReadOnlyError):
            other.titan.prune(model=V2)
        ask(client, "later")  # written by another object meanwhile
        before = titan.calls
        ask(other, "later")
        assert titan.calls == before
        other.titan.close()


def test_a_reader_finds_answers_that_came_after_it(
    plain: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    with EmbeddingStore.open(store.path, read_only=True) as reader:
        other = wrap(plain, reader)
        ask(other, "first")  # there is no folder of answers yet
        wanted = ask(wrap(plain, store), "first")
        before = titan.calls
        assert ask(other, "first") == wanted
        assert titan.calls == before


def test_a_closed_store_is_passed_over(
    client: Any, store: EmbeddingStore, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = ask(client)
    store.close()
    for _ in range(3):
        assert ask(client) == wanted
    assert client.titan.counters.store_failures >= 3
    assert len(logged(caplog)) == 1
    assert "closed" in logged(caplog)[0]


def test_a_closed_client_calls(client: Any, titan: TitanResponder) -> None:
    wanted = ask(client)
    client.titan.close()
    client.titan.close()
    assert ask(client) == wanted
    assert titan.calls == 2


def test_a_failing_disk_is_passed_over(
    client: Any,
    store: EmbeddingStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("no space", ErrorKind.DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_many", full)
        for place in range(3):
            assert ask(client, f"text {place}")
    counted = client.titan.counters
    assert (counted.not_kept, counted.store_failures, counted.kept) == (3, 3, 0)
    assert [line for line in logged(caplog) if "disk-full" in line] == logged(caplog)
    assert len(logged(caplog)) == 1
    ask(client, "text 0")
    assert client.titan.counters.kept == 1


def test_a_vector_that_the_store_refuses_spoils_no_other(
    plain: Any, tmp_path: Path, titan: TitanResponder
) -> None:
    with EmbeddingStore.open(tmp_path / "narrow", StoreConfig(dimension=256)) as store:
        client = wrap(plain, store)
        assert len(json.loads(ask(client))["embedding"]) == 1024
        ask(client, dimensions=256)
        ask(client, dimensions=256)
        counted = client.titan.counters
        assert (counted.not_kept, counted.kept, counted.hits) == (1, 1, 1)
        client.titan.close()


def answers_of(client: Any) -> KeptAnswers:
    found: KeptAnswers = client.titan._cache.answers
    return found


@pytest.mark.parametrize("place", range(0, 24, 3))
def test_a_damaged_record_is_asked_for_again(
    place: int, client: Any, titan: TitanResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ask(client)
    key = client.titan.key(modelId=V2, body=body_of())
    answers = answers_of(client)
    record = answers.get(key)
    assert record is not None
    broken = bytearray(record.to_bytes())
    broken[place] ^= 1
    with monkeypatch.context() as patch:
        patch.setattr(AnswerRecord, "to_bytes", lambda _: bytes(broken))
        answers.put_many({key: record})
    assert ask(client) == wanted
    assert titan.calls == 2
    assert client.titan.counters.store_failures >= 1
    assert ask(client) == wanted  # mended by the second answer
    assert titan.calls == 2


OTHERS: dict[str, Callable[[int], Any]] = {
    "another vector": lambda size: np.ones(size, np.float32),
    "another dimension": lambda size: np.ones(8, np.float32),
    "not a number": lambda size: np.full(size, np.nan, np.float32),
    "infinity": lambda size: np.full(size, np.inf, np.float32),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_vector_put_by_somebody_else_is_no_answer(
    what: str, client: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    wanted = ask(client)
    key = client.titan.key(modelId=V2, body=body_of())
    store.put(key, OTHERS[what](1024))
    assert ask(client) == wanted
    assert (titan.calls, client.titan.counters.mismatches) == (2, 1)
    assert ask(client) == wanted
    assert titan.calls == 2


def test_a_deleted_vector_and_a_rollback_are_misses(
    client: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    before = store.snapshot("before")
    wanted = ask(client)
    store.rollback(before)
    assert ask(client) == wanted
    assert titan.calls == 2
    store.delete([client.titan.key(modelId=V2, body=body_of())])
    assert ask(client) == wanted
    assert titan.calls == 3


def test_the_folder_of_answers_may_be_deleted(
    client: Any, plain: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    wanted = ask(client)
    client.titan.close()
    for file in (store.path / "answers").iterdir():
        file.unlink()
    (store.path / "answers").rmdir()
    again = wrap(plain, store)
    assert [ask(again), ask(again)] == [wanted] * 2
    assert titan.calls == 2
    assert store.check().is_clean


def test_garbage_in_place_of_the_answers_is_passed_over(
    client: Any, plain: Any, store: EmbeddingStore, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = ask(client)
    client.titan.close()
    (store.path / "answers" / "data.mdb").write_bytes(b"garbage" * 5_000)
    again = wrap(plain, store)
    for _ in range(3):
        assert ask(again) == wanted
    assert again.titan.counters.store_failures >= 3
    assert len(logged(caplog)) == 1
    assert "bad-answers" in logged(caplog)[0]


SHORTEST = json.dumps({"embedding": [0.41210938, -0.0123456] * 512}).encode()


@pytest.mark.parametrize("how", ["closed", "garbage", "damaged"])
def test_floats_are_those_of_the_body_although_the_answers_cannot_be_read(
    how: str,
    client: Any,
    plain: Any,
    store: EmbeddingStore,
    titan: TitanResponder,
    answering: Callable[[Answers], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The vector is there, but how Titan printed it is not: its widened values are others."""
    answering(Scripted(SHORTEST))
    wanted = json.loads(SHORTEST)["embedding"]
    embed = client.titan.embedder(V2)
    assert embed.floats("hello") == embed.floats("hello") == wanted
    assert titan.calls == 1
    if how == "damaged":
        to_bytes = AnswerRecord.to_bytes
        answers = answers_of(client)
        record = answers.get(embed.key("hello"))
        assert record is not None
        with monkeypatch.context() as patch:
            patch.setattr(AnswerRecord, "to_bytes", lambda one: to_bytes(one)[:-1] + b"?")
            answers.put_many({embed.key("hello"): record})
    else:
        client.titan.close()
    if how == "garbage":
        (store.path / "answers" / "data.mdb").write_bytes(b"garbage" * 5_000)
        embed = wrap(plain, store).titan.embedder(V2)
    assert embed.floats("hello") == wanted
    assert embed.floats_many(["hello"]) == [wanted]
    assert np.array_equal(embed.embed("hello"), np.array(wanted, np.float32))


def descriptors_of(file: Path) -> list[int]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            if entry.readlink() == file:
                found.append(int(entry.name))
    return found


def test_answers_are_kept_again_after_a_write_that_lmdb_does_not_forgive(
    client: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    """Its meta page could not be written: until it is opened anew, LMDB refuses everything."""
    wanted = ask(client, "before")
    file = (store.path / "answers" / "data.mdb").resolve()
    synced = [
        number for number in descriptors_of(file) if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_DSYNC
    ]
    assert synced  # LMDB writes its meta pages there
    read_only = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    for number in synced:
        os.dup2(read_only, number, inheritable=False)
    os.close(read_only)
    assert ask(client, "lost")
    assert client.titan.counters.not_kept == 1
    before = titan.calls
    assert ask(client, "before") == wanted
    assert ask(client, "after") == ask(client, "after")
    assert titan.calls == before + 1
    assert (client.titan.counters.kept, client.titan.counters.not_kept) == (2, 1)


def test_answers_of_thousands_of_forms_end_as_verbatim(
    client: Any, answering: Callable[[Answers], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that put a number of the request into each body would make a form of each."""
    monkeypatch.setattr("titanstore.clients.bedrock.answers._FORMS_MAX", 3)
    bodies = [json.dumps({"id": place, "embedding": [0.5] * 1024}).encode() for place in range(6)]
    for place, body in enumerate(bodies):
        answering(Scripted(body))
        assert ask(client, f"text {place}") == body
    assert [ask(client, f"text {place}") for place in range(6)] == bodies
    assert (client.titan.counters.kept, client.titan.counters.kept_verbatim) == (6, 3)


def test_an_answer_whose_style_finds_no_number_is_not_kept_and_counted_so(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.clients.bedrock.answers._FORMS_MAX", 0)
    monkeypatch.setattr("titanstore.clients.bedrock.answers._STYLES_MAX", 0)
    assert [ask(client), ask(client)] == [ask(client)] * 2
    counted = client.titan.counters
    assert (counted.kept, counted.kept_verbatim, counted.not_kept) == (0, 0, 3)
    assert not client.titan.embedder(V2).has("hello")


def test_the_map_of_answers_grows(
    client: Any, plain: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.catalog.environment._MAP_BYTES_FIRST", 64 * 1024)
    answers = answers_of(client)
    record = AnswerRecord(2, 0, 5, 1, 2, 3, b"x" * 1_000)
    keys = [f"{place:032x}" for place in range(300)]
    for first in range(0, 300, 50):
        answers.put_many(dict.fromkeys(keys[first : first + 50], record))
    assert [key for key, found in answers.scan() if found == record] == keys
    assert answers.delete_many([*keys, "f" * 32]) == 300
    assert not list(answers.scan())


def test_a_scan_goes_over_many_blocks(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titanstore.clients.bedrock.answers._SCANNED", 7)
    answers = answers_of(client)
    keys = ["0" * 32, *(f"{place:032x}" for place in range(1, 28))]
    answers.put_many(dict.fromkeys(keys, AnswerRecord(0, 0, None, 1, 2, 3)))
    assert [key for key, _ in answers.scan()] == keys


def test_no_text_and_no_credential_reaches_logs_errors_or_counters(
    client: Any,
    store: EmbeddingStore,
    titan: TitanResponder,
    answering: Callable[[Answers], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="titanstore")
    told: list[str] = []
    answering(Scripted(b"{}"))
    embed = client.titan.embedder(V1)
    with pytest.raises(Exception) as found:  # whatever it is
        embed.embed(SECRET)
    told.append(repr(found.value))
    for wrong in ({"text": SECRET}, 5, None):
        with pytest.raises(InvalidInputError) as refused:
            embed.embed(wrong)
        told.append(repr(refused.value))
    store.close()
    ask(client, SECRET)
    with pytest.raises(AnswerError) as unanswered:
        embed.embed(SECRET)
    told.append(repr(unanswered.value))
    report = embed.warm([SECRET, ""])
    told += [repr(report), repr(client), repr(client.titan.counters), *logged(caplog)]
    assert report.failed == {"AnswerError": 1, "InvalidInputError": 1}
    assert logged(caplog)
    for text in told:
        assert "Hildegard" not in text
        assert "testing" not in text  # the credentials of the mocked service


@pytest.mark.parametrize("model", ["amazon.titan-text-express-v1", "", "nova", V2 + "/x"])
def test_an_embedder_of_no_titan_model_is_refused(model: str, client: Any) -> None:
    with pytest.raises(InvalidInputError) as found:
        client.titan.embedder(model)
    assert found.value.kind is ErrorKind.NOT_TITAN


@pytest.mark.parametrize("dimensions", ["256", 0, -1, 1.5, True])
def test_an_embedder_of_no_dimension_is_refused(dimensions: object, client: Any) -> None:
    with pytest.raises(InvalidInputError) as found:
        client.titan.embedder(V2, dimensions=dimensions)
    assert found.value.kind is ErrorKind.BAD_SETTING


def test_a_text_is_no_option(client: Any) -> None:
    with pytest.raises(InvalidInputError) as found:
        client.titan.embedder(V2, inputText="x")
    assert found.value.kind is ErrorKind.BAD_SETTING


@pytest.mark.parametrize("parallel", [0, -1, 1.5, True, None])
def test_parallel_is_checked(parallel: Any, client: Any, titan: TitanResponder) -> None:
    embed = client.titan.embedder(V2)
    for call in (embed.embed_many, embed.floats_many, embed.warm):
        with pytest.raises(InvalidInputError) as found:
            call(["a"], parallel=parallel)
        assert found.value.kind is ErrorKind.BAD_SETTING
    assert titan.calls == 0
