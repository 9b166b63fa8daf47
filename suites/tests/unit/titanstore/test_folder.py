"""A folder that is something else is left alone; a half-made store is finished."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from titanstore import (
    BusyError,
    CorruptionError,
    EmbeddingStore,
    InvalidInputError,
    NewerFormatError,
    NotFoundError,
    StorageError,
    StoreConfig,
)
from titanstore import folder as module
from titanstore.folder import Generation, WriterLock, open_folder
from titanstore.segments.disk import sync_folder

CONFIG = StoreConfig(durability="power_cut_may_lose_store")
GOOD = np.ones(4, np.float32)


@pytest.mark.parametrize("stranger", ["notes.txt", ".git", "STORE.txt"])
def test_a_folder_of_something_else(tmp_path: Path, stranger: str) -> None:
    (tmp_path / stranger).mkdir()
    with pytest.raises(InvalidInputError, match=f"holds '{stranger}'") as caught:
        EmbeddingStore.open(tmp_path, CONFIG)
    assert caught.value.kind == "not-a-store"
    assert [path.name for path in tmp_path.iterdir()] == [stranger]


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(InvalidInputError, match="is a file, not a store"):
        EmbeddingStore.open(file, CONFIG)
    with pytest.raises(StorageError, match="Not a directory"):
        EmbeddingStore.open(file / "below", CONFIG)
    assert file.read_text() == "text"


@pytest.mark.parametrize("read_only", [True, False])
def test_no_store(tmp_path: Path, *, read_only: bool) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotFoundError, match="no store at") as caught:
            EmbeddingStore.open(path, CONFIG, read_only=read_only, create=read_only)
        assert caught.value.kind == "no-store"
    assert list(tmp_path.iterdir()) == []


def test_a_deep_path_and_every_way_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a" / "b" / "c"
    with EmbeddingStore.open(str(deep), CONFIG) as store:
        store.put("k", GOOD)
    monkeypatch.chdir(deep.parent)
    (tmp_path / "link").symlink_to(deep)
    for path in ("c", Path("c"), tmp_path / "link", f"{deep}/../c"):
        with EmbeddingStore.open(path, CONFIG) as store:
            assert "k" in store
            with pytest.raises(BusyError):
                EmbeddingStore.open(deep, CONFIG)
            with EmbeddingStore.open(deep, CONFIG, read_only=True) as reader:
                assert "k" in reader


def test_the_names_of_all_folders_that_were_made_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is not on the disk as long as a name on the way to it is not."""
    synced: list[Path] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.chdir(tmp_path)
    store = Path("a/b/c")
    with EmbeddingStore.open(store) as opened:
        assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)
        opened.put("k", GOOD)
    synced.clear()
    with EmbeddingStore.open(store):
        assert tmp_path not in synced  # once is enough


@pytest.mark.parametrize("step", ["mkdir", "_write_durably", "rename", "sync_folder"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_store_made_halfway_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    class Stop(BaseException):
        pass

    owner = module if hasattr(module, step) else Path
    original, left = getattr(owner, step), iter(range(count))

    def stopping(*args: object, **named: object) -> object:
        if next(left, None) is None:
            raise Stop
        return original(*args, **named)

    folder = tmp_path / "s"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, stopping)
        try:
            EmbeddingStore.open(folder, CONFIG).close()
        except Stop:
            pass
        else:
            assert count
    with EmbeddingStore.open(folder, CONFIG) as store:
        store.put("k", GOOD)
        assert store.check().is_clean


def test_the_header(tmp_path: Path) -> None:
    EmbeddingStore.open(tmp_path, CONFIG).close()
    header = json.loads((tmp_path / "STORE").read_text())
    assert header.keys() == {"format", "store_id"}
    assert (header["format"], len(header["store_id"])) == (1, 32)
    (tmp_path / "STORE").write_text(json.dumps(header | {"format": 4}))
    for read_only in (True, False):
        with pytest.raises(NewerFormatError, match="format 4, this release reads up to 3"):
            EmbeddingStore.open(tmp_path, CONFIG, read_only=read_only)


def test_raising_the_format(tmp_path: Path) -> None:
    folder, lock = open_folder(tmp_path, read_only=False, create=True)
    assert lock is not None
    before = json.loads((tmp_path / "STORE").read_text())
    folder.raise_format()
    folder.raise_format()
    assert json.loads((tmp_path / "STORE").read_text()) == before | {"format": 3}
    (tmp_path / "STORE").unlink()
    with pytest.raises(CorruptionError, match="STORE is missing"):
        folder.raise_format()
    assert not (tmp_path / "STORE").exists()
    lock.release()


def test_the_lock_is_free_again_after_an_open_that_failed(tmp_path: Path) -> None:
    EmbeddingStore.open(tmp_path, CONFIG).close()
    (tmp_path / "GENERATION").rename(tmp_path / "saved")
    with pytest.raises(Exception, match="GENERATION"):
        EmbeddingStore.open(tmp_path, CONFIG)
    (tmp_path / "saved").rename(tmp_path / "GENERATION")
    EmbeddingStore.open(tmp_path, CONFIG).close()


def test_the_writers_lock(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with pytest.raises(BusyError, match=f"process {os.getpid()}"):
        WriterLock(tmp_path)
    lock.release()
    lock.release()
    WriterLock(tmp_path).release()


def test_the_generation_counter_is_seen_through_another_mapping(tmp_path: Path) -> None:
    folder, lock = open_folder(tmp_path, read_only=False, create=True)
    assert lock is not None
    lock.release()
    writer = Generation(folder.generation, read_only=False)
    reader = Generation(folder.generation, read_only=True)
    before = reader.cells[0]
    assert writer.bump() == reader.cells[0] == before + 1
    writer.cells[0] = 2**64 - 1
    assert writer.bump() == reader.cells[0] == 0
    with pytest.raises(TypeError):
        reader.cells[0] = 1
    for counter in (writer, reader):
        counter.close()
        assert counter.cells[0] == 0


def test_only_what_was_made_for_the_store_is_taken_for_a_half_made_one(tmp_path: Path) -> None:
    """A crash leaves empty parts; parts with something in them are not begun anew."""
    EmbeddingStore.open(tmp_path, CONFIG).close()
    (tmp_path / "STORE").unlink()
    with pytest.raises(Exception, match="STORE is missing"):
        EmbeddingStore.open(tmp_path, CONFIG)
    for name in ("data.mdb", "lock.mdb"):
        (tmp_path / "catalog" / name).unlink()
    EmbeddingStore.open(tmp_path, CONFIG).close()


def test_the_parts_are_durable_before_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`harness reliability --full`: a power cut left a header without a GENERATION beside it."""
    synced: list[set[str]] = []

    def listed(folder: Path) -> None:
        synced.append({path.name for path in folder.iterdir()})
        sync_folder(folder)

    monkeypatch.setattr("titanstore.folder.sync_folder", listed)
    EmbeddingStore.open(tmp_path / "store").close()
    parts = {"GENERATION", "catalog", "segments"}
    before = [names for names in synced if parts <= names and "STORE" not in names]
    assert before
