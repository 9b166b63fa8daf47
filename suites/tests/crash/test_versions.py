"""Killed at each write step of snapshot, rollback, retention: the old state or the new, whole."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, StoreConfig, Version

CONFIG = StoreConfig(prefetch=False)
DOCUMENTS = ("x.py", "y.py")

# Forks once a step; each child does the operation on a copy of its own and kills itself just before
# the call that is its step, or after the last one. Prints how many steps there are.
_KILLER = """
import os, shutil, signal, sys
from titanstore import EmbeddingStore, StoreConfig
from titanstore.versions import retention

retention._BATCH_RECORDS = 2
base, work, operation = sys.argv[1:]
WRITES = {"put", "delete", "commit", "write", "pwrite", "fsync", "fdatasync", "rename"}

def steps(folder, last):
    seen = 0
    def count(_, event, called):
        nonlocal seen
        if event != "c_call" or called.__name__ not in WRITES:
            return
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
    store = EmbeddingStore.open(folder, StoreConfig(prefetch=False))
    sys.setprofile(count)
    if operation == "snapshot":
        store.snapshot("new")
    elif operation == "rollback":
        store.rollback(1)
    else:
        store.drop_versions(keep=1)
    sys.setprofile(None)
    if last is None:
        return seen
    os.kill(os.getpid(), signal.SIGKILL)  # acknowledged, not closed

def child(number, last):
    folder = f"{work}/{number}"
    shutil.copytree(base, folder)
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, steps(folder, last).to_bytes(4, "little"))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

reader, writer = os.pipe()
assert child("whole", None) == 0
count = int.from_bytes(os.read(reader, 4), "little")
for number in range(count + 1):
    assert child(number, number) == -signal.SIGKILL, number
print(count)
"""


class Seen(NamedTuple):
    """Everything that a store and its versions hold."""

    present: tuple[dict[str, bytes], dict[str, list[str]]]
    versions: dict[int, tuple[dict[str, bytes], dict[str, list[str]]]]
    origins: list[str]


def rows(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def fill(folder: Path, versions: int) -> None:
    with EmbeddingStore.open(folder, CONFIG) as store:
        store.put_many(["a", "b", "c"], rows(0, 3), "x.py")
        store.put_many(["c", "d"], rows(1, 2), "y.py")
        for number in range(versions):
            store.snapshot(f"v{number}")
            store.update_document("x.py", [("a", rows(10 + number, 1)[0]), ("b", rows(0, 2)[1])])
            store.delete(["d"])
            store.put_many(["d", f"e{number}"], rows(20 + number, 2), "y.py")


def holdings(store: EmbeddingStore) -> Seen:
    def content(version: Version) -> tuple[dict[str, bytes], dict[str, list[str]]]:
        view = store.at(version)
        assert len(view) == len(view.keys())
        return (
            {key: view.get(key).tobytes() for key in view.keys()},  # noqa: SIM118 - no mapping
            {name: view.document_keys(name) for name in view.documents()},
        )

    keys = ["a", "b", "c", "d", *(f"e{number}" for number in range(4))]
    values = {key: store.get(key).tobytes() for key in keys if key in store}
    assert len(store) == len(values)
    documents = {name: store.document_keys(name) for name in store.documents()}
    listed = store.versions()
    return Seen(
        (values, documents),
        {version.number: content(version) for version in listed},
        [version.origin for version in listed],
    )


def held_by(folder: Path, *, read_only: bool = False) -> Seen:
    with EmbeddingStore.open(folder, CONFIG, read_only=read_only) as store:
        assert store.check().problems == ()
        return holdings(store)


@pytest.mark.parametrize(
    ("operation", "versions"),
    [("snapshot", 0), ("snapshot", 2), ("rollback", 3), ("retention", 4)],
    ids=["first snapshot", "later snapshot", "rollback", "retention"],
)
def test_killed_at_each_write_step(tmp_path: Path, operation: str, versions: int) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    fill(base, versions)
    before = held_by(base)
    ran = subprocess.run(
        [sys.executable, "-c", _KILLER, str(base), str(work), operation],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    steps = int(ran.stdout)
    after = held_by(work / "whole")
    assert after != before
    assert {**before.versions, **after.versions}.keys() >= before.versions.keys()
    results = []
    for number in range(steps + 1):
        folder = work / str(number)
        seen = held_by(folder, read_only=True)
        assert seen in (before, after)
        assert held_by(folder) == seen
        results.append(seen == after)
        if operation == "retention":
            finish_retention(folder, after)
        shutil.rmtree(folder)
    # committed once and for all: every step before it is the old state, every later one the new
    assert results == sorted(results)
    assert not results[0]
    assert results[-1]


def finish_retention(folder: Path, after: Seen) -> None:
    """The next one ends what the killed one began, to the byte."""
    with EmbeddingStore.open(folder, CONFIG) as store:
        store.drop_versions(keep=1)
        assert holdings(store) == after
        assert store.check().problems == ()
        with EmbeddingStore.open(folder.parent / "whole", CONFIG, read_only=True) as whole:
            assert store.stats().dead_bytes == whole.stats().dead_bytes
        with store._catalog.reading() as view:
            assert view.history.intervals() in ([], [4])
            assert view.history.numbers() == [4]


_ROLLING = """
import sys, time
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(prefetch=False))
print("open", flush=True)
while True:
    for number in (1, 2):
        store.rollback(number)
    store.drop_versions(keep=6)
"""


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Also within LMDB's own commit, which the steps above do not enter."""
    fill(tmp_path, 2)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        for number in (1, 2):
            store.tag(number, f"kept {number}")
        found = holdings(store)
        wanted = [found.versions[number] for number in (1, 2)]
        store.rollback(1)
    for turn in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", _ROLLING, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.01 + 0.017 * turn)
            writer.kill()
            assert writer.wait() == -signal.SIGKILL
        seen = held_by(tmp_path)
        assert seen.present in wanted
        assert [seen.versions[1], seen.versions[2]] == wanted
        for number in list(seen.versions)[2:]:
            assert seen.versions[number] in (found.present, *wanted)
