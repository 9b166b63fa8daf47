"""Other processes, spawned or forked, see what was acknowledged, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from titanstore import BusyError, EmbeddingStore, ReadOnlyError, StoreConfig

KEYS = [f"key {number}" for number in range(20)]
FAST = StoreConfig(durability="power_cut_may_lose_store")

_READER = """
import sys
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(policy=sys.argv[2]), read_only=True)
print("open", flush=True)
for line in sys.stdin:
    *keys, wanted = line.split(",")
    rows = [store.get(key) for key in keys] if len(keys) < 4 else list(store.get_many(keys))
    again = [store.get(key) for key in keys]
    print(all((row == float(wanted)).all() for row in [*rows, *again]), flush=True)
"""


@pytest.fixture(params=["probation", "lru"])
def ask(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., bool]]:
    """Asks a reader in another process whether keys have a value."""
    EmbeddingStore.open(tmp_path, FAST).close()
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(tmp_path), request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"

        def asked(*given: object) -> bool:
            print(*given, sep=",", file=reader.stdin, flush=True)
            assert reader.stdout is not None
            return reader.stdout.readline() == "True\n"

        yield asked
        reader.communicate(timeout=60)
        assert reader.returncode == 0


def test_a_spawned_reader_sees_replacements_at_once(
    tmp_path: Path, ask: Callable[..., bool]
) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        for turn in range(150):
            value = np.full(64, turn, np.float32)
            if turn % 5 == 0:
                store.put_many(KEYS, [value] * len(KEYS), "doc")
                assert ask(*KEYS, turn)
            elif turn % 5 == 1:
                store.update_document("doc", [(key, value) for key in KEYS])
                assert ask(KEYS[turn % 20], turn)
            else:
                store.put(KEYS[turn % 20], value)
                assert ask(KEYS[turn % 20], turn)
            if turn % 50 == 0:
                store.maintain()
                store.put_many(KEYS, [value] * len(KEYS), "doc")
                assert ask(*KEYS, turn)


def test_a_reader_goes_on_while_writers_come_and_go(
    tmp_path: Path, ask: Callable[..., bool]
) -> None:
    for turn in range(8):
        with EmbeddingStore.open(tmp_path, FAST) as store:
            store.put_many(KEYS, [np.full(64, turn, np.float32)] * len(KEYS), "doc")
        assert ask(*KEYS, turn)


def test_a_second_writing_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from titanstore import EmbeddingStore\n"
        "store = EmbeddingStore.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(BusyError, match=f"by process {writer.pid};") as caught:
            EmbeddingStore.open(tmp_path, FAST)
        assert caught.value.kind == "already-open"
        with EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader:
            assert len(reader) == 0
        writer.communicate(timeout=60)
    EmbeddingStore.open(tmp_path, FAST).close()


def fork(child: Callable[[], None]) -> int:
    """Run `child` in a forked process; returns its pid. It exits with 0 if it raises nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are alive: that is the point
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        child()
        status = 0
    except BaseException:  # the child must not run the parent's tests
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def exit_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Turns:
    """Two pipes, so that parent and child take turns."""

    def __init__(self) -> None:
        self.to_child, self.to_parent = os.pipe(), os.pipe()

    def tell_child(self) -> None:
        os.write(self.to_child[1], b"x")

    def wait_for_parent(self) -> None:
        assert os.read(self.to_child[0], 1) == b"x"

    def tell_parent(self) -> None:
        os.write(self.to_parent[1], b"x")

    def wait_for_child(self) -> None:
        assert os.read(self.to_parent[0], 1) == b"x"

    def become_child(self) -> None:
        os.close(self.to_child[1])
        os.close(self.to_parent[0])

    def become_parent(self) -> None:
        """Now the end of the child ends the waiting for it."""
        os.close(self.to_child[0])
        os.close(self.to_parent[1])

    def close(self) -> None:
        os.close(self.to_child[1])
        os.close(self.to_parent[0])


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("bloom", [False, True])
def test_a_forked_child_reads_on_and_refuses_to_write(
    tmp_path: Path, *, read_only: bool, bloom: bool
) -> None:
    config = StoreConfig(durability="power_cut_may_lose_store", bloom=bloom)
    writer = EmbeddingStore.open(tmp_path, config)
    writer.put_many(KEYS, [np.full(64, 1, np.float32)] * len(KEYS), "doc")
    store = EmbeddingStore.open(tmp_path, config, read_only=True) if read_only else writer
    kept = store.get(KEYS[0])
    store.get(KEYS[1])
    turns = Turns()

    def child() -> None:
        turns.become_child()
        assert (kept == 1).all()
        for key in KEYS:
            assert (store.get(key) == 1).all()
        with pytest.raises(ReadOnlyError, match="forked child") as caught:
            store.put("k", np.ones(4, np.float32))
        assert caught.value.kind == "opened-read-only"
        with pytest.raises(ReadOnlyError):
            store.maintain()
        turns.tell_parent()
        turns.wait_for_parent()
        assert (store.get(KEYS[0]) == 2).all()
        assert (store.get_many(KEYS) == 2).all()
        assert store.check().is_clean
        assert store.wait_for_prefetch()
        assert (kept == 1).all()
        store.close()
        store.close()

    pid = fork(child)
    turns.become_parent()
    turns.wait_for_child()
    writer.put_many(KEYS, [np.full(64, 2, np.float32)] * len(KEYS), "doc")
    turns.tell_child()
    assert exit_of(pid) == 0
    turns.close()
    writer.put("after", np.ones(4, np.float32))
    assert (store.get(KEYS[0]) == 2).all()
    assert (kept == 1).all()
    store.close()
    writer.close()
    with EmbeddingStore.open(tmp_path, config) as again:
        assert again.check().is_clean


