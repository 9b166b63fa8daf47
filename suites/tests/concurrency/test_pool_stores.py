"""Risk: of stores that share a pool one is killed or forked, and others read wrong rows or none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.bench.shared_pool import count_kept_promises
from suites.tests.concurrency.pool_rows import row_of, shared_memory_of
from suites.tests.concurrency.test_processes import exit_of, fork
from titanstore import EmbeddingStore, StoreConfig
from titanstore.figures.folder import SHARED_MEMORY

CONFIG = StoreConfig(durability="power_cut_may_lose_store", shared_pool=True)
KEYS = [f"key {number}" for number in range(20)]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(KEYS, [row_of(number) for number in range(20)], "doc")
        yield store


def test_the_lone_reader_that_is_left_and_the_one_that_comes_then(tmp_path: Path) -> None:
    """Whoever made the memory is killed; those who had it go on, and newcomers find one another."""
    owner = fork(lambda: _own(tmp_path))
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    one = EmbeddingStore.open(tmp_path, CONFIG, read_only=True)
    rows = [one.get(key) for key in KEYS]
    assert one.stats().counters["cold_hits"] == 0
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    two = EmbeddingStore.open(tmp_path, CONFIG, read_only=True)
    for store in (one, two, one):
        for number, key in enumerate(KEYS):
            assert (store.get(key) == number).all()
    three = EmbeddingStore.open(tmp_path, CONFIG, read_only=True)
    for number, key in enumerate(KEYS):
        assert (three.get(key) == number).all()
    assert three.stats().counters["cold_hits"] == 0, "the third did not find the second's rows"
    for store in (one, two, three):
        assert store.stats().counters["pool_fallbacks"] == 0
        store.close()
    assert all((row == number).all() for number, row in enumerate(rows))


def _own(path: Path) -> None:
    with EmbeddingStore.open(path, CONFIG) as store:
        store.put_many(KEYS, [row_of(number) for number in range(20)], "doc")
        (path / "ready").touch()
        time.sleep(60)


def test_nothing_is_left_after_everyone_was_killed(tmp_path: Path) -> None:
    names = set(SHARED_MEMORY.glob("*titanstore*"))
    pids = [fork(lambda: _own(tmp_path))]
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)

    def read() -> None:
        with EmbeddingStore.open(tmp_path, CONFIG, read_only=True) as store:
            (tmp_path / f"reading {os.getpid()}").touch()
            while True:
                for number, key in enumerate(KEYS):
                    assert (store.get(key) == number).all()

    pids += [fork(read) for _ in range(3)]
    while len(list(tmp_path.glob("reading *"))) < 3:
        time.sleep(0.01)
    inodes = set().union(*(shared_memory_of(pid) for pid in pids))
    assert len(inodes) >= 2
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    still = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            still |= shared_memory_of(entry.name)
        except OSError:
            continue
    assert not inodes & still
    # but the folder of this user's figures, which any test beside this one may be the first to need
    names.add(SHARED_MEMORY / f"titanstore-{os.geteuid()}")
    assert set(SHARED_MEMORY.glob("*titanstore*")) <= names
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        for number, key in enumerate(KEYS):
            assert (store.get(key) == number).all()


_UNRELATED = """
import sys, numpy as np
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(shared_pool=True), read_only=True)
rows = [store.get(f"key {number}") for number in range(20)]
assert all((row == number).all() for number, row in enumerate(rows))
print(store.stats().counters["cold_hits"], store.stats().counters["pool_hits"], flush=True)
sys.stdin.read()
store.close()
assert all((row == number).all() for number, row in enumerate(rows))
"""


def _spawned(path: str) -> tuple[int, int]:
    with EmbeddingStore.open(path, CONFIG, read_only=True) as store:
        assert all((store.get(key) == number).all() for number, key in enumerate(KEYS))
        counters = store.stats().counters
    return counters["cold_hits"], counters["pool_hits"]


def test_an_unrelated_process_shares_without_a_word_on_stderr(
    tmp_path: Path, filled: EmbeddingStore
) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _UNRELATED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "0 20\n"
        assert shared_memory_of(child.pid) & shared_memory_of()
        filled.put(KEYS[0], row_of(99))
        child.communicate("", timeout=60)
        assert child.returncode == 0
    assert (filled.get(KEYS[0]) == 99).all()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_multiprocessing_share(
    tmp_path: Path, filled: EmbeddingStore, method: str
) -> None:
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map(_spawned, [str(tmp_path)] * 2) == [(0, 20)] * 2
    assert (filled.get(KEYS[7]) == 7).all()


def test_a_forked_child_shares_anew_and_leaves_its_parents_descriptors(
    filled: EmbeddingStore,
) -> None:
    kept = [filled.get(key) for key in KEYS]

    def child() -> None:
        assert all((filled.get(key) == number).all() for number, key in enumerate(KEYS))
        assert filled.stats().counters["pool_fallbacks"] == 0
        assert filled.stats().pool_bytes > 0
        filled.close()
        assert all((row == number).all() for number, row in enumerate(kept))

    for _ in range(3):
        assert exit_of(fork(child)) == 0
    filled.put(KEYS[0], row_of(99))
    assert (filled.get(KEYS[0]) == 99).all()
    assert (kept[0] == 0).all()


def test_a_child_that_holds_an_inherited_lock_does_not_keep_it(
    tmp_path: Path, filled: EmbeddingStore
) -> None:
    """A fork while another thread publishes: the child's copy of the lock goes at once."""
    shared = filled._cascade.hot._shared  # type: ignore[attr-defined]
    begun, end = os.pipe(), os.pipe()

    def child() -> None:
        os.write(begun[1], b"x")
        os.read(end[0], 1)

    def parent() -> None:
        with shared._door.exclusive(1.0) as is_held:
            assert is_held
            pid = fork(child)
            os.read(begun[0], 1)
            pids.append(pid)
            os.kill(os.getpid(), signal.SIGKILL)

    pids: list[int] = []
    (tmp_path / "pids").touch()

    def middle() -> None:
        nonlocal shared
        assert (filled.get(KEYS[0]) == 0).all()  # the child has a pool of its own now
        shared = filled._cascade.hot._shared  # type: ignore[attr-defined]
        parent()

    assert exit_of(fork(middle)) == -signal.SIGKILL
    assert (
        filled._cascade.hot._shared.publish(  # type: ignore[attr-defined]
            "other", row_of(1), filled._cells[0]
        )
        is not None
    )
    os.write(end[1], b"x")


def test_one_writer_and_many_readers_see_no_torn_and_no_stale_row(tmp_path: Path) -> None:
    """The long form: python suites/bench/shared_pool.py promises --seconds 60."""
    seconds = float(os.environ.get("TITANSTORE_POOL_SECONDS", "3"))
    found = count_kept_promises(tmp_path, seconds=seconds, readers=8, reads_min=2_000, kills_max=2)
    assert found["torn"] == found["stale"] == found["changed"] == found["backward"] == 0
    assert found["writes"] > 0
    assert found["reads"] >= 2_000
    assert found["pool_hits"] > 0
    assert found["kills"] > 0
