"""Damage of planes and marks: never a wrong vector, never a vector that search misses unseen."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fixtures.marked import unmarked
from fixtures.vectors import Vectors, bfloat16, bfloat16_divided, random_bits
from titanstore import (
    CorruptionError,
    EmbeddingStore,
    NewerFormatError,
    StoreConfig,
    StoreError,
)
from titanstore.codec.choose import LATTICE, SLICED_TABLED
from titanstore.keys import stored_key
from titanstore.segments.layout import Record
from titanstore.segments.marks import marks_path
from titanstore.segments.plane import PLANE_HEADER_BYTES, plane_path, row_bytes

CONFIG = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)
DIMENSION = 256


def token_mean(rng: np.random.Generator, count: int, dimension: int) -> Vectors:
    """Of so few tokens that they are stored as lattices."""
    states = rng.standard_normal((2, count, dimension)).astype(np.float16).astype(np.float32)
    means = states.sum(axis=0, dtype=np.float32) / np.float32(2) / np.float32(11.7)
    return np.asarray(means / np.float32(1 - 2.0**-24), np.float32)


MAKERS = (bfloat16, bfloat16_divided, token_mean, random_bits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """Sliced frames, lattices and raw ones, each with a row; and what the store holds."""
    folder = tmp_path_factory.mktemp("planes") / "store"
    rng = np.random.default_rng(12)
    wanted: dict[str, bytes] = {}
    with EmbeddingStore.open(folder, CONFIG) as store:
        for make in MAKERS:
            vectors = make(rng, 4, DIMENSION)
            keys = [f"{make.__name__} {number}" for number in range(4)]
            store.put_many(keys, vectors, "doc")
            wanted |= {key: row.tobytes() for key, row in zip(keys, vectors, strict=True)}
        assert store.check().is_clean
        assert {record_of(store, key).header.codec_id for key in wanted} >= {
            SLICED_TABLED.codec_id,
            LATTICE.codec_id,
            0,
        }
    return folder, wanted


@pytest.fixture
def copy(tmp_path: Path, whole: tuple[Path, dict[str, bytes]]) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "store"))


def record_of(store: EmbeddingStore, key: str) -> Record:
    (record,) = store._cascade.cold.find_many([stored_key(key)])
    assert record is not None
    return record


def plane_of(folder: Path) -> Path:
    return plane_path(folder / "segments", 1, DIMENSION)


def flip(path: Path, offset: int, bits: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def test_any_byte_of_a_plane(copy: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    """`get` gives the right bits or an error; `check` finds each damage of a current row."""
    path, size = plane_of(copy), row_bytes(DIMENSION)
    rng = np.random.default_rng()
    offsets = {*range(36), *rng.integers(64, path.stat().st_size, 250).tolist()}
    refused = 0
    for offset in sorted(offsets):
        bits = int(rng.integers(1, 256))
        flip(path, offset, bits)
        with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
            for key, value in whole[1].items():
                try:
                    assert store.get(key).tobytes() == value, (offset, bits)
                except (CorruptionError, NewerFormatError):
                    refused += 1
                with suppress(CorruptionError, NewerFormatError):
                    assert store.get_many([key])[0].tobytes() == value, (offset, bits)
            report = store.check()
        # the last 4 bytes of a row mean nothing
        is_padding = (
            offset >= PLANE_HEADER_BYTES and (offset - PLANE_HEADER_BYTES) % size >= size - 4
        )
        assert report.is_clean is is_padding, (offset, bits)
        for problem in report.problems:
            assert problem.place.startswith(("segment 1, offset", "document 'doc'")), problem
        flip(path, offset, bits)
    assert refused > 100
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert store.check().is_clean


def test_damaged_codes_are_caught_by_the_frame(copy: Path) -> None:
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        row = record_of(store, "bfloat16 2").row
    flip(plane_of(copy), PLANE_HEADER_BYTES + row * row_bytes(DIMENSION) + 100, 1)
    with EmbeddingStore.open(copy, CONFIG) as store:
        with pytest.raises(CorruptionError, match=r"'bfloat16 2'.*checksum") as caught:
            store.get("bfloat16 2")
        assert caught.value.kind == "checksum-mismatch"
        (problem,) = store.check().problems
        assert (problem.kind, "'bfloat16 2'" in problem.place) == ("checksum-mismatch", True)
        # a damaged frame is mended by writing it again
        vector = bfloat16(np.random.default_rng(1), 1, DIMENSION)[0]
        store.put("bfloat16 2", vector)
        assert store.get("bfloat16 2").tobytes() == vector.tobytes()
        assert store.check().is_clean


@pytest.mark.parametrize("key", ["bfloat16 1", "token_mean 1"])
def test_damaged_facts_are_found_by_check_and_mended(
    copy: Path, whole: tuple[Path, dict[str, bytes]], key: str
) -> None:
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        row = record_of(store, key).row
    flip(plane_of(copy), PLANE_HEADER_BYTES + (row + 1) * row_bytes(DIMENSION) - 20, 0x40)
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert store.get(key).tobytes() == whole[1][key], "the vector is whole"
        (problem,) = store.check().problems
        assert (problem.kind, f"{key!r}" in problem.place) == ("bad-plane", True)
        store.delete([key])
        store.put(key, np.frombuffer(whole[1][key], np.float32))
        assert store.check().is_clean


def test_damaged_facts_are_made_anew_when_their_record_moves(
    copy: Path, whole: tuple[Path, dict[str, bytes]]
) -> None:
    keep = {"token_mean 1", "bfloat16 1"}
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        rows = [record_of(store, key).row for key in keep]
    for row in rows:
        flip(plane_of(copy), PLANE_HEADER_BYTES + (row + 1) * row_bytes(DIMENSION) - 20, 0x40)
    with EmbeddingStore.open(copy, CONFIG) as store:
        store.delete(whole[1].keys() - keep)
        assert store.maintain().segments_removed == 1
        assert store.check().is_clean
        assert {key: store.get(key).tobytes() for key in keep} == {
            key: whole[1][key] for key in keep
        }


def test_a_missing_plane(copy: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    plane_of(copy).unlink()
    for read_only in (True, False):
        with EmbeddingStore.open(copy, CONFIG, read_only=read_only) as store:
            with pytest.raises(CorruptionError, match=r"00001-256\.plane is missing") as caught:
                store.get("bfloat16 0")
            assert caught.value.kind == "missing-segment"
            with pytest.raises(CorruptionError, match=r"00001-256\.plane is missing"):
                store.get_many(["bfloat16 0", "bfloat16 1"])
            # a frame that needs no codes is read on
            assert store.get("random_bits 0").tobytes() == whole[1]["random_bits 0"]
            problems = store.check().problems
            assert {problem.kind for problem in problems} == {"missing-segment"}
            assert all("00001-256.plane" in problem.message for problem in problems)
            assert sum("offset" in problem.place for problem in problems) == len(whole[1])
    with EmbeddingStore.open(copy, CONFIG) as store:
        with pytest.raises(CorruptionError, match=r"00001-256\.plane is missing"):
            store.put("new", np.ones(DIMENSION, np.float32))
        store.put("other dimension", np.ones(3, np.float32))
        assert "new" not in store
    assert not plane_of(copy).exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45])
def test_a_shortened_plane(copy: Path, whole: tuple[Path, dict[str, bytes]], share: float) -> None:
    path = plane_of(copy)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    good, kinds = 0, set()
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        for key, value in whole[1].items():
            try:
                assert store.get(key).tobytes() == value
                good += 1
            except CorruptionError as error:
                kinds.add(error.kind)
        assert good
        assert kinds == {"short-segment"}
        assert {problem.kind for problem in store.check().problems} == {"short-segment"}


def test_a_plane_of_another_store(copy: Path, tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path / "other", CONFIG) as other:
        other.put_many([f"k{n}" for n in range(20)], bfloat16(np.random.default_rng(3), 20, 256))
    shutil.copy(plane_of(tmp_path / "other"), plane_of(copy))
    for read_only in (True, False):
        with EmbeddingStore.open(copy, CONFIG, read_only=read_only) as store:
            with pytest.raises(CorruptionError, match=r"00001-256\.plane.*another store"):
                store.get("bfloat16 0")
            assert not store.check().is_clean


@pytest.mark.parametrize("how", ["gone", "damaged", "empty", "short"])
def test_marks_are_made_anew(copy: Path, how: str) -> None:
    path = marks_path(copy / "segments", 1, DIMENSION)
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"damaged": b"X" + content[1:], "empty": b"", "short": content[:9]}[how])
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        assert store.check().is_clean, "a reader does without marks"
        assert [marks for _, marks in store._reader.planes.current()] == [None]
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert unmarked(store._catalog, store._reader) == []
        store.put("more", np.ones(DIMENSION, np.float32))
        assert unmarked(store._catalog, store._reader) == []
        assert store.check().is_clean


def test_a_row_that_is_not_marked_is_found_by_check(copy: Path) -> None:
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        row = record_of(store, "bfloat16 2").row
    path = marks_path(copy / "segments", 1, DIMENSION)
    flip(path, 64 + row, 1)
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert len(unmarked(store._catalog, store._reader)) == 1
        (problem,) = store.check().problems
        assert (problem.kind, "'bfloat16 2'" in problem.place) == ("bad-plane", True)
    path.unlink()
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert store.check().is_clean


@pytest.mark.parametrize("name", ["plane", "marks"])
def test_noise_in_place_of_a_file(copy: Path, name: str) -> None:
    rng = np.random.default_rng()
    (path,) = (copy / "segments").glob(f"*.{name}")
    for size in (0, 1, 63, 64, 65, 5_000):
        path.write_bytes(rng.bytes(size))
        for read_only in (True, False):
            with EmbeddingStore.open(copy, CONFIG, read_only=read_only) as store:
                for key in ("bfloat16 0", "token_mean 0", "random_bits 0"):
                    with suppress(StoreError):
                        store.get(key)
                assert store.check().is_clean is (name == "marks")
