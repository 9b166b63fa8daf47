"""Nothing is kept: no descriptor, mapping or thread after close, no memory or time per vector."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from titanstore import EmbeddingStore, StoreConfig

CONFIG = StoreConfig(durability="power_cut_may_lose_store")


def test_everything_is_given_back(tmp_path: Path) -> None:
    """Descriptors, mappings and threads, also after an open that failed."""
    code = """
import os, sys, threading
import numpy as np
from titanstore import EmbeddingStore, StoreConfig, StoreError
def held():
    maps = [line for line in open("/proc/self/maps") if sys.argv[1] in line]
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(maps)
before = held()
for turn in range(5):
    with EmbeddingStore.open(sys.argv[1], StoreConfig(bloom=True)) as store:
        store.put_many(list("abc"), np.ones((3, 64), np.float32), "doc")
        for key in "abc":
            store._cascade.clear()
            store.get(key)
        store.wait_for_prefetch()
    try:
        EmbeddingStore.open(sys.argv[1] + "/segments")
    except StoreError:
        pass
assert held() == before, (held(), before)
segment = sys.argv[1] + "/segments/00001.seg"
os.truncate(segment, 40)
for turn in range(5):
    try:
        EmbeddingStore.open(sys.argv[1])
    except StoreError as error:
        assert error.kind == "short-segment"
        del error
assert held() == before, (held(), before)
"""
    folder = str(tmp_path / "given-back")
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_memory_does_not_grow_with_the_number_of_vectors(tmp_path: Path) -> None:
    config = StoreConfig(
        durability="power_cut_may_lose_store", hot_bytes_max=0, warm_bytes_max=0, prefetch=False
    )
    held = []
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        with EmbeddingStore.open(folder, config) as store:
            values = np.arange(count, dtype=np.float32)[:, None]
            for first in range(0, count, 2_000):
                part = slice(first, first + 2_000)
                store.put_many([f"k{n}" for n in range(count)][part], values[part], f"d{first}")
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            with EmbeddingStore.open(folder, config) as store:
                for number in range(0, count, 97):
                    assert store.get(f"k{number}")[0] == number
                    assert f"absent {number}" not in store
                held.append(tracemalloc.get_traced_memory()[0] - before)
        finally:
            tracemalloc.stop()
    assert held[1] < held[0] + 20_000


def test_opening_reads_no_more_of_a_larger_store(tmp_path: Path) -> None:
    """System calls of an open, counted by the interpreter's audit hook, and bytes it reads."""
    code = """
import os, sys
from titanstore import EmbeddingStore, StoreConfig
# figures lie in a folder that all processes of the user share: other tests' files are looked at
config = StoreConfig(publish=False)
EmbeddingStore.open(sys.argv[1], config).close()
events = []
def hook(name, _):
    if name in ("open", "mmap.__new__", "os.scandir", "os.listdir"):
        events.append(name)
sys.addaudithook(hook)
def read():
    lines = [line.split() for line in open("/proc/self/io")]
    return [int(value) for name, value in lines if name in ("rchar:", "syscr:")]
before, begun = read(), len(events)
with EmbeddingStore.open(sys.argv[1], config) as store:
    after, done = read(), len(events)
    store.get("k1")
print(done - begun, *(b - a for a, b in zip(before, after)))
"""
    seen = []
    for count in (100, 20_000):
        folder = tmp_path / str(count)
        with EmbeddingStore.open(folder, CONFIG) as store:
            values = np.arange(count, dtype=np.float32)[:, None]
            store.put_many([f"k{number}" for number in range(count)], values)
        done = subprocess.run(
            [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
        )
        seen.append([int(word) for word in done.stdout.split()])
    (opened, read_bytes, calls), larger = seen
    assert larger[0] == opened > 3
    assert larger[1] <= read_bytes + 200
    assert larger[2] <= calls + 4
