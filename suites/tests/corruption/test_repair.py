"""`check` with `repair`: what has another copy comes back bit for bit, the rest is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fixtures.vectors import bfloat16
from titanstore import CorruptionError, EmbeddingStore, ReadOnlyError, StoreConfig
from titanstore.cli import main
from titanstore.codec.frame import SLICED_TABLED_CODEC_ID
from titanstore.keys import stored_key
from titanstore.segments.layout import Record

CONFIG = StoreConfig(prefetch=False, hot_bytes_max=0, warm_bytes_max=0)
LANCE = StoreConfig(
    prefetch=False, hot_bytes_max=0, warm_bytes_max=0, search_index="lance", lance_vectors_min=0
)


def rows(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 32)).astype(np.float32)


def flip(path: Path, offset: int, bits: int = 0x10) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(data)


def record_of(folder: Path, key: str) -> Record:
    with EmbeddingStore.open(folder, CONFIG, read_only=True) as store:
        found = store._cascade.cold.find(stored_key(key))
        assert found is not None
        return found


def segment(folder: Path) -> Path:
    return folder / "segments" / "00001.seg"


def test_from_a_record_that_a_version_keeps(tmp_path: Path) -> None:
    first, second = rows(0, 3), rows(1, 3)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b", "c"], first, "doc")
        store.snapshot("v")
        store.put_many(["a", "b"], second[:2], "doc")
        store.put_many(["a", "b"], first[:2], "doc")  # the same bits as in the version
        store.put("d", second[2])
    flip(segment(tmp_path), record_of(tmp_path, "a").end - 2)
    flip(segment(tmp_path), record_of(tmp_path, "d").end - 2)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        with pytest.raises(CorruptionError):
            store.get("a")
        report = store.check(repair=True)
        assert report.restored == ("a",)
        (problem,) = report.problems
        assert "'d'" in problem.place
        assert store.get("a").tobytes() == first[0].tobytes()
        assert store.document_keys("doc") == ["a", "b", "c"]
        assert store.at(1).get("a").tobytes() == first[0].tobytes()
        store.put("d", second[2])
        assert store.check().is_clean
        store.rollback(1)
        assert store.get_many(["a", "b", "c"]).tobytes() == first.tobytes()
        assert store.check().is_clean


def test_a_version_gets_back_what_the_present_still_has(tmp_path: Path) -> None:
    first, second = rows(0, 2), rows(1, 2)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b"], first, "doc")
        end = record_of_open(store, "a").end
        store.snapshot("v")
        store.put("a", second[0], "doc")
        store.put("a", first[0], "doc")
    flip(segment(tmp_path), end - 2)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        with pytest.raises(CorruptionError):
            store.at(1).get("a")
        assert not store.check().is_clean
        assert store.check(repair=True).is_clean
        assert store.at(1).get("a").tobytes() == first[0].tobytes()
        assert store.get("a").tobytes() == first[0].tobytes()


def record_of_open(store: EmbeddingStore, key: str) -> Record:
    found = store._cascade.cold.find(stored_key(key))
    assert found is not None
    return found


def test_a_row_of_a_plane_is_made_again(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b"], rows(0, 2), "doc")
    (plane,) = (tmp_path / "segments").glob("*.plane")
    flip(plane, 64 + 32 + 8)  # the scale of the first row: only search would be misled
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        assert store.check().problems[0].kind == "bad-plane"
        report = store.check(repair=True)
        assert (report.restored, report.problems) == (("a",), ())
        assert [hit.key for hit in store.search(rows(0, 2)[0], k=1)] == ["a"]
        store.maintain()
        assert store.check().is_clean


def test_codes_of_a_plane_without_a_copy_are_listed(tmp_path: Path) -> None:
    vectors = bfloat16(np.random.default_rng(2), 2, 64)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b"], vectors, "doc")
        assert record_of_open(store, "a").header.codec_id == SLICED_TABLED_CODEC_ID
    (plane,) = (tmp_path / "segments").glob("*.plane")
    flip(plane, 64 + 3)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        report = store.check(repair=True)
        assert report.restored == ()
        (problem,) = report.problems
        assert "key 'a'" in problem.place
        assert store.get("b").tobytes() == vectors[1].tobytes()


def test_from_a_lance_table(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    vectors = rows(0, 300)
    keys = [f"key {number}" for number in range(300)]
    with EmbeddingStore.open(tmp_path, LANCE) as store:
        store.put_many(keys[:150], vectors[:150], "doc")
        store.put_many(keys[150:], vectors[150:], "of the damaged head")
        assert store.maintain().lance_rows == 300
        store.put("late", vectors[0])  # after it: the table has no copy
        store.put("key 9", -vectors[9], "doc")  # the table has the vector before
    for key in ("key 4", "key 5", "key 9", "late"):
        flip(segment(tmp_path), record_of(tmp_path, key).end - 2)
    damaged_head = record_of(tmp_path, "key 200").offset + 8
    flip(segment(tmp_path), damaged_head)
    with EmbeddingStore.open(tmp_path, LANCE) as store:
        report = store.check(repair=True)
        assert store.get("key 4").tobytes() == vectors[4].tobytes()
        for key in ("key 9", "late", "key 200"):
            with pytest.raises(CorruptionError):
                store.get(key)
        places = " ".join(problem.place for problem in report.problems)
        assert all(f"'{key}'" in places for key in ("key 9", "late"))
        assert f"offset {damaged_head - 8}" in places
        assert report.restored == ("key 4", "key 5")


def test_on_the_command_line(tmp_path: Path) -> None:
    first = rows(0, 2)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b"], first)
        store.snapshot("v")
        store.put("a", -first[0])
        store.put("a", first[0])
    flip(segment(tmp_path), record_of(tmp_path, "a").end - 2)
    run = CliRunner().invoke
    assert run(main, ["check", str(tmp_path)]).exit_code == 1
    shown = run(main, ["check", "--repair", str(tmp_path)])
    assert (shown.exit_code, "restored: 'a'" in shown.output) == (0, True)
    assert run(main, ["check", str(tmp_path)]).exit_code == 0
    with (
        EmbeddingStore.open(tmp_path, CONFIG, read_only=True) as store,
        pytest.raises(ReadOnlyError),
    ):
        store.check(repair=True)


def test_a_whole_store_is_left_alone(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b"], rows(0, 2), "doc")
        store.snapshot("v")
        before = segment(tmp_path).read_bytes()
        report = store.check(repair=True)
        assert (report.is_clean, report.restored) == (True, ())
        assert segment(tmp_path).read_bytes() == before
