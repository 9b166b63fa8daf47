"""A Bloom filter may say "perhaps" too often, never "no" to a key stored: damaged or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings

from titanstore import EmbeddingStore, NotFoundError, StoreConfig
from titanstore.segments.disk import boot_id
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
        self.process.communicate(timeout=60)
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


# -- damage ---------------------------------------------------------------------------------------

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
