"""Risk: a process that is killed, forked or stopped spoils what others read from shared memory."""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from suites.bench.shared_pool import count_kept_promises
from suites.tests.concurrency.test_processes import exit_of, fork
from titanstore import EmbeddingStore, StoreConfig
from titanstore.figures.folder import SHARED_MEMORY
from titanstore.pool.shared import SLAB_BYTES_MIN, SharedPool

IDENTITY = b"i" * 32
BYTES_MAX = 4 * SLAB_BYTES_MIN
CONFIG = StoreConfig(durability="power_cut_may_lose_store", shared_pool=True)
KEYS = [f"key {number}" for number in range(20)]
PUBLISHED_MIN = 300


def row_of(value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(1024, value, np.float32)


def shared_memory_of(pid: int | str = "self") -> set[str]:
    """Inodes of the pool memory that a process maps."""
    return {
        line.split()[4]
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if "/memfd:titanstore-pool" in line
    }


class Scene:
    """A pool that is used by this process, and a generation that forked children share."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "POOL"
        self.generation = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self.generation[0] = 1
        self.pool = SharedPool(self.path, IDENTITY, self.generation, BYTES_MAX)
        self.value = {}
        for number in range(50):
            self.value[f"key {number}"] = number
            self.pool.publish(f"key {number}", row_of(number), 1)
        found = [(self.pool.find(f"key {number}"), number) for number in range(0, 50, 7)]
        self.kept = [(row, number) for row, number in found if row is not None]

    def in_child(self) -> SharedPool:
        self.pool.leave_parent()
        return SharedPool(self.path, IDENTITY, self.generation, BYTES_MAX)

    def check(self) -> None:
        """The parent's rows stand still, what it finds is right, and it can publish at once."""
        for row, number in self.kept:
            assert (row == number).all()
        for key, value in self.value.items():
            found = self.pool.find(key)
            assert found is None or (found == value).all()
        now = self.generation[0]
        fresh = f"after {time.monotonic_ns()}"
        published = self.pool.publish(fresh, row_of(5), now)
        assert published is not None, "the lock of a dead process still holds"
        assert (published == 5).all()


def publish_one(scene: Scene) -> None:
    scene.in_child().publish("new", row_of(100), scene.generation[0])


def publish_until_a_slab_is_retired(scene: Scene) -> None:
    pool = scene.in_child()
    for number in range(16):
        pool.publish(f"new {number}", row_of(100), scene.generation[0])


def publish_after_an_unannounced_change(scene: Scene) -> None:
    scene.generation[0] += 1
    scene.in_child().publish("new", row_of(100), scene.generation[0])


def change_a_value(scene: Scene) -> None:
    pool = scene.in_child()
    scene.generation[0] += 1
    pool.invalidate(["key 49"])
    pool.publish("key 49", row_of(49), scene.generation[0])


def take_over_from_nobody(scene: Scene) -> None:
    scene.pool.leave_parent()
    scene.path.write_bytes(b"")
    pool = SharedPool(scene.path, IDENTITY, scene.generation, BYTES_MAX)
    pool.publish("new", row_of(100), scene.generation[0])
    pool.close()


DEEDS = [
    publish_one,
    publish_until_a_slab_is_retired,
    publish_after_an_unannounced_change,
    change_a_value,
    take_over_from_nobody,
]


def killed_at_line(deed: Callable[[Scene], None], scene: Scene, number: int) -> bool:
    """Run `deed` in a child that is killed before its n-th line within the pool; was it?"""

    def child() -> None:
        left = number

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if "/titanstore/pool/" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        deed(scene)

    status = exit_of(fork(child))
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("deed", DEEDS)
def test_killed_between_any_two_lines(
    tmp_path: Path, deed: Callable[[Scene], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in seven that the deed executes, other ones each run; all with the variable."""
    stride = 1 if "TITANSTORE_POOL_EVERY_LINE" in os.environ else 7
    first = int(np.random.default_rng().integers(stride))
    number = first
    scene = Scene(tmp_path)
    while killed_at_line(deed, scene, number):
        scene.check()
        number += stride
    scene.check()
    points = number // stride
    assert points * stride > 300
    with capsys.disabled():
        sys.stdout.write(f"\n{deed.__name__}: {points} points, first {first}")
    mapped = shared_memory_of()
    assert len(mapped) <= 1 + 2 * BYTES_MAX // SLAB_BYTES_MIN + len(scene.kept)
    scene.kept.clear()
    scene.pool.close()
    del scene
    gc.collect()


def test_a_stopped_publisher_holds_nobody_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def child() -> None:
        pool = scene.in_child()
        with pool._door.exclusive(1.0) as is_held:
            assert is_held
            os.kill(os.getpid(), signal.SIGSTOP)

    pid = fork(child)
    os.waitpid(pid, os.WUNTRACED)
    assert scene.pool.find("key 49") is not None
    assert scene.pool.publish("new", row_of(1), 1) is None
    scene.generation[0] = 2
    assert scene.pool.invalidate(["key 1"]) is False
    assert scene.pool.find("key 49") is None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    scene.check()


def test_two_owners_at_once(tmp_path: Path) -> None:
    """Publishers that do nothing else: no row of one in the place of another's, none starves."""
    scene = Scene(tmp_path)
    tally = memoryview(mmap.mmap(-1, 32)).cast("Q")

    def publish(who: int) -> None:
        pool = scene.in_child()
        begun, number = time.monotonic(), 0
        # all go on until the last one has as many; one that is starved has them never
        while (taken := time.monotonic() - begun) < 1 or (
            min(tally) < PUBLISHED_MIN and taken < 60
        ):
            number += 1
            value = who * 100_000 + number
            row = pool.publish(f"{who} {number}", row_of(value), 1)
            if row is not None:
                assert (row == value).all()
                tally[who] += 1

    def child_of(who: int) -> Callable[[], None]:
        return lambda: publish(who)

    pids = [fork(child_of(who)) for who in range(4)]
    assert [exit_of(pid) for pid in pids] == [0] * 4
    assert min(tally) >= PUBLISHED_MIN, f"one was starved: {tally.tolist()}"
    scene.check()


def test_threads_of_one_process(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    failed: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for number in range(300):
                scene.pool.publish(f"{who} {number}", row_of(who), 1)
                for other in range(4):
                    found = scene.pool.find(f"{other} {number - 3}")
                    assert found is None or (found == other).all()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    scene.check()


# -- whole stores -----------------------------------------------------------------------------


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