def test_a_child_of_a_child_and_a_child_that_never_reads(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put("k", np.ones(64, np.float32))

        def grandchild() -> None:
            assert (store.get("k") == 1).all()

        def child() -> None:
            assert (store.get("k") == 1).all()
            assert exit_of(fork(grandchild)) == 0

        assert exit_of(fork(child)) == 0
        assert exit_of(fork(store.close)) == 0
        store.put("k", np.zeros(64, np.float32))
        assert (store.get("k") == 0).all()


def test_a_child_leaves_the_parents_views_alone(tmp_path: Path) -> None:
    """It closes its parent's environment, so a fork waits for the views of other threads."""
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(KEYS, [np.ones(64, np.float32)] * len(KEYS), "doc")
        begun = threading.Event()
        seen: list[object] = []

        def look() -> None:
            with store._catalog.reading() as view:
                begun.set()
                time.sleep(0.3)
                seen.append(store._catalog._environment.readers())
                seen.append(view.entry_count())

        thread = threading.Thread(target=look)
        thread.start()
        begun.wait()

        def child() -> None:
            assert (store.get(KEYS[3]) == 1).all()
            store.close()

        assert exit_of(fork(child)) == 0
        assert len(seen) == 2
        assert str(os.getpid()) in str(seen[0])
        assert seen[1] == len(KEYS)
        thread.join()
        assert (store.get(KEYS[4]) == 1).all()
        store.put("after", np.ones(4, np.float32))


def test_fork_while_everything_is_busy(tmp_path: Path) -> None:
    """Locks that another thread holds at the moment of the fork must not stop the child."""
    config = StoreConfig(
        durability="power_cut_may_lose_store", hot_bytes_max=3_000, memory_bytes_max=6_000
    )
    with EmbeddingStore.open(tmp_path, config) as store:
        for document in range(4):
            names = [f"{document} {key}" for key in KEYS]
            store.put_many(names, [np.full(64, document, np.float32)] * len(KEYS), f"d {document}")
        stop = threading.Event()
        failed: list[BaseException] = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                while not stop.is_set():
                    document = int(rng.integers(4))
                    key = f"{document} {KEYS[int(rng.integers(20))]}"
                    assert (store.get(key) == document).all()
                    if seed == 0:
                        store.put(f"mine {rng.integers(9)}", rng.random(8, np.float32))
            except BaseException as error:  # shown below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()

        def child() -> None:
            for document in range(4):
                for key in KEYS:
                    assert (store.get(f"{document} {key}") == document).all()
            assert store.wait_for_prefetch()
            store.close()

        try:
            for _ in range(8):
                assert exit_of(fork(child)) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failed
        assert store.check().is_clean


def test_a_child_that_forks_while_the_parent_has_a_store_open_that_nobody_closes(
    tmp_path: Path,
) -> None:
    """A gate that the first fork had shut was never opened in the child: it waited for ever."""
    forgotten = EmbeddingStore.open(tmp_path / "forgotten", FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        store.put("k", np.ones(64, np.float32))

        def grandchild() -> None:
            assert (store.get("k") == 1).all()

        def child() -> None:
            assert (store.get("k") == 1).all()
            assert exit_of(fork(grandchild)) == 0

        assert exit_of(fork(child)) == 0
    forgotten.close()
