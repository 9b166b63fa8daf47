"""Risk: a process that is killed, forked or stopped spoils what others read from shared memory."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from suites.tests.concurrency.pool_rows import row_of, shared_memory_of
from suites.tests.concurrency.test_processes import exit_of, fork
from titanstore.pool.shared import SLAB_BYTES_MIN, SharedPool

IDENTITY = b"i" * 32
BYTES_MAX = 4 * SLAB_BYTES_MIN
PUBLISHED_MIN = 300


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
