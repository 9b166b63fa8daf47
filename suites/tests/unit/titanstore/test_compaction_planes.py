"""Compaction moves rows of planes with their records, and says which records have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fixtures.marked import unmarked
from suites.tests.unit.titanstore import compacted
from suites.tests.unit.titanstore.compacted import Filled, Vectors, files, rows, small_segments
from titanstore import EmbeddingStore
from titanstore.keys import stored_key

filled = compacted.filled  # a fixture


def all_have_rows(store: EmbeddingStore) -> bool:
    with store._catalog.reading() as view:
        return view.all_have_rows()


def bfloat16_rows(count: int, dimension: int = 64) -> Vectors:
    words = rows(count, dimension).view(np.uint32) & np.uint32(0xFFFF0000)
    return words.view(np.float32)


def kinds_of(folder: Path) -> set[str]:
    return {name.rpartition(".")[2] for name in files(folder)}


def test_rows_move_with_their_records_and_old_planes_go(filled: Filled) -> None:
    before = set(files(filled.folder))
    assert unmarked(filled.store._catalog, filled.store._reader) == []
    filled.store.maintain()
    assert unmarked(filled.store._catalog, filled.store._reader) == []
    gone = before - set(files(filled.folder))
    assert {name.rpartition(".")[2] for name in gone} == {"seg", "plane", "marks"}
    segments = {name[:5] for name in files(filled.folder) if name.endswith(".seg")}
    assert {name[:5] for name in files(filled.folder)} == segments
    planes = [plane for plane, _ in filled.store._reader.planes.current()]
    assert sum(len(plane.rows) for plane in planes) < 2 * len(filled.wanted)


@pytest.mark.parametrize("compression", [True, False])
def test_a_store_gets_rows_and_gives_them_up_again(tmp_path: Path, *, compression: bool) -> None:
    vectors = [*bfloat16_rows(6), *rows(6, 65), rows(1)[0] * np.float32(np.nan)]
    keys = [f"k{number}" for number in range(len(vectors))]
    wanted = {key: vector.tobytes() for key, vector in zip(keys, vectors, strict=True)}
    search = small_segments(1_500, compression=compression)
    without = small_segments(1_500, compression=compression, search=False)

    def assert_holds(store: EmbeddingStore) -> None:
        assert {key: store.get(key).tobytes() for key in keys} == wanted
        assert store.check().is_clean
        assert unmarked(store._catalog, store._reader) == []

    with EmbeddingStore.open(tmp_path, without) as store:
        store.put_many(keys, vectors, "doc")
        assert kinds_of(tmp_path) == {"seg"}
        assert not all_have_rows(store)
        store.maintain()
        assert_holds(store)
    for _ in range(2):
        with EmbeddingStore.open(tmp_path, search) as store:
            assert not all_have_rows(store)
            store.maintain()
            assert all_have_rows(store)
            assert_holds(store)
            assert store.document_keys("doc") == keys
            assert kinds_of(tmp_path) == {"seg", "plane", "marks"}
            assert store.maintain().segments_removed == 0
        with EmbeddingStore.open(tmp_path, without) as store:
            assert all_have_rows(store)
            # what is rewritten now has no rows
            store.put_many(keys[:2], bfloat16_rows(2))
            wanted |= {key: store.get(key).tobytes() for key in keys[:2]}
            assert not all_have_rows(store)
            assert_holds(store)


def test_compaction_without_search_says_that_rows_are_missing(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        store.put_many(list("abcdef"), bfloat16_rows(6))
        store.delete(list("bcdef"))
        kept = store.get("a").tobytes()
    with EmbeddingStore.open(tmp_path, small_segments(2**20, search=False)) as store:
        assert all_have_rows(store)
        assert store.maintain().segments_removed == 1
        assert not all_have_rows(store)
        assert kinds_of(tmp_path) == {"seg"}
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        assert not all_have_rows(store)
        store.maintain()
        assert all_have_rows(store)
        assert store.get("a").tobytes() == kept


def test_a_damaged_vector_keeps_a_store_from_saying_that_all_have_rows(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2**20, search=False)) as store:
        store.put_many(["a", "b"], bfloat16_rows(2))
        record = store._cascade.cold.find_many([stored_key("a")])[0]
        assert record is not None
    with (tmp_path / "segments" / "00001.seg").open("r+b") as file:
        file.seek(record.end - 1)
        file.write(b"\x55")
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        store.maintain()
        assert not all_have_rows(store)
        store.put("a", bfloat16_rows(1)[0])
        store.maintain()
        assert all_have_rows(store)
        assert store.check().is_clean


def test_segments_with_planes_keep_to_their_size(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2_000)) as store:
        store.put_many(
            [f"k{number}" for number in range(60)], [*bfloat16_rows(30), *rows(30, 70)], "doc"
        )
        store.maintain()
        sizes = {name: size for name, size in files(tmp_path).items() if name.endswith(".seg")}
        assert len(sizes) > 5
        assert max(sizes.values()) <= 2_000
        assert store.stats().disk_bytes == (
            sum(files(tmp_path).values()) + store.stats().catalog_bytes
        )


def test_what_only_a_version_needs_is_marked_when_it_comes_back(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(1_500)) as store:
        vectors = bfloat16_rows(8)
        keys = [f"k{number}" for number in range(8)]
        store.put_many(keys, vectors)
        version = store.snapshot()
        store.put_many(keys, bfloat16_rows(8))
        store.maintain()
        marked = [marks for _, marks in store._reader.planes.current() if marks is not None]
        assert sum(marks.tolist().count(1) for marks in marked) == 8
        store.rollback(version)
        assert unmarked(store._catalog, store._reader) == []
        assert store.get_many(keys).tobytes() == vectors.tobytes()
