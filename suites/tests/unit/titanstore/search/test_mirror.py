"""The Lance table behind search: proposals only, never stale, never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from suites.tests.concurrency.test_processes import exit_of, fork
from suites.tests.unit.titanstore.search.mirrored import (
    COUNT,
    DIMENSION,
    KEYS,
    VECTORS,
    config,
    filled,
    unit_vectors,
)
from titanstore import EmbeddingStore
from titanstore.cli import main
from titanstore.codec.base import Vector
from titanstore.search import mirror


def recall(store: EmbeddingStore, path: Path, queries: Vector) -> float:
    """Share of the ten nearest, found by scanning the same folder, that the store finds."""
    found = 0
    with EmbeddingStore.open(path, config("flat"), read_only=True) as exact:
        for query in queries:
            found += len(set(store.search(query)) & set(exact.search(query)))
    return found / (10 * len(queries))


def test_without_a_table_search_scans_and_says_so(tmp_path: Path) -> None:
    with filled(tmp_path / "s") as store:
        assert recall(store, tmp_path / "s", VECTORS[:5]) == 1
        stats = store.stats()
        assert stats.lance_trouble == "there is no table yet"
        assert stats.counters["lance_unavailable"] == 5
        assert stats.lance_bytes == 0


def test_a_row_that_table_and_codes_both_lead_to_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in `maintain` leaves a table that is ahead of what it is said to have.

    A soak found it (--simulate --hours 1 --seed 5): each search then raised ValueError.
    """
    honest = mirror.LanceMirror.near

    def ahead(self: mirror.LanceMirror, *words: Any) -> Any:
        watermark, near = honest(self, *words)  # type: ignore[misc]  # there is a table
        return watermark - watermark, [[*proposed, *proposed[:1]] for proposed in near]

    with filled(tmp_path) as store:
        # The exact answers: what the table leads to depends on how its index was trained, but a
        # watermark of nothing leaves all rows to the codes.
        wanted = [store.search(query) for query in VECTORS[:5]]
        store.maintain()
        monkeypatch.setattr(mirror.LanceMirror, "near", ahead)
        assert [store.search(query) for query in VECTORS[:5]] == wanted
        assert store.search_many(VECTORS[:5]) == wanted


def test_a_narrow_integer_is_as_many_results_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice np.uint8(200) is 144: so few were asked of the table, and found."""
    asked: list[int] = []
    monkeypatch.setattr(mirror.LanceMirror, "near", lambda _, *words: asked.append(words[1] * 2))
    with filled(tmp_path) as store:
        assert len(store.search(VECTORS[0], np.uint8(200))) == 200  # type: ignore[arg-type]  # any
    assert asked == [400]


def test_a_search_without_a_table_leaves_the_folder_alone(tmp_path: Path) -> None:
    """LanceDB made one for the table, also for a reader, and once a search."""
    filled(tmp_path).close()
    before = sorted(tmp_path.rglob("*"))
    with EmbeddingStore.open(tmp_path, config(), read_only=True) as store:
        assert store.search(VECTORS[3])[0].key == KEYS[3]
        assert store.stats().lance_trouble == "there is no table yet"
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_package_a_large_store_is_searched_without_a_table(tmp_path: Path) -> None:
    """The package is an extra, and "auto" wants a table from some size on: search raised there."""
    filled(tmp_path).close()
    code = f"""
import sys
sys.modules["lancedb"] = None  # as if it were not installed
import numpy as np
from titanstore import EmbeddingStore, StoreConfig
config = StoreConfig(lance_vectors_min={COUNT}, result_cache_entries=0)
with EmbeddingStore.open(sys.argv[1], config) as store:
    for _ in range(2):
        assert len(store.search(np.ones({DIMENSION}, np.float32))) == 10
        done = store.maintain()
        assert "pip install titanstore[lance]" in done.lance_trouble, done
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, text=True)
    assert done.returncode == 0


