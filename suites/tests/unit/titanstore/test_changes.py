"""Chunks shared between documents stay while anybody holds them, and are right everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, NotFoundError, StoreConfig
from titanstore.catalog.views import CatalogWriter
from titanstore.keys import stored_key

Vector = NDArray[np.float32]
CONFIG = StoreConfig(durability="power_cut_may_lose_store")


def row(value: float) -> Vector:
    return np.full(16, value, np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, CONFIG) as opened:
        yield opened
        assert opened.check().problems == ()


def test_a_shared_chunk_goes_with_its_last_document(store: EmbeddingStore) -> None:
    for document in ("a", "b", "c"):
        store.update_document(document, [("shared", row(1)), (document, row(2))])
    assert store.stats().counters["written"] == 4
    store.update_document("a", [("a", row(2))])
    store.update_document("b", [])
    assert store.document_keys("c") == ["shared", "c"]
    assert "shared" in store
    assert "b" not in store
    store.update_document("c", [("c", row(2))])
    assert "shared" not in store
    assert store.documents() == ["a", "c"]
    with store._catalog.reading() as view:
        assert view.owners(stored_key("shared").tagged) is None


def test_a_shared_chunk_that_changes_changes_for_all(store: EmbeddingStore) -> None:
    store.update_document("a", [("x", row(1)), ("shared", row(2)), ("y", row(3))])
    store.update_document("b", [("shared", row(2)), ("z", row(4))])
    store.update_document("b", [("z", row(4)), ("shared", row(9))])
    assert store.get("shared")[0] == 9
    store.put("shared", row(10))
    assert store.get("shared")[0] == 10
    assert store.document_keys("a") == ["x", "shared", "y"]
    assert store.document_keys("b") == ["z", "shared"]
    store.update_document("a", [])
    assert store.get("shared")[0] == 10
    store.update_document("b", [])
    assert len(store) == 0


def test_a_chunk_without_a_document_joins_one(store: EmbeddingStore) -> None:
    store.put("k", row(1))
    store.put("k", row(1), "a")
    assert store.document_keys("a") == ["k"]
    store._cascade.clear()
    store.put("sibling", row(2), "a")
    assert (
        store.wait_for_prefetch()
    )  # else the read may look like one of a burst, and be passed over
    store._cascade.clear()
    store.get("k")
    assert store.wait_for_prefetch()
    assert "sibling" in store._cascade.hot.keys()  # noqa: SIM118 - not a dictionary
    store.update_document("a", [])
    assert "k" not in store


def test_order_is_that_of_the_chunks(store: EmbeddingStore) -> None:
    chunks = [(f"k{number}", row(number)) for number in range(6)]
    store.update_document("a", chunks)
    store.update_document("a", chunks[::-1])
    assert store.document_keys("a") == [f"k{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert store.stats().counters["written"] == 6
    store.put_many(["new", "k3"], [row(7), row(8)], "a")
    assert store.document_keys("a") == ["k5", "k4", "k3", "k2", "k1", "k0", "new"]


def test_deleted_keys_leave_every_document(store: EmbeddingStore) -> None:
    store.update_document("a", [("x", row(1)), ("shared", row(2))])
    store.update_document("b", [("shared", row(2))])
    assert store.delete(["shared", "shared", "absent"]) == 1
    assert store.documents() == ["a"]
    with pytest.raises(NotFoundError):
        store.document_keys("b")
    store.put("shared", row(5))
    assert store.document_keys("a") == ["x"]
    assert store.delete(iter(["x"])) == 1
    assert store.documents() == []


def test_keys_of_documents_can_be_spared(store: EmbeddingStore) -> None:
    store.update_document("a", [("x", row(1)), ("shared", row(2))])
    store.update_document("b", [("shared", row(3))])
    store.put_many(["alone", "joined"], np.stack([row(4), row(5)]))
    store.put("joined", row(5), "b")
    keys = ["x", "shared", "alone", "joined", "absent"]
    assert store.delete(keys, in_documents=False) == 1
    assert [key in store for key in keys] == [True, True, False, True, False]
    assert store.document_keys("b") == ["shared", "joined"]
    store.update_document("a", [("shared", row(3))])  # in b alone, then in none
    store.update_document("a", [])
    assert store.delete(["shared"], in_documents=False) == 0
    assert store.check().is_clean


def test_dead_bytes_are_those_of_what_left(store: EmbeddingStore) -> None:
    store.put_many(["a", "b"], [row(1), row(2)])
    assert store.stats().dead_bytes == 0
    size = store.stats().segment_bytes - 32
    store.put("a", row(3))
    store.delete(["b"])
    stats = store.stats()
    assert stats.dead_bytes == pytest.approx(size, abs=3)
    assert stats.vectors == 1


@pytest.mark.parametrize("step", ["add", "set_document", "set_owners", "set_segment", "remove"])
def test_a_write_that_fails_anywhere_changes_nothing(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store.update_document("a", [("x", row(1)), ("shared", row(2)), ("gone", row(3))])
    store.update_document("b", [("shared", row(2))])
    before = store.stats()

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(CatalogWriter, step, fail)
        with pytest.raises(MemoryError):
            store.update_document("a", [("x", row(9)), ("shared", row(8)), ("new", row(7))])
    assert store.get_many(["x", "shared", "gone"])[:, 0].tolist() == [1, 2, 3]
    assert "new" not in store
    assert store.document_keys("a") == ["x", "shared", "gone"]
    after = store.stats()
    assert (after.segment_bytes, after.dead_bytes) == (before.segment_bytes, before.dead_bytes)
    store.update_document("a", [("x", row(9)), ("shared", row(8)), ("new", row(7))])
    assert store.get_many(["x", "shared", "new"])[:, 0].tolist() == [9, 8, 7]
    assert "gone" not in store


def test_a_write_that_outgrows_the_map_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.catalog.environment._MAP_BYTES_FIRST", 1 << 16)
    config = StoreConfig(durability="power_cut_may_lose_store", bloom=True)
    with EmbeddingStore.open(tmp_path / "grown", config) as store:
        keys = [f"k{number}" for number in range(9_000)]
        values = np.arange(9_000, dtype=np.float32)[:, None]
        store.put_many(keys, values, "doc")
        assert len(store) == 9_000
        assert store.document_keys("doc") == keys
        assert store.stats().counters["written"] == 9_000
        segment = tmp_path / "grown" / "segments" / "00001.seg"
        assert segment.stat().st_size == store.stats().segment_bytes
        assert store.check().is_clean
        assert store.get_many(keys).tobytes() == values.tobytes()


def test_who_is_alone_is_not_listed_as_an_owner(tmp_path: Path) -> None:
    """A record names its document; the list is for keys that several documents hold."""
    row = np.ones(8, np.float32)
    with EmbeddingStore.open(tmp_path) as store:
        store.put("a", row)
        store.update_document("first", [("a", row)])
        with store._catalog.reading() as view:
            assert view.owners(stored_key("a").tagged) is None
        store.update_document("second", [("a", row)])
        with store._catalog.reading() as view:
            assert len(view.owners(stored_key("a").tagged) or ()) == 2
        store.update_document("first", [])
        assert store.document_keys("second") == ["a"]
        assert store.check().is_clean
