"""A Bloom filter may say "perhaps" too often, never "no" to a key that is stored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings

from titanstore import EmbeddingStore, NotFoundError, StoreConfig
from titanstore.tiers import bloom
from titanstore.tiers.bloom import BloomFilter

STORE_ID = b"0123456789abcdef"
ON = StoreConfig(bloom=True, durability="power_cut_may_lose_store")
OFF = StoreConfig(bloom=False, durability="power_cut_may_lose_store")
VECTOR = np.ones(4, np.float32)


def fingerprints(count: int, seed: int) -> list[bytes]:
    return [
        row.tobytes() for row in np.random.default_rng(seed).integers(0, 256, (count, 4), np.uint8)
    ]


def has_all(store: EmbeddingStore, keys: list[str]) -> bool:
    return all(key in store for key in keys)


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
    assert built.is_full
    passed = sum(map(built.may_contain, fingerprints(20_000, 3)))
    assert 80 < passed < 320  # 0.8 %: 160 of 20 000, six standard deviations


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
        assert not store._bloom.is_full
        absent = sum(f"absent {number}" in store for number in range(1_000))
        assert absent == 0
        assert store.stats().counters["bloom_refusals"] > 900
        reader.close()


_READER = """
import sys
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(bloom=True), read_only=True)
assert store._bloom is not None
print("open", flush=True)
for line in sys.stdin:
    print(all(key in store for key in line.split()), flush=True)
"""


class Reader:
    """Another process that maps the filter and says whether it sees keys."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"

    def sees(self, *keys: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*keys, file=self.process.stdin, flush=True)
        return self.process.stdout.readline() == "True\n"

    def close(self) -> None:
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


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
    monkeypatch.setattr(BloomFilter, "is_full", property(lambda _: True))
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


def rewritten_boot(path: Path, boot: bytes, state: int) -> None:
    content = bytearray(path.read_bytes())
    content[24:40] = boot
    at = bloom._HEADER.size - 4
    content[at : at + 4] = crc32c(bytes(content[:at])).to_bytes(4, "little")
    content[bloom._STATE_AT] = state
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("state", "believed"),
    [(bloom._CLEAN, True), (bloom._IN_USE, False), (bloom._SUPERSEDED, False)],
)
def test_after_a_reboot_only_a_clean_file_is_believed(
    tmp_path: Path, state: int, *, believed: bool
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


def test_check_lists_a_filter_that_would_hide_a_key(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, ON) as store:
        store.put("k1", VECTOR)
    content = bytearray((tmp_path / "BLOOM").read_bytes())
    content[bloom._BITS_AT :] = bytes(len(content) - bloom._BITS_AT)
    (tmp_path / "BLOOM").write_bytes(content)
    with EmbeddingStore.open(tmp_path, ON, read_only=True) as store:
        (problem,) = store.check().problems
        assert problem.kind == "bad-bloom"
        assert "'k1'" in problem.place
    (tmp_path / "BLOOM").unlink()
    with EmbeddingStore.open(tmp_path, ON) as store:
        assert store.check().is_clean
        assert "k1" in store
