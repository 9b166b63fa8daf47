"""A store rebuilt from its Lance table has every vector bit for bit, real ones and hostile ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.recorded import RecordedSet
from fixtures.vectors import GENERATORS
from titanstore import EmbeddingStore, StoreConfig
from titanstore.codec.choose import encode_frame
from titanstore.search.lance import (
    LanceRow,
    LanceSettings,
    LanceTable,
    LanceUnavailableError,
)
from titanstore.search.lance_rebuild import groups_of, rebuild_store_from_lance
from titanstore.search.lance_schema import StoredRow

CONFIG = StoreConfig(durability="power_cut_may_lose_store")
SETTINGS = LanceSettings(vectors_min=256, durable=False)


def rows_of(store: EmbeddingStore) -> Iterator[LanceRow]:
    """All of a store, by its public methods."""
    for number, document in enumerate(store.documents()):
        for key in store.document_keys(document):
            yield LanceRow(key, store.get(key), number, document)


def contents(store: EmbeddingStore) -> dict[str, dict[str, bytes]]:
    return {
        document: {key: store.get(key).tobytes() for key in store.document_keys(document)}
        for document in store.documents()
    }


def there_and_back(store: EmbeddingStore, folder: Path, dimension: int) -> None:
    """Table from store, another store from the table, compared."""
    with LanceTable.create(folder / "table", dimension, SETTINGS) as table:
        table.sync(rows_of(store), [], 1)
        assert table.content.rows == len(store)
        seen: list[int] = []
        with EmbeddingStore.open(folder / "again", CONFIG) as again:
            assert rebuild_store_from_lance([table], again, seen.append) == len(store)
            assert seen[-1] == len(store)
            assert contents(again) == contents(store)
            assert again.check().is_clean


def test_recorded_vectors(tmp_path: Path, recorded_sets: dict[str, RecordedSet]) -> None:
    with EmbeddingStore.open(tmp_path / "store", CONFIG) as store:
        for found in recorded_sets.values():
            for first in range(0, len(found.vectors), 22):
                part = found.vectors[first : first + 22]
                keys = [f"{found.name} {first + place}" for place in range(len(part))]
                store.put_many(keys, part, f"{found.name} {first // 22}")
        assert len(store) == sum(len(found.vectors) for found in recorded_sets.values())
        there_and_back(store, tmp_path, 1024)


def test_hostile_vectors(tmp_path: Path, rng: np.random.Generator) -> None:
    with EmbeddingStore.open(tmp_path / "store", CONFIG) as store:
        for name, make in GENERATORS.items():
            for dimension in (1, 7, 64):
                vectors = make(rng, 8, dimension)
                keys = [f"{name} {dimension} {place}" for place in range(8)]
                store.put_many(keys, vectors, f"{name} {dimension}")
        there_and_back(store, tmp_path, 64)


def test_keys_without_a_document(tmp_path: Path) -> None:
    rows = [LanceRow(f"key {n}", np.array([n], np.float32), n) for n in range(5)]
    with (
        LanceTable.create(tmp_path / "table", 1, SETTINGS) as table,
        EmbeddingStore.open(tmp_path / "store", CONFIG) as store,
    ):
        table.sync(rows, [], 5)
        rebuild_store_from_lance([table], store)
        assert store.documents() == []
        assert [store.get(row.key)[0] for row in rows] == [0, 1, 2, 3, 4]


def test_a_table_that_is_synced_while_it_is_read_loses_no_key(tmp_path: Path) -> None:
    """A key in two tables is looked up in both and then read again: by then it may have moved."""
    with (
        LanceTable.create(tmp_path / "1", 1, SETTINGS) as old,
        LanceTable.create(tmp_path / "2", 2, SETTINGS) as new,
        EmbeddingStore.open(tmp_path / "store", CONFIG) as store,
    ):
        old.sync([LanceRow("both", np.ones(1, np.float32), 1)], [], 2)
        new.sync([LanceRow("both", np.ones(2, np.float32), 5)], [], 6)

        class Synced:
            """The second table, moved between its second reading and its third."""

            readings = 0

            def rows(self) -> Iterator[StoredRow]:
                self.readings += 1
                if self.readings == 3:
                    new.sync([LanceRow("both", np.ones(2, np.float32), 9)], [], 10)
                return new.rows()

        with pytest.raises(LanceUnavailableError, match="synced meanwhile"):
            rebuild_store_from_lance([old, Synced()], store)  # type: ignore[list-item]


@pytest.mark.parametrize("count_max", [1, 2, 100])
def test_groups_change_with_document_dimension_and_size(count_max: int) -> None:
    given = [("a", 2), ("a", 2), ("a", 3), ("b", 3), (None, 3), (None, 3), (None, 3), ("a", 2)]
    rows = [
        StoredRow(f"key {n}", document, n, None, encode_frame(np.full(size, n, np.float32)))
        for n, (document, size) in enumerate(given)
    ]
    groups = list(groups_of(rows, count_max))
    assert [key for group in groups for key in group.keys] == [row.key for row in rows]
    for group in groups:
        assert 1 <= len(group.keys) <= count_max
        assert group.vectors.shape[0] == len(group.keys)
    assert [group.document for group in groups if len(group.keys)][-1] == "a"
    assert len(groups) == {1: 8, 2: 6, 100: 5}[count_max]
    assert list(groups_of([])) == []
