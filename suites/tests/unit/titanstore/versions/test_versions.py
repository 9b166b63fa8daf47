"""Versions: what each call promises, what it refuses, and how it names what is not there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import pytest

from suites.tests.unit.titanstore.versions.rows import FAST, address_of, row
from titanstore import (
    ClosedError,
    CorruptionError,
    EmbeddingStore,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    Version,
)
from titanstore.catalog.views import CatalogWriter
from titanstore.segments.layout import Address

# -- taking and listing --------------------------------------------------------------------


def test_a_version_says_what_it_is(store: EmbeddingStore) -> None:
    taken = store.snapshot("first")
    assert taken.created_s == pytest.approx(__import__("time").time(), abs=60)
    assert taken == Version(
        number=1,
        label="first",
        created_s=taken.created_s,
        vectors=3,
        documents=1,
        tags=(),
        origin="snapshot",
    )
    assert store.snapshot().label is None
    assert store.versions()[0] == taken
    assert [version.number for version in store.versions()] == [1, 2]
    assert pickle.loads(pickle.dumps(taken)) == taken  # noqa: S301 - our own


def test_without_a_version_nothing_is_logged(store: EmbeddingStore) -> None:
    store.update_document("doc", [("a", row(9))])
    with store._catalog.reading() as view:
        assert view.history.intervals() == []
        assert view.history.numbers() == []
    assert store.stats().dead_bytes > 0


def test_writing_what_is_there_logs_nothing(store: EmbeddingStore) -> None:
    store.snapshot()
    store.update_document("doc", [("a", row(1)), ("b", row(2))])
    store.put("free", row(3))
    with store._catalog.reading() as view:
        assert view.history.touched([1]) == {}


def test_a_value_is_recorded_once_an_interval(store: EmbeddingStore) -> None:
    store.snapshot()
    for value in range(5):
        store.put("free", row(10 + value))
    with store._catalog.reading() as view:
        assert len(view.history.touched([1])) == 1
    # four of the six records are needed by nobody: version 1 has the first, the present the last
    size = store.stats().dead_bytes
    store.snapshot()
    store.put("free", row(20))
    assert store.stats().dead_bytes == size
    store.put("free", row(21))
    assert store.stats().dead_bytes == size * 5 // 4


def test_numbers_are_never_used_twice(store: EmbeddingStore) -> None:
    store.snapshot()
    assert store.drop_versions(keep=0) == 1
    assert store.versions() == []
    assert store.snapshot().number == 2
    store.close()
    with EmbeddingStore.open(store._folder.path, FAST) as again:
        assert again.drop_versions(keep=0) == 1
        assert again.snapshot().number == 3


def test_a_document_number_is_never_used_for_another_name(store: EmbeddingStore) -> None:
    store.snapshot()
    store.update_document("doc", [])
    store.put("n", row(5), "new")
    store.rollback(1)
    store.put("m", row(6), "newer")
    with store._catalog.reading() as view:
        numbers = {name: number for number, name, _ in view.documents()}
    assert numbers == {"doc": 1, "newer": 3}
    assert store.document_keys("doc") == ["a", "b"]
    assert store.check().is_clean


# -- names ---------------------------------------------------------------------------------


def test_labels_and_tags(store: EmbeddingStore) -> None:
    store.snapshot("same")
    store.put("free", row(4))
    store.snapshot("same")
    assert store.tag(1, "release 1").tags == ("release 1",)
    assert store.tag("release 1", "another").tags == ("another", "release 1")
    assert store.tag(1, "another").tags == ("another", "release 1")
    assert store.at("same").version.number == 2
    assert store.at("release 1").version.number == 1
    assert store.at("1").version.number == 1
    assert store.at(store.versions()[0]).get("free").tobytes() == row(3).tobytes()
    with pytest.raises(InvalidInputError) as caught:
        store.tag(2, "another")
    assert (caught.value.kind, "version 1" in str(caught.value)) == ("tag-in-use", True)
    assert store.untag("another").tags == ("release 1",)
    assert store.tag(2, "another").number == 2
    store.tag(1, "same")
    assert store.at("same").version.number == 1  # a tag goes before a label
    store.tag(1, "2")
    assert store.at("2").version.number == 1  # and a name before a number


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "empty-key"),
        ("é" * 241, "key-too-long"),
        (7, "key-not-text"),
        ("\ud800", "key-not-text"),
    ],
)
def test_names_that_cannot_be_stored(store: EmbeddingStore, name: str, kind: str) -> None:
    store.snapshot()
    calls: list[Callable[[], object]] = [
        lambda: store.snapshot(name),
        lambda: store.tag(1, name),
        lambda: store.untag(name),
        lambda: store.at(1).document_keys(name),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.kind == kind
    assert len(store.versions()) == 1


def test_unknown_versions_name_the_nearest(store: EmbeddingStore) -> None:
    calls: list[Callable[[int | str], object]] = [store.at, store.diff, store.rollback]
    for call in calls:
        with pytest.raises(NotFoundError, match="there is none yet") as caught:
            call(1)
        assert caught.value.kind == "unknown-version"
        with pytest.raises(NotFoundError, match="there is no version yet"):
            call("x")
    store.snapshot()
    with pytest.raises(NotFoundError, match="none has a name, the newest is 1"):
        store.at("x")
    for _ in range(5):
        store.snapshot("release one")
    store.tag(2, "stable")
    for call in calls:
        for number in (0, -1, 99, 2**40):
            with pytest.raises(NotFoundError) as caught:
                call(number)
            assert caught.value.kind == "unknown-version"
        with pytest.raises(NotFoundError, match="nearest are 4, 5, 6"):
            call(7)
        with pytest.raises(NotFoundError, match="nearest are 'stable'"):
            call("stabel")
    with pytest.raises(NotFoundError, match="'stable'") as caught:
        store.untag("unstable")
    assert caught.value.kind == "unknown-version"
    with pytest.raises(NotFoundError) as caught:
        store.tag(99, "x")
    assert caught.value.kind == "unknown-version"
    for wrong in (1.0, True, None, b"1"):
        with pytest.raises(InvalidInputError) as refused:
            store.rollback(wrong)  # type: ignore[arg-type]
        assert refused.value.kind == "key-not-text"


# -- who may, and on what ------------------------------------------------------------------


def test_a_reader_may_look_and_not_touch(store: EmbeddingStore) -> None:
    store.snapshot("x")
    with EmbeddingStore.open(store._folder.path, FAST, read_only=True) as reader:
        store.put("free", row(9))
        assert reader.at("x").get("free").tobytes() == row(3).tobytes()
        assert reader.diff(1).replaced == ("free",)
        calls: list[Callable[[], object]] = [
            reader.snapshot,
            lambda: reader.rollback(1),
            lambda: reader.tag(1, "t"),
            lambda: reader.untag("t"),
            lambda: reader.drop_versions(keep=0),
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError) as caught:
                call()
            assert caught.value.kind == "opened-read-only"
    store.close()
    for call in (store.snapshot, store.versions, lambda: store.at(1)):
        with pytest.raises(ClosedError):
            call()


def test_the_first_version_raises_the_format(store: EmbeddingStore) -> None:
    """So that a release that would log nothing refuses to write."""
    header = store._folder.path / "STORE"
    before = json.loads(header.read_text())
    assert before["format"] == 1
    store.put("x", row(1))
    assert json.loads(header.read_text()) == before
    store.snapshot()
    assert json.loads(header.read_text()) == {**before, "format": 3}
    store.drop_versions(keep=0)
    store.snapshot()
    assert json.loads(header.read_text()) == {**before, "format": 3}


# -- damage of the log ---------------------------------------------------------------------

DAMAGES: dict[str, tuple[Callable[[EmbeddingStore, CatalogWriter], object], str]] = {
    "an entry of another key": (
        lambda store, view: view.history.record(1, b"ezzzz", address_of(store, "a").pack()),
        "leads to another key, 'a'",
    ),
    "an entry that leads nowhere": (
        lambda _, view: view.history.record(1, b"ezzzz", Address(1, 2**31).pack()),
        "catalog knows of",
    ),
    "half an address": (
        lambda _, view: view.history.record(1, b"ezzzz", b"1234567"),
        "addresses of a version damaged",
    ),
    "noise for a document": (
        lambda _, view: view.history.record(1, b"d\1\0\0\0", b"noise"),
        "document damaged",
    ),
    "a document of records that it had not": (
        lambda store, view: view.history.record(
            1, b"d\1\0\0\0", b"\3\0doc" + address_of(store, "free").pack() + b"\0\0\0\1"
        ),
        "that it had not",
    ),
    "a place of no kind": (lambda _, view: view.history.record(1, b"?x", b""), "is damaged"),
    "records of no version": (
        lambda _, view: view.history.record(7, b"nx", b""),
        "records of no version",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_of_the_log(store: EmbeddingStore, name: str) -> None:
    store.snapshot()
    store.put("free", row(9))
    damage, message = DAMAGES[name]
    with store._catalog.writing() as view:
        damage(store, view)
    (problem,) = store.check().problems
    assert message in problem.message
    assert problem.place.startswith("version ")


def test_noise_for_a_version(store: EmbeddingStore) -> None:
    store.snapshot()
    with store._catalog.writing() as view:
        view._transaction.put(b"\0\0\0\1", b"noise", db=view._databases["versions"])
    with pytest.raises(CorruptionError, match="version 1 damaged"):
        store.versions()
    assert store.get("a").tobytes() == row(1).tobytes()
