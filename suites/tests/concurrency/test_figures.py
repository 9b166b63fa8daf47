"""Figures across processes: a child has its own, a killed one's go, a reader sees no nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from suites.tests.concurrency.test_processes import Turns, exit_of, fork
from titanstore import EmbeddingStore, StoreConfig
from titanstore.figures.folder import published
from titanstore.figures.layout import Figures
from titanstore.monitor.reading import take_reading

FAST = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)
ROW = np.ones(64, np.float32)

_WORKER = """
import sys
import numpy as np
from titanstore import EmbeddingStore, StoreConfig
config = StoreConfig(durability="power_cut_may_lose_store", publish=sys.argv[2] == "yes")
store = EmbeddingStore.open(sys.argv[1], config)
row = np.ones(64, np.float32)
store.put("a", row)
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        store.put("a", row)
    print("done", flush=True)
"""


@contextmanager
def worker(path: Path, publish: str = "yes") -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(path), publish],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process, process.stdin
        process.stdin.close()


def store_id(path: Path) -> bytes:
    return bytes.fromhex(json.loads((path / "STORE").read_text())["store_id"])


def figures_of(path: Path) -> list[Figures]:
    return list(published(store_id(path))[0].values())


def test_a_working_process_is_seen_from_another_one(tmp_path: Path) -> None:
    with worker(tmp_path) as (process, orders):
        for turn in range(3):
            reading = take_reading(tmp_path, FAST, lambda: 0.0)
            (seen,) = reading.processes
            assert seen.pid == process.pid
            assert seen.figures is not None
            assert sum(seen.figures.latencies["put"]) == 1 + 5 * turn
            assert seen.figures.values["unchanged"] == 5 * turn
            assert seen.memory is not None
            assert 1_000_000 < seen.memory.anonymous < 1_000_000_000
            print(5, file=orders, flush=True)
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
    assert take_reading(tmp_path, FAST, lambda: 0.0).processes == ()


def test_a_killed_process_is_gone_at_the_next_look(tmp_path: Path) -> None:
    with worker(tmp_path) as (process, _):
        assert len(figures_of(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert take_reading(tmp_path, FAST, lambda: 0.0).processes == ()


def test_a_process_that_does_not_publish_is_seen_to_have_it_open(tmp_path: Path) -> None:
    with worker(tmp_path, "no") as (process, _):
        (seen,) = take_reading(tmp_path, FAST, lambda: 0.0).processes
        assert (seen.pid, seen.figures) == (process.pid, None)
        assert seen.memory is not None
        process.send_signal(signal.SIGKILL)  # LMDB's own table of readers may still have it
        process.wait()
        assert take_reading(tmp_path, FAST, lambda: 0.0).processes == ()


def test_a_forked_child_publishes_its_own_and_leaves_the_parents(tmp_path: Path) -> None:
    store = EmbeddingStore.open(tmp_path, FAST)
    store.put("a", ROW)
    turns = Turns()

    def child() -> None:
        turns.become_child()
        for _ in range(300):
            assert (store.get("a") == ROW).all()
        assert (store.get_many(["a"]) == ROW).all()
        found = {each.pid: each for each in figures_of(tmp_path)}
        assert found.keys() == {os.getpid(), os.getppid()}
        assert sum(found[os.getppid()].latencies["get_many"]) == 0
        assert sum(found[os.getpid()].latencies["get_many"]) == 1
        turns.tell_parent()
        turns.wait_for_parent()
        # the parent has closed: a lock that the child still had would keep its file
        assert {each.pid for each in figures_of(tmp_path)} == {os.getpid()}
        store.close()
        assert not figures_of(tmp_path)

    pid = fork(child)
    turns.become_parent()
    turns.wait_for_child()
    store.close()
    turns.tell_child()
    assert exit_of(pid) == 0
    turns.close()


def test_a_child_that_never_reads_keeps_no_dead_parent_alive(tmp_path: Path) -> None:
    code = """
import os, sys, time
from titanstore import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1])
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert [each.pid for each in figures_of(tmp_path)] == [parent.pid]
            parent.kill()
            parent.wait()
            assert not figures_of(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_reader_beside_busy_threads_sees_counters_that_only_grow(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(50)]
    config = StoreConfig(durability="power_cut_may_lose_store", hot_bytes_max=20_000)
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(keys, [ROW] * len(keys))
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                for key in keys:
                    store.get(key)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            last: Figures | None = None
            for _ in range(300):
                (found,) = figures_of(tmp_path)
                assert found.values["hot_bytes"] <= 20_000
                if last is not None:
                    for name in ("cold_hits", "warm_hits", "hot_hits", "published_us"):
                        assert found.values[name] >= last.values[name]
                last = found
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_process_is_seen_and_its_figures_are_not() -> None:
    nobody = 65_534
    with tempfile.TemporaryDirectory() as folder, worker(Path(folder)) as (process, _):
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o777)

        def child() -> None:
            os.setgid(nobody)
            os.setuid(nobody)
            (seen,) = take_reading(Path(folder), FAST, lambda: 0.0).processes
            assert (seen.pid, seen.figures, seen.memory) == (process.pid, None, None)

        assert exit_of(fork(child)) == 0