def test_table_proposes_and_the_store_decides(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        done = store.maintain()
        assert (done.lance_rows, done.lance_trouble) == (COUNT, None)
        queries = unit_vectors(40, seed=8)
        assert recall(store, path, queries) > 0.95  # approximate: 4-bit codes, 20 candidates
        assert store.stats().counters["lance_searches"] == 40
        # written, replaced and deleted after the table: found at once, or never again
        near = VECTORS[3] + np.float32(0.001)
        store.put("fresh", near)
        store.put(KEYS[4], near)
        store.delete([KEYS[5]])
        keys = [hit.key for hit in store.search(VECTORS[3], 3)]
        assert keys == [KEYS[3], "fresh", KEYS[4]]
        assert KEYS[5] not in [hit.key for hit in store.search(VECTORS[5])]
        assert store.search(VECTORS[4], 600)[0].key != KEYS[4]
        assert store.maintain().lance_rows == 0  # two rows are not worth a sync
        more = unit_vectors(20, seed=9)
        store.put_many([f"more{number}" for number in range(20)], more)
        assert store.search(more[4])[0].key == "more4"
        assert store.maintain().lance_rows == 22
        assert store.search(more[4])[0].key == "more4"
        assert [hit.key for hit in store.search(VECTORS[3], 3)] == keys
        assert store.stats().lance_trouble is None
        assert store.search(VECTORS[3], 5, document_prefix="doc0")[0].key == KEYS[3]


def test_rollback_takes_the_table_along(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        store.maintain()
        before = store.snapshot()
        store.put_many(KEYS[10:30], VECTORS[40:60])
        store.put(KEYS[7], VECTORS[8])
        store.delete([KEYS[9]])
        assert store.maintain().lance_rows == 21
        store.rollback(before)
        assert store.search(VECTORS[9])[0].key == KEYS[9]
        assert "rollback" in (store.stats().lance_trouble or "")
        with EmbeddingStore.open(path, config(), read_only=True) as reader:
            assert reader.search(VECTORS[7])[0].key == KEYS[7]
            assert "rollback" in (reader.stats().lance_trouble or "")
        assert store.maintain().lance_rows == 22
        assert store.search(VECTORS[9])[0].key == KEYS[9]
        assert store.search(VECTORS[7])[0].key == KEYS[7]
        assert store.stats().lance_trouble is None


def test_damaged_and_missing_tables_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        store.maintain()
    for damage in ("truncated", "gone"):
        data = next((path / "lance" / str(DIMENSION)).glob("*.lance/_indices/*/*"))
        if damage == "gone":
            shutil.rmtree(path / "lance")
        else:
            data.write_bytes(data.read_bytes()[:50])
        with EmbeddingStore.open(path, config()) as store:
            assert store.search(VECTORS[11])[0].key == KEYS[11]
            assert store.stats().lance_trouble
            assert store.maintain().lance_rows == COUNT
            assert store.search(VECTORS[11])[0].key == KEYS[11]
            assert store.stats().lance_trouble is None


def test_below_the_threshold_the_table_goes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        store.maintain()
        assert store.stats().lance_bytes > 0
    with EmbeddingStore.open(path, config("auto")) as store:
        store.maintain()
        assert store.search(VECTORS[1])[0].key == KEYS[1]
        assert store.stats().counters["lance_searches"] == 0
        assert store.stats().lance_bytes == 0
        assert not list((path / "lance").iterdir()), "or each maintain() would drop it again"


def test_neighbours_that_are_gone_hide_nobody(tmp_path: Path) -> None:
    """Of 2 % of the rows the table need not know yet that they are gone: all near one query."""
    topic = unit_vectors(1, 99) + np.float32(0.2) * unit_vectors(30, 5)
    path = tmp_path / "s"
    with filled(path) as store:
        store.put_many([f"more{place}" for place in range(1_400)], unit_vectors(1_400, 12))
        store.update_document("topic", [(f"t{n}", row) for n, row in enumerate(topic)])
        store.maintain()
        assert store.search(topic[0])[0].key == "t0"
        store.update_document("topic", [])
        assert store.maintain().lance_rows == 0
        with EmbeddingStore.open(path, config("flat"), read_only=True) as exact:
            assert store.search(topic[0]) == exact.search(topic[0])
            assert len(store.search(topic[0], 5_000)) == COUNT + 1_400
        assert "gone" in str(store.stats().lance_trouble)


def test_a_dropped_table_needs_no_package(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        store.maintain()
    code = """
import sys
sys.modules["lancedb"] = None  # as if it were not installed
import numpy as np
from titanstore import EmbeddingStore, StoreConfig
with EmbeddingStore.open(sys.argv[1], StoreConfig(search_index="lance")) as store:
    assert store.search(np.ones(32, np.float32))
    assert "pip install" in store.stats().lance_trouble
with EmbeddingStore.open(sys.argv[1], StoreConfig(search_index="flat")) as store:
    assert store.maintain().lance_trouble is None
    assert store.stats().lance_bytes == 0
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 0


def test_a_table_of_a_dimension_that_is_gone_goes(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        store.maintain()
        store.delete(KEYS)
        store.put("other", np.ones(5, np.float32))
        store.maintain()
        assert not (tmp_path / "lance" / str(DIMENSION)).exists()


def test_another_kind_of_index_is_made_without_a_change(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        store.maintain()
        assert store._rooms.mirror._tables[DIMENSION].content.index == "IVF_RQ"
    with EmbeddingStore.open(tmp_path, config(lance_index="ivf_flat")) as store:
        store.maintain()
        assert store._rooms.mirror._tables[DIMENSION].content.index == "IVF_FLAT"
        assert recall(store, tmp_path, VECTORS[:5]) == 1


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    disk, ballast = tmp_path / "disk", tmp_path / "disk" / "ballast"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        with filled(tmp_path / "s") as store:
            (tmp_path / "s" / "lance").symlink_to(disk)
            store.maintain()
            room = os.statvfs(disk)
            ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 20_000))
            more = unit_vectors(200, 3)
            store.put_many([f"more{place}" for place in range(200)], more)
            trouble = store.maintain().lance_trouble
            assert trouble is not None
            assert "No space left" in trouble
            searches = store.stats().counters["lance_searches"]
            queries = unit_vectors(40, seed=8)
            assert recall(store, tmp_path / "s", queries) > 0.95  # as of any table: it proposes
            assert store.stats().counters["lance_searches"] == searches + 40
            with EmbeddingStore.open(tmp_path / "s", config("flat"), read_only=True) as exact:
                for query in more[:5]:  # what the table could not take is found without it
                    assert store.search(query, 1) == exact.search(query, 1)
            ballast.unlink()
            assert store.maintain().lance_rows == 200
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_forked_child_scans_instead(tmp_path: Path) -> None:
    """LanceDB resets itself in a child, and every third search then was a segmentation fault."""
    with filled(tmp_path) as store:
        store.maintain()
        wanted = [hit.key for hit in store.search(VECTORS[3])]
        assert store.stats().counters["lance_searches"] == 1

        def child() -> None:
            assert [hit.key for hit in store.search(VECTORS[3])] == wanted
            assert "fork" in str(store.stats().lance_trouble)
            assert store.stats().counters["lance_searches"] == 1

        assert exit_of(fork(child)) == 0
        assert [hit.key for hit in store.search(VECTORS[3])] == wanted
        assert store.stats().counters["lance_searches"] == 2


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITANSTORE_SEARCH_INDEX", "lance")
    path = tmp_path / "s"
    with filled(path):
        pass
    done = CliRunner().invoke(main, ["maintain", str(path)])
    assert (done.exit_code, f"wrote {COUNT} rows" in done.output) == (0, True)
    lance = str(path / "lance")
    made = CliRunner().invoke(main, ["rebuild", str(tmp_path / "t"), "--from-lance", lance])
    assert (made.exit_code, made.output.strip()) == (0, f"{COUNT} vectors")
    again = CliRunner().invoke(main, ["rebuild", str(tmp_path / "t"), "--from-lance", lance])
    assert again.exit_code == 2
