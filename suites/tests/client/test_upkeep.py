"""Risk: pruning takes what is needed or leaves what should go; a move leaves a gap."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.titan.answers import Answers, EmulatedTitan
from fixtures.titan.responder import TitanResponder
from suites.tests.client.conftest import V1, V2, ask
from suites.tests.client.test_batches import Refusing
from titanstore import EmbeddingStore, ErrorKind, InvalidInputError, StorageError
from titanstore.cli import main
from titanstore.clients.bedrock import wrap
from titanstore.clients.bedrock.records import AnswerRecord

DAY_S = 86_400.0
TEXTS = [f"text {place}" for place in range(6)]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(plain: Any, store: EmbeddingStore, clock: Clock) -> Iterator[Any]:
    client = wrap(plain, store, clock=clock)
    yield client
    client.titan.close()


def kept(client: Any, model: str = V2) -> list[str]:
    embed = client.titan.embedder(model)
    return [text for text in TEXTS if client.titan._cache.is_answered(embed.key(text))]


def test_by_age(timed: Any, store: EmbeddingStore, clock: Clock) -> None:
    for text in TEXTS:
        ask(timed, text)
        clock.now_s += DAY_S
    done = timed.titan.prune(older_than_s=3.5 * DAY_S)
    assert (done.removed, done.in_documents, done.left) == (3, 0, 3)
    assert kept(timed) == TEXTS[3:]
    assert len(store) == 3
    assert timed.titan.prune(older_than_s=3.5 * DAY_S).removed == 0
    assert timed.titan.prune(older_than_s=0).removed == 3
    assert len(store) == 0


def test_by_model(timed: Any, store: EmbeddingStore) -> None:
    for text in TEXTS:
        ask(timed, text, V1)
        ask(timed, text, V2)
    done = timed.titan.prune(model=f"arn:aws:bedrock:us-east-1::foundation-model/{V1}")
    assert (done.removed, done.left) == (6, 6)
    assert (kept(timed, V1), kept(timed, V2)) == ([], TEXTS)
    assert len(store) == 6


def test_by_age_and_model_are_both(timed: Any, clock: Clock) -> None:
    ask(timed, TEXTS[0], V1)
    ask(timed, TEXTS[0], V2)
    clock.now_s += DAY_S
    ask(timed, TEXTS[1], V1)
    assert timed.titan.prune(model=V1, older_than_s=DAY_S / 2).removed == 1
    assert (kept(timed, V1), kept(timed, V2)) == (TEXTS[1:2], TEXTS[:1])


def test_by_size_the_oldest_go(timed: Any, store: EmbeddingStore, clock: Clock) -> None:
    for text in TEXTS:
        ask(timed, text)
        clock.now_s += 1
    stats = store.stats()
    each = (stats.disk_bytes + timed.titan._cache.answers.file_bytes()) / 6
    assert timed.titan.prune(bytes_max=int(each * 100)).removed == 0
    done = timed.titan.prune(bytes_max=int(each * 2.5))
    assert (done.removed, done.left) == (4, 2)
    assert kept(timed) == TEXTS[4:]
    assert timed.titan.prune(bytes_max=0).left == 0
    store.maintain()
    assert store.check().is_clean


def test_vectors_of_documents_and_of_others_stay(timed: Any, store: EmbeddingStore) -> None:
    embed = timed.titan.embedder(V2)
    rows = embed.embed_many(TEXTS)
    store.put("mine", rows[0])
    store.put_many([embed.key(text) for text in TEXTS[:2]], rows[:2], "notes.md")
    done = timed.titan.prune(model=V2)
    assert (done.removed, done.in_documents, done.left) == (4, 2, 2)
    assert store.document_keys("notes.md") == [embed.key(text) for text in TEXTS[:2]]
    assert "mine" in store
    assert kept(timed) == TEXTS[:2]


def test_a_vector_that_a_document_gets_while_others_are_pruned_stays(
    timed: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put by another thread between the look at all documents and the removal."""
    embed = timed.titan.embedder(V2)
    rows = embed.embed_many(TEXTS)
    look = store.documents

    def look_and_put() -> list[str]:
        found = look()
        store.put_many([embed.key(text) for text in TEXTS[:2]], rows[:2], "notes.md")
        return found

    monkeypatch.setattr(store, "documents", look_and_put)
    timed.titan.prune(model=V2)
    keys = [embed.key(text) for text in TEXTS]
    assert store.document_keys("notes.md") == keys[:2]
    assert np.array_equal(store.get_many(keys[:2]), rows[:2])
    assert not any(key in store for key in keys[2:])
    assert store.check().is_clean


