"""The pool takes no more than it may; with no memory or no file it says so and loses nothing."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from suites.tests.unit.titanstore.pool.stores import BYTES_MAX, Store, row_of
from titanstore.pool.board import SLABS_MAX
from titanstore.pool.memory import make_memory
from titanstore.pool.shared import SLAB_BYTES_MIN
from titanstore.pool.slab import record_bytes, slab_bytes


def own_memory() -> list[str]:
    """Shared memory of a pool that this process has mapped or open."""
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:" in line]
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue  # the listing's own
    return maps + [link for link in links if link.startswith("/memfd:")]


# -- sizes ----------------------------------------------------------------------------------


@given(
    dimensions=st.lists(st.sampled_from([1, 300, 1536, 9_000, 16_383]), min_size=1, max_size=40),
    slabs=st.integers(1, 20),
)
def test_the_pool_keeps_its_bound(
    tmp_path_factory: pytest.TempPathFactory, dimensions: list[int], slabs: int
) -> None:
    store = Store(tmp_path_factory.mktemp("pool"))
    pool = store.pool(bytes_max=slabs * SLAB_BYTES_MIN)
    for number, dimension in enumerate(dimensions):
        found = pool.publish(f"key {number}", row_of(number, dimension), 1)
        fits = 4 * record_bytes(b"key 00", dimension) <= slabs * SLAB_BYTES_MIN
        assert (found is not None) == fits
        assert pool.sizes()[1] <= slabs * SLAB_BYTES_MIN
    store.close()


def test_a_pool_of_very_small_slabs_has_at_most_64(store: Store) -> None:
    board = store.pool()._board
    assert board is not None
    for number in range(SLABS_MAX + 10):
        board.slab_with_room(slab_bytes(0), slab_bytes(0), 2**30)
        assert len(board.live()) == min(number + 1, SLABS_MAX)


def test_callers_that_keep_rows_for_ever_cost_two_pools_at_most(store: Store) -> None:
    """One row of each slab that comes by: then copies, 4 kB each instead of 64."""
    pool = store.pool()
    kept = []
    for number in range(1_500):
        found = pool.publish(f"key {number}", row_of(number), 1)
        assert found is not None
        if number % 15 == 0:
            kept.append((number, found))
    held = sum(size for array, size in pool._held if array() is not None)
    assert BYTES_MAX < held <= 2 * BYTES_MAX  # the slabs that were in use when it was too much
    assert pool._is_crowded
    copies = [row for _, row in kept if not isinstance(row.base, np.ndarray)]
    assert copies
    assert not any(row.flags.writeable for row in copies)
    assert all((row == number).all() for number, row in kept)
    kept.clear()
    copies.clear()
    gc.collect()
    found = pool.find("key 1499")
    assert found is not None
    assert isinstance(found.base, np.ndarray), "still copying though nothing is held"


def test_a_rest_of_nothing(store: Store) -> None:
    gc.collect()
    before = own_memory()
    pools = [store.pool() for _ in range(3)]
    for number in range(300):
        pools[number % 3].publish(f"key {number}", row_of(number), 1)
    row = pools[0].find("key 299")
    assert len(own_memory()) > len(before)
    for pool in pools:
        pool.close()
        pool.close()
    assert row is not None
    assert (row == 299).all(), "a row that was handed out went with the pool"
    del row, pool
    pools.clear()
    store.pools.clear()
    gc.collect()
    assert own_memory() == before


def test_no_descriptor_is_lost_when_pools_meet(store: Store) -> None:
    """Two that could not find each other, then can: the second goes over to the first."""
    gc.collect()  # other tests' leftovers hold files too
    before = len(list(Path("/proc/self/fd").iterdir()))
    one = store.pool()
    one.publish("a", row_of(1), 1)
    store.path.unlink()
    two = store.pool()
    two.publish("b", row_of(2), 1)
    assert one.find("b") is None
    os.link(store.path, store.path.with_name("other"))
    with one._door.exclusive(0.0):
        assert two._board is not None
        announcement = two._door.read()
        assert announcement is not None
        one._door.write(announcement)
    assert one.publish("c", row_of(3), 1) is not None
    assert one.find("b") is not None
    assert two.find("c") is not None
    store.close()
    store.pools.clear()
    del one, two
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- no memory ------------------------------------------------------------------------------


def refuse(error: int) -> Callable[..., int]:
    def refused(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return refused


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENOSYS])
def test_no_memory_is_an_error_at_once_and_leaves_nothing_open(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    gc.collect()
    before = sorted(Path("/proc/self/fd").iterdir())
    for name in ("memfd_create", "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refuse(error))
            with pytest.raises(OSError, match=os.strerror(error)) as caught:
                store.pool()
            assert caught.value.errno == error
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
    assert store.pool().publish("a", row_of(1), 1) is not None


def test_a_pool_without_room_for_another_slab_keeps_what_it_has(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", refuse(errno.ENOMEM))
        for number in range(14):
            pool.publish(f"key {number}", row_of(number), 1)
        with pytest.raises(OSError, match="memory"):
            pool.publish("one more", row_of(1), 1)
    assert pool.find("a") is not None
    with pool._door.exclusive(0.0) as is_held:
        assert is_held, "the lock was kept after an error"


def test_a_kernel_without_the_newest_flag_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 0x8:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    descriptor, _ = make_memory(4096)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    os.close(descriptor)


def test_a_pool_file_that_cannot_be_written_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="space"):
        store.pool()
