"""A damaged, foreign or old Bloom filter hides no key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c

from suites.tests.unit.titanstore.tiers.filters import (
    OFF,
    ON,
    STORE_ID,
    VECTOR,
    Reader,
    fingerprints,
    has_all,
)
from titanstore import EmbeddingStore, NotFoundError
from titanstore.segments.disk import boot_id
from titanstore.tiers import bloom
from titanstore.tiers.bloom import BloomFilter


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: b"X" + data[1:],
        lambda data: data[:20] + b"\xff" + data[21:],
        lambda data: data + b"\0",
    ],
)
def test_a_damaged_file_is_not_believed(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    file = tmp_path / "BLOOM"
    file.write_bytes(damage(file.read_bytes()))
    with EmbeddingStore.open(tmp_path, ON, read_only=True) as reader:
        assert reader._bloom is None
        assert "k1" in reader
    with EmbeddingStore.open(tmp_path, ON) as store:
        assert store._bloom is not None
        assert "k1" in store
        with pytest.raises(NotFoundError):
            store.get("absent")
        assert store.stats().counters["bloom_refusals"] == 1


def test_a_filter_of_another_store_is_not_believed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with EmbeddingStore.open(tmp_path / name, ON) as store:
            store.put(name, VECTOR)
    (tmp_path / "one" / "BLOOM").replace(tmp_path / "two" / "BLOOM")
    with EmbeddingStore.open(tmp_path / "two", ON) as store:
        assert "two" in store


_BLOCK = bloom._BLOCK_BYTES


def filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bytes], bytes]:
    """A small filter in a file, half full: what is in it, and its bytes."""
    monkeypatch.setattr(bloom, "_CAPACITY_MIN", 512)
    inside = fingerprints(300, 5)
    BloomFilter.build(path, STORE_ID, inside, 0).close(is_clean=True)
    return inside, path.read_bytes()


def seen_in(path: Path, content: bytes) -> BloomFilter:
    """A filter that is damaged after it was opened."""
    opened = BloomFilter.open(path, STORE_ID, read_only=True)
    assert opened is not None
    with path.open("r+b") as file:
        file.write(content)
    return opened


def test_no_byte_of_the_file_hides_a_key_when_it_flips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, whole = filled(tmp_path / "BLOOM", monkeypatch)
    rng = np.random.default_rng()
    places = range(bloom._BLOCKS_AT, len(whole))
    for at in [*range(bloom._BLOCKS_AT), *rng.choice(places, 30, replace=False).tolist()]:
        content = bytearray(whole)
        content[at] ^= int(rng.integers(1, 256))
        (tmp_path / "BLOOM").write_bytes(content)
        opened = BloomFilter.open(tmp_path / "BLOOM", STORE_ID, read_only=True)
        assert opened is None or all(map(opened.may_contain, inside)), at
        if at >= bloom._BLOCKS_AT:
            assert opened is not None
            assert opened.damaged_blocks() == 1
            assert BloomFilter.open(tmp_path / "BLOOM", STORE_ID, read_only=False) is None


def _zeros(blocks: list[bytes]) -> list[bytes]:
    return [bytes(_BLOCK)] * len(blocks)


def _ones(blocks: list[bytes]) -> list[bytes]:
    return [b"\xff" * _BLOCK] * len(blocks)


def _moved(blocks: list[bytes]) -> list[bytes]:
    return blocks[1:] + blocks[:1]


def _torn(blocks: list[bytes]) -> list[bytes]:
    """As a process leaves a block that is killed within its store."""
    return [block[:32] + bytes(28) + block[60:] for block in blocks]


@pytest.mark.parametrize("damage", [_zeros, _ones, _moved, _torn])
def test_no_damage_to_blocks_hides_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    inside, whole = filled(tmp_path / "BLOOM", monkeypatch)
    starts = range(bloom._BLOCKS_AT, len(whole), _BLOCK)
    blocks = damage([whole[at : at + _BLOCK] for at in starts])
    opened = seen_in(tmp_path / "BLOOM", whole[: bloom._BLOCKS_AT] + b"".join(blocks))
    assert all(map(opened.may_contain, inside))
    assert opened.damaged_blocks() == len(blocks)


def test_blocks_of_another_stores_filter_hide_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, whole = filled(tmp_path / "BLOOM", monkeypatch)
    other = b"another store id"
    BloomFilter.build(tmp_path / "other", other, [], 0).close(is_clean=True)
    empty = (tmp_path / "other").read_bytes()
    opened = seen_in(tmp_path / "BLOOM", whole[: bloom._BLOCKS_AT] + empty[bloom._BLOCKS_AT :])
    assert all(map(opened.may_contain, inside))


def test_a_key_added_to_a_damaged_block_does_not_seal_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, whole = filled(tmp_path / "BLOOM", monkeypatch)
    opened = BloomFilter.open(tmp_path / "BLOOM", STORE_ID, read_only=False)
    assert opened is not None
    with (tmp_path / "BLOOM").open("r+b") as file:
        file.seek(bloom._BLOCKS_AT)
        file.write(bytes(len(whole) - bloom._BLOCKS_AT))
    assert not opened.is_worn
    opened.add(fingerprints(50, 6))
    assert opened.is_worn
    assert all(map(opened.may_contain, inside + fingerprints(50, 6)))


def zeroed(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(bloom._BLOCKS_AT)
        opened.write(bytes(file.stat().st_size - bloom._BLOCKS_AT))


def test_damage_while_it_is_in_use_is_answered_by_the_catalog_and_mended(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(50)]
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put_many(keys, np.tile(VECTOR, (len(keys), 1)))
        reader = Reader(tmp_path)
        zeroed(tmp_path / "BLOOM")
        assert reader.sees(*keys)
        assert has_all(store, keys)
        assert not any(f"absent {number}" in store for number in range(50))
        assert store.stats().counters["bloom_refusals"] == 0
        store.put_many(["k50", "k51"], np.tile(VECTOR, (2, 1)))  # built anew for it
        assert reader.sees(*keys, "k50", "k51")
        assert has_all(store, [*keys, "k50", "k51"])
        assert not any(f"absent {number}" in store for number in range(50))
        assert store.stats().counters["bloom_refusals"] > 30
        assert store.check().is_clean
        reader.close()


def test_check_tells_of_damage_and_the_next_writer_mends_it(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    zeroed(tmp_path / "BLOOM")
    with EmbeddingStore.open(tmp_path, ON, read_only=True) as store:
        assert "k1" in store
        (problem,) = store.check().problems
        assert (problem.kind, problem.place) == ("bad-bloom", "BLOOM")
    with EmbeddingStore.open(tmp_path, ON) as store:
        assert store.check().is_clean
        assert "k1" in store


def test_check_lists_a_filter_that_lacks_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        with monkeypatch.context() as patch:
            patch.setattr(BloomFilter, "add", lambda *_: None)
            store.put("k1", VECTOR)
        (problem,) = store.check().problems
        assert problem.kind == "bad-bloom"
        assert "'k1'" in problem.place


def test_a_filter_of_version_1_is_not_believed_and_its_readers_are_told(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, OFF) as store:
        store.put("k1", VECTOR)
        store_id = store._folder.store_id
    fields = (b"TBLM", 1, 7, store_id, boot_id(), 8 * 1_000)
    covered = bloom._HEADER.pack(*fields, 0)[:-4]
    head = covered + crc32c(covered).to_bytes(4, "little") + bytes(4) + b"\2"
    (tmp_path / "BLOOM").write_bytes(head.ljust(128, b"\0") + bytes(1_000))
    with EmbeddingStore.open(tmp_path, ON, read_only=True) as reader:
        assert reader._bloom is None
        assert "k1" in reader
    with (tmp_path / "BLOOM").open("rb") as mapped_by_another:
        with EmbeddingStore.open(tmp_path, ON) as store:
            assert "k1" in store
        assert mapped_by_another.read(57)[56] == 3  # superseded, as version 1 knows it
    assert (tmp_path / "BLOOM").read_bytes()[4] == 2
