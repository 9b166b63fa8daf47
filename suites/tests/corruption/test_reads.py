"""Files cut short under whoever reads them: SIGBUS through a mapping, an error by pread."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import CorruptionError, EmbeddingStore, StoreConfig

MAPPED = StoreConfig(hot_bytes_max=0, warm_bytes_max=0, prefetch=False)
READ = StoreConfig(hot_bytes_max=0, warm_bytes_max=0, prefetch=False, segment_reads="pread")
COUNT, DIMENSION = 60, 256  # some pages of segment and plane


def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((COUNT, DIMENSION)).astype(np.float32)


KEYS = [f"key {number}" for number in range(COUNT)]


@pytest.fixture(params=[True, False], ids=["search", "no-search"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    config = StoreConfig(search=request.param, prefetch=False)
    with EmbeddingStore.open(tmp_path / "store", config) as store:
        store.put_many(KEYS, vectors(), "doc")
        store.put_many(["raw"], np.zeros((1, 3), np.float32))
        store.snapshot("v")
    return tmp_path / "store"


def test_pread_reads_the_same(folder: Path) -> None:
    with EmbeddingStore.open(folder, READ) as store:
        for key, vector in zip(KEYS, vectors(), strict=True):
            assert store.get(key).tobytes() == vector.tobytes()
            assert store.get(key).flags.aligned
        assert store.get_many(KEYS).tobytes() == vectors().tobytes()
        assert store.document_keys("doc") == KEYS
        assert store.at(1).get("key 7").tobytes() == vectors()[7].tobytes()
        assert store.check().is_clean
        store.update_document("doc", [(KEYS[0], vectors()[1]), (KEYS[1], vectors()[1])])
        store.delete(["raw"])
        store.drop_versions(keep=0)
        assert store.maintain().segments_removed == 1
        assert store.get(KEYS[0]).tobytes() == vectors()[1].tobytes()
        assert store.check().is_clean
    with EmbeddingStore.open(folder, MAPPED) as store:
        assert store.get(KEYS[0]).tobytes() == vectors()[1].tobytes()
        assert store.check().is_clean


@pytest.mark.parametrize("compression", [True, False])
def test_pread_searches_the_same(tmp_path: Path, compression: bool) -> None:
    config = StoreConfig(compression=compression, segment_reads="pread")
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(KEYS[:40], vectors()[:40], "doc")
        assert store.get(KEYS[3]).flags.aligned
        store.search(vectors()[0], k=1)  # the codes are in memory from here on
        store.put_many(KEYS[40:], vectors()[40:], "doc")
        store.delete([KEYS[5]])
        found = store.search_many(vectors(), k=7)
        with EmbeddingStore.open(tmp_path, StoreConfig(), read_only=True) as mapped:
            assert mapped.search_many(vectors(), k=7) == found
    with EmbeddingStore.open(tmp_path, config, read_only=True) as reader:
        assert reader.search_many(vectors(), k=7) == found


def test_a_record_longer_than_a_window(tmp_path: Path) -> None:
    long = np.random.default_rng(1).integers(0, 2**32, 16_383, np.uint32).view(np.float32)
    with EmbeddingStore.open(tmp_path, READ) as store:
        store.put("k" * 480, long, "doc")
        store.put("after", long[:5], "doc")
        assert store.get("k" * 480).tobytes() == long.tobytes()
        assert store.document_keys("doc") == ["k" * 480, "after"]


_READ_WHILE_CUT = """
import sys
from pathlib import Path
from titanstore import EmbeddingStore, StoreConfig, StoreError
folder, reads = Path(sys.argv[1]), sys.argv[2]
config = StoreConfig(hot_bytes_max=0, warm_bytes_max=0, prefetch=False, segment_reads=reads)
store = EmbeddingStore.open(folder, config, read_only=True)
assert store.get("key 59").size == 256
for path in folder.glob(sys.argv[3]):
    with path.open("r+b") as file:
        file.truncate(4_096)
print("cut", flush=True)
failed = set()
for number in range(59, -1, -1):
    try:
        store.get(f"key {number}")
    except StoreError as error:
        failed.add(str(error.kind))
        assert str(error)
print(*sorted(failed), flush=True)
"""


def read_while_cut(folder: Path, reads: str, files: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", _READ_WHILE_CUT, str(folder), reads, files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_cut_short_under_a_mapping_the_process_ends_and_the_next_one_reads(folder: Path) -> None:
    whole = Path(shutil.copytree(folder, folder.parent / "whole"))
    status, said, _ = read_while_cut(folder, "mmap", "segments/*.seg")
    assert (status, said) == (-signal.SIGBUS, ["cut"])
    # nothing of the dead reader is in the way of who opens what is left, or what was put back
    with pytest.raises(CorruptionError) as caught:
        EmbeddingStore.open(folder, MAPPED)
    assert caught.value.kind == "short-segment"
    with EmbeddingStore.open(folder, MAPPED, read_only=True) as store:
        assert store.get("key 0").tobytes() == vectors()[0].tobytes()
        assert not store.check().is_clean
    shutil.copy(whole / "segments" / "00001.seg", folder / "segments" / "00001.seg")
    with EmbeddingStore.open(folder, MAPPED) as store:
        assert store.check().is_clean
        store.put("new", vectors()[0])


@pytest.mark.parametrize("files", ["segments/*.seg", "segments/*.plane"])
def test_cut_short_under_pread_it_is_an_error(folder: Path, files: str) -> None:
    status, said, errors = read_while_cut(folder, "pread", files)
    assert status == 0, errors
    if list(folder.glob(files)):
        assert said[:1] == ["cut"]
        assert set(said[1].split()) <= {"short-segment", "bad-record"}
        assert said[1]


def test_a_disk_that_cannot_read_is_an_error_by_pread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddingStore.open(folder, READ, read_only=True) as store:
        assert store.get("key 3").tobytes() == vectors()[3].tobytes()

        def fail(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("os.pread", fail)
            with pytest.raises(Exception, match=r"reading segment 1 at .*Input/output") as caught:
                store.get("key 4")
        assert getattr(caught.value, "kind", None) == "io-failed"
        assert store.get("key 4").tobytes() == vectors()[4].tobytes()
