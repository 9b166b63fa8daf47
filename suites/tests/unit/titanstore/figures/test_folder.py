"""The folder of figures files: nobody else's names are trusted, what is dead goes, nothing else."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from titanstore.figures import folder as module
from titanstore.figures.folder import FiguresFile, published, remove_dead
from titanstore.figures.layout import FILE_BYTES, pack_head

STORE = bytes(range(16))
USER = os.geteuid()


def head(pid: int = 1) -> bytes:
    return pack_head(STORE, pid, 0, 0.0, ["hot_hits"], {"put": 1})


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's folder below a shared memory of the test's own; a real one where there is one."""
    base = module.SHARED_MEMORY / f"test-{os.getpid()}-{tmp_path.name}"
    base.mkdir()
    monkeypatch.setattr(module, "SHARED_MEMORY", base)
    yield base / f"titanstore-{USER}"
    for path in sorted(base.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    base.rmdir()


def test_a_file_is_the_users_alone_and_goes_when_it_is_removed(shared: Path) -> None:
    old = os.umask(0)
    try:
        file = FiguresFile(head(), STORE)
    finally:
        os.umask(old)
    (path,) = shared.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    assert path.stat().st_blocks * 512 >= FILE_BYTES  # no page is missing when it is written to
    assert published(STORE)[0][path.name].pid == 1
    assert published(bytes(16)) == ({}, 0)
    file.remove()
    file.remove()
    assert not list(shared.iterdir())


def test_a_dead_process_s_file_goes_and_a_living_one_s_stays(shared: Path) -> None:
    living, dead = FiguresFile(head(), STORE), FiguresFile(head(2), STORE)
    del dead  # with its mapping goes the lock, as in a process that was killed
    remove_dead(USER)
    (path,) = shared.iterdir()
    assert published(STORE)[0][path.name].pid == 1
    living.remove()


def test_an_open_looks_at_so_many_files_and_no_more(shared: Path) -> None:
    for _ in range(5):
        FiguresFile(head(), STORE)
    remove_dead(USER, 2)
    assert len(list(shared.iterdir())) == 3
    published(STORE)
    assert not list(shared.iterdir())


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777, 0o500])
def test_a_folder_that_others_may_use_is_not_used(shared: Path, mode: int) -> None:
    shared.mkdir()
    shared.chmod(mode)
    with pytest.raises(OSError, match="not a folder of user"):
        FiguresFile(head(), STORE)
    assert published(STORE) == ({}, 0)
    shared.chmod(0o700)


def test_a_link_in_place_of_the_folder_is_not_followed(shared: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / f"{STORE.hex()}-1").write_bytes(bytes(FILE_BYTES))
    shared.symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        FiguresFile(head(), STORE)
    assert published(STORE) == ({}, 0)
    assert list(tmp_path.iterdir())


def test_names_that_are_no_files_are_passed_over(shared: Path, tmp_path: Path) -> None:
    """Nobody waits for a pipe, follows a link, or removes a folder."""
    shared.mkdir(mode=0o700)
    prefix = STORE.hex()
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(FILE_BYTES))
    os.mkfifo(shared / f"{prefix}-pipe")
    (shared / f"{prefix}-link").symlink_to(outside)
    (shared / f"{prefix}-folder").mkdir()
    assert published(STORE) == ({}, 0)
    assert outside.exists()
    assert len(list(shared.iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"x", bytes(FILE_BYTES), head(), os.urandom(FILE_BYTES)])
def test_a_living_file_that_is_not_understood_is_counted(shared: Path, content: bytes) -> None:
    shared.mkdir(mode=0o700)
    with (shared / f"{STORE.hex()}-1").open("wb") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert published(STORE) == ({}, 1)


def test_a_file_cut_short_under_its_reader_is_counted(shared: Path) -> None:
    file = FiguresFile(head(), STORE)
    (path,) = shared.iterdir()
    os.truncate(path, 100)
    assert published(STORE) == ({}, 1)
    del file


def test_no_room_in_shared_memory_is_an_error_at_once(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    gc.collect()  # other tests' leftovers hold files too
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="No space"):
        FiguresFile(head(), STORE)
    assert not list(shared.iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_mapping_keeps_the_lock() -> None:
    """What `FiguresFile` relies on: mmap has a descriptor of its own."""
    descriptor = os.memfd_create("lock")
    os.ftruncate(descriptor, 10)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    mapping = mmap.mmap(descriptor, 10)
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)
    mapping.close()
    fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(again)