def test_a_damaged_answer_keeps_no_other_from_being_pruned(
    timed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = timed.titan.embedder(V1)
    embed.embed_many(TEXTS[:2])
    timed.titan.embedder(V2).embed_many(TEXTS)
    answers = timed.titan._cache.answers
    record = answers.get(embed.key(TEXTS[0]))
    to_bytes = AnswerRecord.to_bytes
    with monkeypatch.context() as patch:
        patch.setattr(AnswerRecord, "to_bytes", lambda one: to_bytes(one)[:-1] + b"?")
        answers.put_many({embed.key(TEXTS[0]): record})
    done = timed.titan.prune(model=V2)
    assert (done.removed, done.left) == (7, 1)
    assert kept(timed, V1) == TEXTS[1:2]
    embed.warm(TEXTS[:1])
    assert kept(timed, V1) == TEXTS[:2]


def damage_answers(folder: Path, name: str) -> None:
    """Turn one bit of the first value of a database, or of LMDB's own pages."""
    if name == "pages":
        data = folder / "data.mdb"
        data.write_bytes(b"\xff" * data.stat().st_size)
        return
    with lmdb.open(str(folder), max_dbs=2) as environment:
        database = environment.open_db(name.encode())
        with environment.begin(write=True, db=database) as change:
            cursor = change.cursor()
            assert cursor.first()
            value = bytearray(cursor.value())
            value[len(value) // 2] ^= 1
            change.put(bytes(cursor.key()), bytes(value))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("answers", ["bad-answers: answers, key '"]),
        ("styles", ["bad-answers: answers, style 0: "]),  # once for all answers of that style
        ("pages", ["bad-answers: answers: "]),
    ],
)
def test_the_command_check_sees_damaged_answers(
    name: str, wanted: list[str], timed: Any, store: EmbeddingStore
) -> None:
    timed.titan.embedder(V2).embed_many(TEXTS)
    whole = CliRunner().invoke(main, ["check", str(store.path)])  # beside the writer
    assert (whole.exit_code, "no problems" in whole.output) == (0, True)
    timed.titan.close()
    store.close()
    damage_answers(store.path / "answers", name)
    seen = CliRunner().invoke(main, ["check", str(store.path)])
    assert seen.exit_code == 1
    problems = [line for line in seen.output.splitlines() if line.startswith("bad-answers")]
    assert [line[: len(each)] for line, each in zip(problems, wanted, strict=True)] == wanted
    assert "1 problem" in seen.output


