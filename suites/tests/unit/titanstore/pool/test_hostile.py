"""Risk: whoever else has the pool's file, or damage in it, gives readers a row that is none."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from suites.tests.unit.titanstore.pool.stores import IDENTITY, NONCE, Store, row_of
from titanstore.pool import board as board_module
from titanstore.pool import door as door_module
from titanstore.pool.board import OLDEST, Board
from titanstore.pool.memory import attach_memory, make_memory
from titanstore.pool.slab import Slab, record_bytes


def test_modes_are_0600(store: Store) -> None:
    os.umask(os.umask(0))
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    assert store.path.stat().st_mode & 0o777 == 0o600
    board = pool._board
    assert board is not None
    descriptors = [board.descriptor, *[slab.descriptor for slab in board.slabs.values()]]
    assert len(descriptors) == 2
    for descriptor in descriptors:
        status = os.fstat(descriptor)
        assert status.st_mode & 0o777 == 0o600
        assert status.st_nlink == 0
        assert not os.get_inheritable(descriptor)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 2**20)


def test_a_pool_file_of_another_user_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.path.touch(mode=0o600)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="POOL belongs to user"):
        store.pool()
    assert store.path.exists()


@pytest.mark.parametrize("what", ["symlink", "folder"])
def test_a_pool_file_that_is_none_is_refused(store: Store, tmp_path: Path, what: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    if what == "symlink":
        store.path.symlink_to(target)
    else:
        store.path.mkdir()
    with pytest.raises(OSError, match=r"POOL"):
        store.pool()
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("what", ["readable by others", "hard link", "fifo"])
def test_a_pool_file_that_others_may_have_open_is_replaced(
    store: Store, tmp_path: Path, what: str
) -> None:
    target = tmp_path / "target"
    if what == "fifo":
        os.mkfifo(store.path)
    else:
        store.path.write_bytes(b"precious")
        store.path.chmod(0o666 if what == "readable by others" else 0o600)
        if what == "hard link":
            os.link(store.path, target)
    was = store.path.stat().st_ino
    keep = os.open(store.path, os.O_RDONLY | os.O_NONBLOCK)  # so that its number is not given again
    assert store.pool().publish("a", row_of(1), 1) is not None
    assert store.path.stat().st_ino != was
    assert store.path.stat().st_mode & 0o777 == 0o600
    os.close(keep)
    if what == "hard link":
        assert target.read_bytes() == b"precious"


def test_any_bytes_in_the_pool_file_are_no_danger(store: Store) -> None:
    rng = np.random.default_rng(1)
    first = store.pool()
    first.publish("a", row_of(1), 1)
    good = store.path.read_bytes()
    for number in range(60):
        damaged = bytearray(good)
        if number < 44:
            damaged[number] ^= 1 << int(rng.integers(8))
        else:
            damaged = bytearray(rng.bytes(int(rng.integers(60))))
        store.path.write_bytes(damaged)
        pool = store.pool()
        found = pool.find("a")
        assert found is None or (found == 1).all()
        assert pool.publish("b", row_of(2), 1) is not None
        pool.close()


def test_an_announcement_that_points_elsewhere_is_not_followed(
    store: Store, tmp_path: Path
) -> None:
    """A process number that was given again, and whatever that process has open there."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(board_module._NBYTES))
    unsealed = os.memfd_create("titanstore-pool", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, board_module._NBYTES)
    os.fchmod(unsealed, 0o600)
    foreign, _ = make_memory(board_module._NBYTES)
    short, _ = make_memory(4096)
    opened = [
        os.open(fifo, os.O_RDWR),
        os.open(plain, os.O_RDWR),
        os.open("/dev/zero", os.O_RDWR),
        unsealed,
        foreign,
        short,
        10_000,
    ]
    door = door_module.Door(store.path)
    for descriptor in opened:
        for pid in (os.getpid(), os.getppid(), 1, 2**22 + 1, 2**63):
            door.write(door_module.Announcement(pid, descriptor, NONCE))
            assert Board.attach(pid, descriptor, NONCE, IDENTITY) is None
            pool = store.pool()
            assert pool.publish("a", row_of(1), 1) is not None
            pool.close()
    door.close()
    for descriptor in opened[:-1]:
        os.close(descriptor)


def test_memory_of_another_user_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor, _ = make_memory(4096)
    found = attach_memory(os.getpid(), descriptor, 4096)
    assert found is not None
    os.close(found[0])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert attach_memory(os.getpid(), descriptor, 4096) is None
    os.close(descriptor)


@pytest.mark.parametrize("what", ["another store", "a copy of its files"])
def test_a_pool_of_another_store_is_not_joined(store: Store, tmp_path: Path, what: str) -> None:
    """Deleted and made again at the same path, or copied with everything in it, POOL too."""
    one = store.pool()
    one.publish("key", row_of(1), 1)
    if what == "another store":
        other = store.pool(identity=b"j" * 32)
    else:
        copied = tmp_path / "copy"
        copied.mkdir()
        (copied / "POOL").write_bytes(store.path.read_bytes())
        (copied / "POOL").chmod(0o600)
        copy = Store(copied)
        other = copy.pool(identity=b"i" * 16 + b"another inode!!!")
    assert other.find("key") is None
    assert other.publish("key", row_of(2), 1) is not None
    found = one.find("key")
    assert found is not None
    assert (found == 1).all()
    other.close()


def test_damage_in_a_slab_is_a_miss(store: Store) -> None:
    """Every bit of a record that is looked at for the first time."""
    maker = store.pool()
    maker.publish("key", row_of(1, 8), 1)
    board = maker._board
    assert board is not None
    slab = next(iter(board.slabs.values()))
    end = record_bytes(b"key", 8)
    for at in range(128, 128 + end):
        for bit in range(8):
            slab._writable[at] ^= 1 << bit
            reader = Slab.attach(
                os.getpid(), slab.descriptor, board.nonce, slab.number, slab.nbytes
            )
            assert reader is not None
            row = reader.row(1, b"key")
            assert row is None or (row == 1).all()
            slab._writable[at] ^= 1 << bit
    assert slab.row(1, b"key") is not None
    assert slab.row(0, b"") is None
    assert slab.row(2, b"key") is None
    assert slab.row(2**16 - 1, b"key") is None


def test_a_slab_whose_end_makes_no_sense_is_not_appended_to(store: Store) -> None:
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    board = pool._board
    assert board is not None
    for end in (0, 7, 2**63, 2**64 - 128):
        slab = board.slabs[(board.cells[OLDEST + 1] - 1) & 0xFFFFFFFF]
        slab._cells[8] = end
        assert slab.room() <= 0
        assert pool.publish(f"key {end}", row_of(2), 1) is not None


@given(entries=st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_entries_of_any_value_are_harmless(
    tmp_path_factory: pytest.TempPathFactory, entries: list[int]
) -> None:
    store = Store(tmp_path_factory.mktemp("pool"))
    pool = store.pool()
    pool.publish("key", row_of(1), 1)
    board = pool._board
    assert board is not None
    code = memoryview(board.index)
    place = next(place for place in range(len(code)) if code[place])
    tag = code[place] >> 48
    for way, entry in enumerate(entries):
        code[place // 4 * 4 + way] = tag << 48 | entry & 2**48 - 1
    found = pool.find("key")
    assert found is None or (found == 1).all()
    assert pool.publish("key", row_of(1), 1) is not None
    store.close()
