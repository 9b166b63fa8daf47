"""Versions: what each call promises, what it refuses, and how it names what is not there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import (
    ClosedError,
    CorruptionError,
    Difference,
    EmbeddingStore,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StoreConfig,
    Version,
)
from titanstore.catalog.views import CatalogWriter
from titanstore.changes import row_address
from titanstore.keys import stored_key
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, Address
from titanstore.versions import view as view_module
from titanstore.versions.versions import Versions

FAST = StoreConfig(durability="power_cut_may_lose_store")


def row(value: float, dimension: int = 8) -> NDArray[np.float32]:
    return np.full(dimension, value, np.float32)


def address_of(store: EmbeddingStore, key: str) -> Address:
    (address,) = store._catalog.lookup(stored_key(key).fingerprint())
    return address


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path / "s", FAST) as opened:
        opened.put_many(["a", "b"], [row(1), row(2)], "doc")
        opened.put("free", row(3))
        yield opened


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


def test_what_retention_took(store: EmbeddingStore) -> None:
    for _ in range(4):
        store.snapshot("x")
    old = store.at(1)
    assert store.drop_versions(keep=2) == 2
    calls: list[Callable[[], object]] = [
        lambda: store.rollback(2),
        lambda: store.at(1),
        lambda: store.diff(3, 2),
        lambda: store.tag(1, "t"),
        lambda: old.get("a"),
        lambda: old.get_many(["a"]),
        lambda: old.keys(),
        lambda: "a" in old,
        lambda: len(old),
        lambda: old.documents(),
        lambda: old.document_keys("doc"),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match="the oldest still there is 3") as caught:
            call()
        assert caught.value.kind == "version-gone"
    store.drop_versions(keep=0)
    with pytest.raises(NotFoundError, match="none is left"):
        store.rollback(4)


@pytest.mark.parametrize("keep", [-1, 1.0, True, None, "3"])
def test_keep_is_a_number(store: EmbeddingStore, keep: int) -> None:
    store.snapshot()
    with pytest.raises(InvalidInputError) as caught:
        store.drop_versions(keep=keep)
    assert caught.value.kind == "bad-setting"
    assert len(store.versions()) == 1


def test_tagged_versions_stay(store: EmbeddingStore) -> None:
    for _ in range(4):
        store.snapshot()
        store.put("free", row(np.random.default_rng().random()))
    wanted = store.at(2).get("free").tobytes()
    store.tag(2, "kept")
    assert store.drop_versions(keep=1) == 2
    assert [version.number for version in store.versions()] == [2, 4]
    assert store.at("kept").get("free").tobytes() == wanted
    store.untag("kept")
    assert store.drop_versions(keep=1) == 1


def test_maintain_keeps_as_many_as_the_setting_says(tmp_path: Path) -> None:
    config = StoreConfig(versions_max=2, durability="power_cut_may_lose_store")
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put("a", row(1))
        for _ in range(5):
            store.snapshot()
        assert store.maintain().versions_dropped == 3
        assert store.maintain().versions_dropped == 0


# -- looking back --------------------------------------------------------------------------


def test_a_view_is_as_the_store_was(store: EmbeddingStore) -> None:
    store.put("other", row(7, 4))
    store.snapshot()
    view = store.at(1)
    store.update_document("doc", [("b", row(20)), ("c", row(21))])
    store.delete(["free"])
    assert view.keys() == ["a", "b", "free", "other"]
    assert len(view) == 4
    assert ("free" in view, "c" in view, 7 in view) == (True, False, False)
    assert view.documents() == ["doc"]
    assert view.document_keys("doc") == ["a", "b"]
    got = view.get("free")
    assert (got.tobytes(), got.flags.writeable) == (row(3).tobytes(), False)
    assert got.dtype == np.float32
    many = view.get_many(["b", "a", "b"])
    assert many.tobytes() == np.stack([row(2), row(1), row(2)]).tobytes()
    assert many.flags.writeable
    assert view.get_many([]).shape == (0, 0)
    for call, kind in (
        (lambda: view.get("c"), "unknown-key"),
        (lambda: view.get_many(["a", "c", "d"]), "unknown-key"),
        (lambda: view.document_keys("nope"), "unknown-document"),
        (lambda: view.get_many(["a", "other"]), "mixed-dimensions"),
        (lambda: view.get(""), "empty-key"),
    ):
        with pytest.raises((NotFoundError, InvalidInputError)) as caught:
            call()
        assert caught.value.kind == kind
    with pytest.raises(NotFoundError, match=r"2 of 3 keys had no vector in version 1: 'c', 'd'"):
        view.get_many(["a", "c", "d"])


def test_keys_come_in_pages(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "_PAGE_ENTRIES", 3)
    names = [f"k{number}" for number in range(40)]
    store.put_many(names, [row(1)] * 40)
    store.snapshot()
    store.delete(names[10:30])
    store.put_many([f"later {number}" for number in range(20)], [row(1)] * 20)
    assert store.at(1).keys() == sorted(["a", "b", "free", *names])


def test_a_view_outlives_neither_its_store_nor_less(tmp_path: Path) -> None:
    store = EmbeddingStore.open(tmp_path, FAST)
    store.put("a", row(1))
    store.snapshot()
    view = store.at(1)
    kept = view.get("a")
    store.close()
    with pytest.raises(ClosedError):
        view.get("a")
    assert kept.tobytes() == row(1).tobytes()


def test_damage_is_told_and_not_returned(store: EmbeddingStore) -> None:
    store.snapshot()
    place = address_of(store, "free")
    store.put("free", row(9))
    path = store._folder.segments / f"{place.segment:05d}.seg"
    content = bytearray(path.read_bytes())
    record = store._reader.record(place)
    content[record.end - 3] ^= 0xFF
    with path.open("r+b") as file:
        file.write(content)
    assert store.get("free")[0] == 9
    with pytest.raises(CorruptionError, match="'free'"):
        store.at(1).get("free")
    with pytest.raises(CorruptionError):
        store.rollback(1)
    assert len(store.versions()) == 1
    assert store.get("free")[0] == 9
    (problem,) = store.check().problems
    assert "version 1" in problem.place
    assert "'free'" in problem.message


# -- differences ---------------------------------------------------------------------------


def test_differences(store: EmbeddingStore) -> None:
    store.put("same", row(8), "quiet")
    store.snapshot()
    store.update_document("doc", [("b", row(20)), ("c", row(21))])
    store.put("same", row(9))
    store.put("same", row(8))
    there = Difference(added=("c",), replaced=("b",), removed=("a",), documents_changed=("doc",))
    assert store.diff(1) == there
    store.snapshot()
    store.put("z", row(1), "third")
    assert store.diff(1, 2) == there
    assert store.diff(2, 1) == Difference(
        added=("a",), replaced=("b",), removed=("c",), documents_changed=("doc",)
    )
    assert store.diff(2) == Difference(
        added=("z",), replaced=(), removed=(), documents_changed=("third",)
    )
    nothing = store.diff(2, 2)
    assert nothing == Difference(added=(), replaced=(), removed=(), documents_changed=())
    assert not nothing
    assert there


def test_a_document_made_anew_with_the_same_content_is_no_difference(
    store: EmbeddingStore,
) -> None:
    store.snapshot()
    store.update_document("doc", [])
    store.put_many(["a", "b"], [row(1), row(2)], "doc")
    assert not store.diff(1)
    store.update_document("doc", [("b", row(2)), ("a", row(1))])
    assert store.diff(1).documents_changed == ("doc",)


# -- going back ----------------------------------------------------------------------------


def test_a_rollback_can_be_undone(store: EmbeddingStore) -> None:
    store.snapshot()
    store.update_document("doc", [("b", row(20)), ("c", row(21))])
    made = store.rollback(1)
    assert (made.number, made.origin, made.vectors) == (3, "rollback", 3)
    assert store.document_keys("doc") == ["a", "b"]
    assert store.get("b").tobytes() == row(2).tobytes()
    assert "c" not in store
    assert not store.diff(1)
    store.rollback(2)
    assert store.document_keys("doc") == ["b", "c"]
    assert store.get("b").tobytes() == row(20).tobytes()
    assert "a" not in store
    assert store.stats().dead_bytes == 0
    assert store.check().is_clean


def test_a_rollback_counts_what_it_did(store: EmbeddingStore) -> None:
    store.snapshot()
    store.update_document("doc", [("b", row(20)), ("c", row(21))])
    before = store.stats().counters
    store.rollback(1)
    after = store.stats().counters
    assert after["replaced"] - before["replaced"] == 1
    assert after["deleted"] - before["deleted"] == 1
    assert after["written"] == before["written"]


def test_revivals_count_rollbacks_that_bring_something_back(store: EmbeddingStore) -> None:
    def revivals() -> int:
        with store._catalog.reading() as view:
            return view.revivals()

    store.snapshot()
    store.put("new", row(1))
    store.rollback(1)
    assert revivals() == 0  # it only took something away
    store.rollback(2)
    assert revivals() == 1
    store.rollback(2)
    assert revivals() == 1
    store.delete(["a"])
    store.rollback("3")
    assert revivals() == 2


def test_what_is_told_before_the_commit(store: EmbeddingStore) -> None:
    told: list[list[Address]] = []
    announced: list[list[bytes]] = []
    old, gone, free = (address_of(store, key) for key in ("a", "b", "free"))
    store.snapshot()
    store.update_document("doc", [("a", row(10)), ("new", row(11))])
    new = [address_of(store, key) for key in ("a", "new")]
    versions = Versions(
        store._catalog,
        store._reader,
        on_revive=lambda _, addresses: told.append(addresses),
        announce=announced.append,
    )
    done = versions.rollback(1)
    assert [sorted(each) for each in told] == [sorted([old, gone])]
    assert sorted(done.revived) == sorted([old, gone])
    rows = [row_address(at, store._reader.record(at)) for at in new]
    assert sorted(done.outcome.retired) == sorted(rows)
    assert free not in done.revived
    assert done.outcome.stale == ("a", "new")
    assert {*announced[0]} == {stored_key(key).fingerprint() for key in ("a", "b")}

    def refuse(_: CatalogWriter, __: list[Address]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Versions(store._catalog, store._reader, on_revive=refuse).rollback(2)
    assert len(store.versions()) == 3
    assert address_of(store, "a") == old


def test_a_filter_built_without_it_lets_a_revived_key_through(tmp_path: Path) -> None:
    bloom = StoreConfig(bloom=True, durability="power_cut_may_lose_store")
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put("a", row(1))
        store.snapshot()
        store.delete(["a"])
    with EmbeddingStore.open(tmp_path, bloom) as store:
        assert "a" not in store
        store.rollback(1)
        assert store.get("a").tobytes() == row(1).tobytes()
        assert store.check().is_clean


def test_a_shared_key_goes_back_to_its_owners(store: EmbeddingStore) -> None:
    store.put("a", row(1), "second")
    store.snapshot()
    store.update_document("doc", [])
    store.put("a", row(5), "third")
    store.rollback(1)
    assert store.document_keys("doc") == ["a", "b"]
    assert store.document_keys("second") == ["a"]
    store.update_document("doc", [])
    assert store.get("a").tobytes() == row(1).tobytes()
    store.update_document("second", [])
    assert "a" not in store
    assert store.check().is_clean


# -- space ---------------------------------------------------------------------------------


def test_old_records_move_and_nobody_sees_a_difference(tmp_path: Path) -> None:
    """A segment that a version leads into gives its space back like any other."""
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["a", "b"], [row(1), row(2)], "doc")
        for value in range(50):
            store.put("a", row(100 + value))
        store.snapshot()
        store.put("a", row(3))
        store.put("a", row(4))
        places = [address_of(store, key) for key in ("a", "b")]
        with store._catalog.reading() as view:
            before = view.history.touched([1])
        done = store.maintain()
        assert (done.segments_removed, done.versions_dropped) == (1, 0)
        assert done.bytes_freed > 0
        assert store.stats().dead_bytes == 0
        with store._catalog.reading() as view:
            after = view.history.touched([1])
        assert before.keys() == after.keys()  # that they moved is no change
        assert before.values() != after.values()
        assert all(address_of(store, key) not in places for key in ("a", "b"))
        assert store.at(1).get_many(["a", "b"]).tobytes() == np.stack([row(149), row(2)]).tobytes()
        assert store.at(1).document_keys("doc") == ["a", "b"]
        assert store.diff(1).replaced == ("a",)
        store.rollback(1)
        assert store.get("a").tobytes() == row(149).tobytes()
        assert store.check().is_clean


def test_space_comes_back_when_the_last_version_that_needs_it_goes(store: EmbeddingStore) -> None:
    store.snapshot()
    store.update_document("doc", [])
    store.snapshot()
    store.rollback(1)  # versions 3 and 4; a and b are needed by 1, 4 and the present
    assert store.drop_versions(keep=2) == 2
    assert store.stats().dead_bytes == 0
    store.update_document("doc", [])
    assert store.stats().dead_bytes == 0
    assert store.drop_versions(keep=0) == 2
    assert store.stats().dead_bytes > 0
    store.delete(["free"])
    stats = store.stats()
    assert stats.dead_bytes == stats.segment_bytes - SEGMENT_HEADER_BYTES


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
