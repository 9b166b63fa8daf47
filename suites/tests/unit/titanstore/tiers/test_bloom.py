"""A Bloom filter may say "perhaps" too often, never "no" to a key stored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import hypothesis.strategies as st
import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings

from suites.tests.unit.titanstore.tiers.filters import (
    OFF,
    ON,
    STORE_ID,
    VECTOR,
    Reader,
    fingerprints,
    has_all,
)
from titanstore import EmbeddingStore
from titanstore.tiers import bloom
from titanstore.tiers.bloom import BloomFilter


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30
)
@given(found=st.sets(st.binary(min_size=6, max_size=6)))
def test_no_false_negative(tmp_path: Path, found: set[bytes]) -> None:
    half = sorted(found)[::2]
    built = BloomFilter.build(tmp_path / "BLOOM", STORE_ID, half, len(half))
    built.add(found - set(half))
    assert all(built.may_contain(fingerprint) for fingerprint in found)
    built.close(is_clean=True)
    for read_only in (True, False):
        opened = BloomFilter.open(tmp_path / "BLOOM", STORE_ID, read_only=read_only)
        assert opened is not None
        assert all(opened.may_contain(fingerprint) for fingerprint in found)
        assert opened.added == len(found)


def test_about_one_absent_key_in_a_hundred_passes_when_full(tmp_path: Path) -> None:
    count = 65_536
    built = BloomFilter.build(tmp_path / "BLOOM", STORE_ID, fingerprints(count, 1), 0)
    built.add(fingerprints(1, 2))
    assert built.is_worn
    passed = sum(map(built.may_contain, fingerprints(20_000, 3)))
    assert 180 < passed < 390  # 1.4 %: 280 of 20 000, six standard deviations


def test_the_filter_is_rebuilt_when_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom, "_CAPACITY_MIN", 16)
    with EmbeddingStore.open(tmp_path / "s", ON) as store:
        reader = EmbeddingStore.open(tmp_path / "s", ON, read_only=True)
        keys = [f"key {number}" for number in range(300)]
        for key in keys:
            store.put(key, VECTOR)
            assert key in store
            assert key in reader
        assert has_all(store, keys)
        assert has_all(reader, keys)
        assert store._bloom is not None
        assert not store._bloom.is_worn
        absent = sum(f"absent {number}" in store for number in range(1_000))
        assert absent == 0
        assert store.stats().counters["bloom_refusals"] > 900
        reader.close()


def test_a_process_that_maps_it_sees_what_is_written_with_the_setting_off(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    reader = Reader(tmp_path)
    assert reader.sees("k1")
    with EmbeddingStore.open(tmp_path, OFF) as store:
        store.put("k2", VECTOR)
        assert reader.sees("k1", "k2")
    with EmbeddingStore.open(tmp_path, ON) as store:
        assert has_all(store, ["k1", "k2"])
        store.put("k3", VECTOR)
        assert reader.sees("k1", "k2", "k3")
    reader.close()


def test_a_process_that_maps_it_sees_what_is_written_after_a_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bloom, "_CAPACITY_MIN", 16)
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
        reader = Reader(tmp_path)
        keys = [f"k{number}" for number in range(2, 80)]
        for key in keys:
            store.put(key, VECTOR)
            assert reader.sees("k1", key)
        assert reader.sees(*keys)
    reader.close()


def test_a_crash_while_it_is_rebuilt_leaves_no_reader_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the new file's name and the word to the readers of the old one there is no gap."""
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    reader = EmbeddingStore.open(tmp_path, ON, read_only=True)
    monkeypatch.setattr(BloomFilter, "is_worn", property(lambda _: True))
    build = BloomFilter.build

    def killed(*given: object) -> BloomFilter:
        build(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    reader.close()
    process = Reader(tmp_path)
    monkeypatch.setattr(BloomFilter, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore.open(tmp_path, ON)
    monkeypatch.undo()
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k2", VECTOR)
        assert process.sees("k1", "k2")
    process.close()


def rewritten_boot(path: Path, boot: bytes, state: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[24:40] = boot
    at = bloom._HEADER.size - 4
    content[at : at + 4] = crc32c(bytes(content[:at])).to_bytes(4, "little")
    content[bloom._STATE_AT : bloom._STATE_AT + 4] = state
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("state", "believed"),
    [
        (bloom._CLEAN, True),
        (bloom._IN_USE, False),
        (bloom._SUPERSEDED, False),
        (b"\3\2\2\2", False),
        (b"\1\1\2\2", False),
    ],
)
def test_after_a_reboot_only_a_clean_file_is_believed(
    tmp_path: Path, state: bytes, *, believed: bool
) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    rewritten_boot(tmp_path / "BLOOM", bytes(16), state)
    with EmbeddingStore.open(tmp_path, ON, read_only=True) as reader:
        assert (reader._bloom is not None) is believed
        assert "k1" in reader


def test_a_reader_of_a_clean_file_sees_what_is_written_after_a_reboot(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    rewritten_boot(tmp_path / "BLOOM", bytes(16), bloom._CLEAN)
    reader = Reader(tmp_path)
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k2", VECTOR)
        assert reader.sees("k1", "k2")
    reader.close()


def _is_tmpfs(path: Path) -> bool:
    answer = subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip() in ("tmpfs", "overlayfs")


def test_the_disk_knows_that_it_is_in_use_before_the_first_write(tmp_path: Path) -> None:
    """Or a power cut would leave a file that lacks keys and is marked as clean."""
    if _is_tmpfs(tmp_path):
        pytest.skip("this file system is never written to a disk")
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    with EmbeddingStore.open(tmp_path, ON):
        maps = Path("/proc/self/smaps").read_text().split("VmFlags")
        mine = [part for part in maps if f"{tmp_path}/BLOOM" in part]
        dirty = [line for part in mine for line in part.splitlines() if "_Dirty:" in line]
        assert dirty
        assert all(int(line.split()[1]) == 0 for line in dirty)
