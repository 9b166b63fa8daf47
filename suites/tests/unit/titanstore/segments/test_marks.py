"""Marks files: believed within one boot and one store, replaced and never cut."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from crc32c import crc32c

from fixtures.segments import STORE_ID
from titanstore.errors import StorageError
from titanstore.segments import marks as module
from titanstore.segments.disk import boot_id
from titanstore.segments.marks import CURRENT, GONE, MarksWriter, fresh_path, map_marks, marks_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return marks_path(tmp_path, 7, 256)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def build(path: Path, marks: bytes = b"") -> MarksWriter:
    return MarksWriter.build(path, STORE_ID, marks)


def test_bytes_are_those_of_the_format_page(path: Path) -> None:
    build(path, b"\1\0\2").close()
    covered = b"TMRK\x01\x00\x00\x00" + STORE_ID + boot_id()
    header = covered + crc32c(covered).to_bytes(4, "little")
    assert path.name == "00007-256.marks"
    assert path.read_bytes() == header.ljust(64, b"\0") + b"\1\0\2"


def test_a_mapping_shows_what_is_marked_later(path: Path) -> None:
    writer = build(path, bytes(3))
    mapped = map_marks(path, STORE_ID)
    assert mapped is not None
    writer.set([0, 2], CURRENT)
    writer.put(2, bytes([GONE, CURRENT]))
    assert mapped.tolist() == [1, 0, 0]
    longer = map_marks(path, STORE_ID)
    assert longer is not None
    assert longer.tolist() == [1, 0, 0, 1]
    writer.close()
    writer.close()


def test_a_file_without_marks(path: Path) -> None:
    build(path).close()
    mapped = map_marks(path, STORE_ID)
    assert mapped is not None
    assert mapped.tolist() == []


def test_what_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert map_marks(path, STORE_ID) is None
    assert MarksWriter.open(path, STORE_ID) is None
    build(path, b"\1").close()
    whole = path.read_bytes()
    for byte in range(64):
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :])
        assert map_marks(path, STORE_ID) is None, byte
        assert MarksWriter.open(path, STORE_ID) is None, byte
    for size in range(64):
        path.write_bytes(whole[:size])
        assert map_marks(path, STORE_ID) is None
    path.write_bytes(whole)
    assert map_marks(path, bytes(16)) is None
    with monkeypatch.context() as patch:
        patch.setattr(module, "boot_id", lambda: bytes(16))
        assert map_marks(path, STORE_ID) is None
        assert MarksWriter.open(path, STORE_ID) is None
    opened = MarksWriter.open(path, STORE_ID)
    assert opened is not None
    opened.close()


def test_building_anew_never_cuts_what_is_mapped(path: Path) -> None:
    build(path, b"\1" * 5_000).close()
    mapped = map_marks(path, STORE_ID)
    assert mapped is not None
    build(path, b"\0").close()
    assert mapped.sum() == 5_000
    assert not fresh_path(path).exists()


def test_a_disk_that_is_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = build(path, b"\1")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    gc.collect()  # other tests' leftovers hold files too
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with pytest.raises(StorageError):
            writer.set([3], CURRENT)
        with pytest.raises(StorageError):
            writer.put(1, b"\1")
        with pytest.raises(StorageError):
            build(path)
    assert open_files() == before
    mapped = map_marks(path, STORE_ID)
    assert mapped is not None
    assert mapped.tolist() == [1]
    writer.close()
