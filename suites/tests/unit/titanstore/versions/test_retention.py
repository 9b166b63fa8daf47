"""Retention takes the versions it may, says so of each, and gives back what they alone need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from suites.tests.unit.titanstore.versions.rows import FAST, address_of, row
from titanstore import EmbeddingStore, InvalidInputError, NotFoundError, StoreConfig
from titanstore.segments.layout import SEGMENT_HEADER_BYTES


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
