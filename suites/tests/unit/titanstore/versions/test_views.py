"""A view is as the store was, a difference is what changed since, and a rollback brings it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from suites.tests.unit.titanstore.versions.rows import FAST, address_of, row
from titanstore import (
    ClosedError,
    CorruptionError,
    Difference,
    EmbeddingStore,
    InvalidInputError,
    NotFoundError,
    StoreConfig,
)
from titanstore.catalog.views import CatalogWriter
from titanstore.changes import row_address
from titanstore.keys import stored_key
from titanstore.segments.layout import Address
from titanstore.versions import view as view_module
from titanstore.versions.versions import Versions

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
