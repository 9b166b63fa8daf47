"""A version reads the same in every thread and process, whatever a writer does meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, NotFoundError, ReadOnlyError, StoreConfig
from titanstore.catalog import environment

KEYS = [f"key {number}" for number in range(20)]
FAST = StoreConfig(durability="power_cut_may_lose_store")

# Answers each line: "at N", what version N holds, over and over until a line comes; "now".
_READER = """
import select, sys
from titanstore import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1], read_only=True)
KEYS = [f"key {number}" for number in range(20)]
print("open", flush=True)
views = {}
for line in sys.stdin:
    word, wanted, *rest = line.split()
    source = store if word == "now" else views.setdefault(word, store.at(int(word)))
    rounds = 0
    good = True
    while True:
        rounds += 1
        rows = source.get_many(KEYS)
        good &= bool((rows == float(wanted)).all())
        good &= bool((source.get(KEYS[rounds % 20]) == float(wanted)).all())
        good &= source.document_keys("doc") == KEYS and source.documents() == ["doc"]
        good &= len(source) == 20 and KEYS[3] in source and "more" not in source
        if source is not store:
            good &= source.keys() == sorted(KEYS)
        if not rest or select.select([sys.stdin], [], [], 0)[0]:
            break
    print(good, rounds, flush=True)
"""


def rows(value: float) -> NDArray[np.float32]:
    return np.full((len(KEYS), 16), value, np.float32)


class Reader:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "open"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, *words: object) -> None:
        print(*words, file=self.process.stdin, flush=True)

    def answer(self) -> bool:
        good, self.rounds = self._line().split()
        return good == "True"

    def ask(self, *words: object) -> bool:
        self.tell(*words)
        return self.answer()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    EmbeddingStore.open(tmp_path, FAST).close()
    made = Reader(tmp_path)
    yield made
    made.process.communicate(timeout=60)
    assert made.process.returncode == 0


def test_another_process_sees_a_rollback_at_once(tmp_path: Path, reader: Reader) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        for value in range(4):
            store.update_document("doc", list(zip(KEYS, rows(value), strict=True)))
            store.snapshot()
        assert reader.ask("now", 3)
        for turn in range(60):
            value = (turn * 7) % 4
            store.rollback(value + 1)
            assert reader.ask("now", value)
            if turn % 10 == 0:
                store.update_document("doc", list(zip(KEYS, rows(9), strict=True)))
                assert reader.ask("now", 9)


def test_another_process_reads_a_version_while_one_writes(tmp_path: Path, reader: Reader) -> None:
    """With compaction, which moves what the version leads to, and retention of the others."""
    config = StoreConfig(durability="power_cut_may_lose_store", versions_max=2)
    object.__setattr__(config, "segment_bytes_max", 20_000)
    removed = 0
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(KEYS, rows(1), "doc")
        store.tag(store.snapshot(), "kept")
        reader.tell(1, 1, "go on")
        for turn in range(150):
            store.update_document("doc", list(zip(KEYS, rows(turn + 2), strict=True)))
            store.put("more", rows(turn)[0], "other")
            if turn % 5 == 0:
                store.snapshot()
            if turn % 20 == 0:
                store.rollback("kept")
            if turn % 7 == 0:
                removed += store.maintain().segments_removed
        reader.tell("now", 0)
        assert reader.answer()
        assert int(reader.rounds) > 1
        reader.answer()
        assert removed
        assert store.check().problems == ()


def test_threads_read_versions_beside_a_writer(tmp_path: Path) -> None:
    failed: list[BaseException] = []
    stop = threading.Event()
    with EmbeddingStore.open(tmp_path, FAST) as store:
        for value in range(3):
            store.put_many(KEYS, rows(value), "doc")
            store.tag(store.snapshot(), f"t{value}")

        def look(value: int) -> None:
            view = store.at(f"t{value}")
            try:
                while not stop.is_set():
                    assert (view.get_many(KEYS) == value).all()
                    assert view.document_keys("doc") == KEYS
                    assert store.diff(f"t{value}", f"t{(value + 1) % 3}").replaced == tuple(
                        sorted(KEYS)
                    )
                    with pytest.raises(NotFoundError):
                        view.get("more")
            except BaseException as error:  # shown below
                failed.append(error)

        threads = [threading.Thread(target=look, args=(value,)) for value in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(120):
            store.put_many(KEYS[turn % 20 :], rows(turn)[turn % 20 :])
            store.put("more", rows(0)[0])
            store.snapshot()
            if turn % 10 == 0:
                store.rollback(f"t{turn % 3}")
                store.drop_versions(keep=3)
                store.maintain()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed
        assert store.check().is_clean


def test_a_forked_child_reads_versions_and_refuses_to_make_one(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(KEYS, rows(1), "doc")
        store.snapshot("x")
        view = store.at("x")
        store.put_many(KEYS, rows(2), "doc")

        def child() -> None:
            for source in (view, store.at(1)):
                assert (source.get_many(KEYS) == 1).all()
            assert store.diff(1).replaced == tuple(sorted(KEYS))
            with pytest.raises(ReadOnlyError, match="forked child"):
                store.snapshot()
            with pytest.raises(ReadOnlyError, match="forked child"):
                store.rollback(1)
            store.close()

        assert _exit_of(child) == 0
        assert (view.get_many(KEYS) == 1).all()
        store.rollback("x")
        assert (store.get_many(KEYS) == 1).all()


def _exit_of(child: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are alive: that is the point
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        child()
        status = 0
    finally:
        os._exit(status)


def test_a_reader_of_an_older_store_finds_versions_when_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog without the databases of versions is one without versions, not a damaged one."""
    with monkeypatch.context() as patch:
        patch.setattr(environment, "DATABASES", environment._FIRST_DATABASES)
        with EmbeddingStore.open(tmp_path, FAST) as store:
            store.put_many(KEYS, rows(1), "doc")
    older = Reader(tmp_path)
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader:
        assert (reader.get_many(KEYS) == 1).all()
        assert reader.versions() == []
        assert reader.check().is_clean
        with pytest.raises(NotFoundError, match="there is none yet"):
            reader.at(1)
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.snapshot()
        store.update_document("doc", list(zip(KEYS, rows(2), strict=True)))
        assert older.ask("now", 2)
        assert older.ask(1, 1)
        store.rollback(1)
        assert older.ask("now", 1)
    older.process.communicate(timeout=60)
    assert older.process.returncode == 0