@pytest.mark.parametrize("step", ["vectors", "answers"])
def test_a_prune_that_fails_half_way_is_ended_by_the_next(
    step: str, timed: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed.titan.embedder(V2).embed_many(TEXTS)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space", ErrorKind.DISK_FULL)

    with monkeypatch.context() as patch:
        if step == "vectors":
            patch.setattr(store, "delete", full)
        else:
            patch.setattr(timed.titan._cache.answers, "delete_many", full)
        with pytest.raises(StorageError):
            timed.titan.prune(model=V2)
    done = timed.titan.prune(model=V2)
    assert (done.removed, done.left) == (6, 0)
    assert len(store) == 0


@pytest.mark.parametrize("wrong", [{}, {"older_than_s": -1}, {"bytes_max": -1}])
def test_prune_of_nothing_or_of_nonsense_is_refused(wrong: dict[str, Any], client: Any) -> None:
    ask(client)
    with pytest.raises(InvalidInputError) as found:
        client.titan.prune(**wrong)
    assert found.value.kind is ErrorKind.BAD_SETTING
    assert client.titan.counters.kept == 1


def test_prune_of_not_a_number_removes_nothing(client: Any) -> None:
    ask(client)
    with pytest.raises(InvalidInputError):
        client.titan.prune(older_than_s=float("nan"))


def test_what_was_pruned_is_asked_for_again(client: Any, titan: TitanResponder) -> None:
    wanted = ask(client)
    client.titan.prune(model=V2)
    assert ask(client) == wanted
    assert titan.calls == 2


# ---------------------------------------------------------------- from one model to the next


def test_a_move_keeps_both_until_the_new_one_is_complete(
    timed: Any,
    store: EmbeddingStore,
    titan: TitanResponder,
    emulated: EmulatedTitan,
    answering: Callable[[Answers], None],
) -> None:
    old, new = timed.titan.embedder(V1), timed.titan.embedder(V2, dimensions=512)
    old.embed_many(TEXTS)
    refusing = Refusing(emulated, {TEXTS[2]})
    answering(refusing)
    told: list[int] = []
    first = timed.titan.move(TEXTS, old, new, progress=told.append)
    assert not first.warmed.is_complete
    assert (first.warmed.embedded, first.removed) == (5, 0)
    assert told == list(range(1, 7))
    before = titan.calls
    old.embed_many(TEXTS)  # no cold start: the old one is whole
    assert titan.calls == before
    refusing.denied.clear()
    second = timed.titan.move(TEXTS, old, new)
    assert (second.warmed.present, second.warmed.embedded, second.removed) == (5, 1, 6)
    before = titan.calls
    new.embed_many(TEXTS)
    assert titan.calls == before
    assert kept(timed, V1) == []
    assert len(store) == 6
    assert timed.titan.move(TEXTS, old, new).removed == 0


def test_either_model_answers_while_a_move_is_under_way(
    timed: Any, emulated: EmulatedTitan, answering: Callable[[Answers], None]
) -> None:
    old, new = timed.titan.embedder(V1), timed.titan.embedder(V2)
    old.embed_many(TEXTS)
    asked = Refusing(emulated, set())
    answering(asked)
    seen = []

    def in_between(done: int) -> None:
        seen.append(kept(timed, V1))

    timed.titan.move(TEXTS, old, new, parallel=1, progress=in_between)
    assert seen == [TEXTS] * 6
    assert sorted(asked.asked) == TEXTS


def test_a_move_that_cannot_write_removes_nothing(
    timed: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text was answered, but nothing could be kept: the old answers are all there is."""
    old, new = timed.titan.embedder(V1), timed.titan.embedder(V2)
    old.embed_many(TEXTS)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space", ErrorKind.DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_many", full)
        done = timed.titan.move(TEXTS, old, new)
    assert done.warmed.failed == {"not_kept": 6}
    assert (done.warmed.embedded, done.warmed.is_complete, done.removed) == (0, False, 0)
    assert kept(timed, V1) == TEXTS


def test_a_move_goes_on_where_vectors_came_without_their_answers(
    timed: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    """Killed between the two writes of an answer, or moved here: it is asked for, once."""
    old, new = timed.titan.embedder(V1), timed.titan.embedder(V2)
    old.embed_many(TEXTS)
    rows = np.random.default_rng(5).random((3, 1024), dtype=np.float32)
    store.put_many([new.key(text) for text in TEXTS[:3]], rows)
    done = timed.titan.move(TEXTS, old, new)
    assert (done.warmed.present, done.warmed.embedded, done.removed) == (0, 6, 6)
    assert titan.calls == 12
    assert new.warm(TEXTS).present == 6


def test_a_move_to_itself_is_refused(client: Any) -> None:
    embed = client.titan.embedder(V2, dimensions=256)
    embed.embed_many(TEXTS)
    with pytest.raises(InvalidInputError):
        client.titan.move(TEXTS, embed, client.titan.embedder(V2, dimensions=256))
    assert client.titan.counters.kept == 6


def test_a_move_spares_documents(timed: Any, store: EmbeddingStore) -> None:
    old, new = timed.titan.embedder(V1), timed.titan.embedder(V2)
    rows = old.embed_many(TEXTS)
    store.put(old.key(TEXTS[0]), rows[0], "notes.md")
    assert timed.titan.move(TEXTS, old, new).removed == 5
    assert kept(timed, V1) == TEXTS[:1]


def test_a_fresh_answer_takes_the_place_of_the_old_one(
    client: Any, answering: Callable[[Answers], None], titan: TitanResponder
) -> None:
    """Titan's serving changed: one call past the cache, and the new bytes are kept."""
    from suites.tests.client.conftest import Scripted

    first = ask(client)
    changed = json.dumps({"embedding": [0.25] * 1024, "inputTextTokenCount": 9}).encode()
    answering(Scripted(changed))
    assert ask(client) == first
    with client.titan.past_cache():
        assert ask(client) == changed
    assert ask(client) == changed
    assert titan.calls == 2
