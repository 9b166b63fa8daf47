"""What the shared pool promises, counted; what it costs, measured.

    python suites/bench/shared_pool.py promises --seconds 60
        One writer, eight readers, every value checked; exit status 1 if one is wrong.
    python suites/bench/shared_pool.py memory
        What each of 1, 2, 4, 8 readers of one hot set adds, with the pool and without.
    python suites/bench/shared_pool.py latency
        A get: private, found in the pool, known to the process's own table.

Results are JSON lines. Long forms of suites/tests/concurrency/test_pool_stores.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.probes.memory import page_types
from titanstore import EmbeddingStore, StoreConfig

ROWS, DIMENSION = 480, 1024  # 2 MB, "the same hot set"
CONFIG: dict[str, Any] = {
    "hot_bytes_max": 2_500_000,
    "memory_bytes_max": 2_600_000,
    "durability": "power_cut_may_lose_store",
}
_RAMP = np.arange(DIMENSION, dtype=np.float32)
_KEPT = 64  # rows that a reader keeps and looks at again
_TALLIES = ("reads", "pool_hits", "torn", "stale", "backward", "changed")
Row = NDArray[np.float32]


def key_of(number: int) -> str:
    return f"{number:032x}"


def value_row(number: int, value: int) -> Row:
    """Every value of it tells whether it belongs to this version of this key."""
    row = _RAMP + np.float32(value)
    row[-1] = number
    return row


def _is_whole(row: Row, number: int) -> bool:
    return row.tobytes() == value_row(number, int(row[0])).tobytes()


class Promises:
    """What was begun and acknowledged for each key, and what readers counted, in a shared file."""

    def __init__(self, path: Path, readers: int) -> None:
        size = 8 * (2 * ROWS + readers * len(_TALLIES) + 1)
        with path.open("a+b") as file:
            file.truncate(size)
            cells = memoryview(mmap.mmap(file.fileno(), size)).cast("Q")
        self.begun, self.acknowledged = cells[:ROWS], cells[ROWS : 2 * ROWS]
        self.tallies = [
            cells[first : first + len(_TALLIES)]
            for first in range(2 * ROWS, 2 * ROWS + readers * len(_TALLIES), len(_TALLIES))
        ]
        self.end = cells[-1:]


def _read_promises(folder: Path, readers: int, who: int) -> None:
    """A reader: counts what is wrong until the end, or until it is killed."""
    promises = Promises(folder / "promises", readers)
    tally = promises.tallies[who]
    reads, hits, torn, stale, backward, changed = range(len(_TALLIES))
    last = [0] * ROWS
    kept: list[tuple[int, int, Row]] = []
    rng = np.random.default_rng()
    config = StoreConfig(shared_pool=True, **CONFIG)
    with EmbeddingStore.open(folder / "store", config, read_only=True) as store:
        pool_hits = 0
        while not promises.end[0]:
            for number in rng.integers(0, ROWS, 500).tolist():
                at_least = promises.acknowledged[number]
                row = store.get(key_of(number))
                value = int(row[0])
                tally[torn] += not _is_whole(row, number)
                tally[stale] += not at_least <= value <= promises.begun[number]
                tally[backward] += value < last[number]
                last[number] = value
                tally[reads] += 1
                if len(kept) < _KEPT:
                    kept.append((number, value, row[1:]))
            now = store.stats().counters["pool_hits"]
            tally[hits] += now - pool_hits
            pool_hits = now
            for number, value, part in kept:
                tally[changed] += part.tobytes() != value_row(number, value)[1:].tobytes()
            del kept[: _KEPT // 2]


def _child(what: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), what, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _wait_for(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"a child ended with status {child.wait()}")
    return json.loads(line)


def count_kept_promises(
    folder: Path, *, seconds: float, readers: int, reads_min: int, kills_max: int
) -> dict[str, float]:
    """One writer, some readers in processes of their own; a few of them are killed at work.

    Goes on beyond `seconds` until there were `reads_min` reads, however slow the machine is.

    Returns
    -------
    dict
        torn: rows that are no version of their key. stale: older than one acknowledged before the
        get began, or newer than any begun. backward: older than the same reader saw before.
        changed: rows that were other ones when looked at again. Each must be 0.
    """
    promises = Promises(folder / "promises", readers)
    rng = np.random.default_rng()
    writes = kills = 0
    config = StoreConfig(shared_pool=True, **CONFIG)
    with EmbeddingStore.open(folder / "store", config) as store:
        store.put_many(
            [key_of(number) for number in range(ROWS)],
            np.stack([value_row(number, 0) for number in range(ROWS)]),
        )
        running = [_child("promise", folder, readers, who) for who in range(readers)]
        begun = time.monotonic()
        known = [0] * readers  # reads when the process in this place began
        while (
            time.monotonic() - begun < seconds
            or sum(tally[0] for tally in promises.tallies) < reads_min
        ):
            count = int(rng.integers(1, 4))
            for number in rng.choice(ROWS, count, replace=False).tolist():
                value = promises.begun[number] + 1
                promises.begun[number] = value
                store.put(key_of(number), value_row(number, value))
                promises.acknowledged[number] = value
                writes += 1
            time.sleep(float(rng.choice([0, 0.002, 0.02])))
            who = int(rng.integers(readers))
            if kills < kills_max and promises.tallies[who][0] > known[who] + 50:
                running[who].kill()
                running[who].communicate()
                known[who] = promises.tallies[who][0]
                running[who] = _child("promise", folder, readers, who)
                kills += 1
            elif running[who].poll() is not None:
                raise RuntimeError(f"a reader ended with status {running[who].returncode}")
        promises.end[0] = 1
        for child in running:
            child.communicate(timeout=120)
            if child.returncode:
                raise RuntimeError(f"a reader ended with status {child.returncode}")
        counters = store.stats().counters
    found: dict[str, float] = {
        name: sum(tally[place] for tally in promises.tallies) for place, name in enumerate(_TALLIES)
    }
    shown = ("pool_resets", "pool_refusals", "pool_fallbacks")
    return {
        **found,
        "writes": writes,
        "kills": kills,
        "seconds": round(time.monotonic() - begun, 1),
        "readers": readers,
        **{f"writer_{name}": counters[name] for name in shown},
    }


# -- memory ---------------------------------------------------------------------------------


def _fill(folder: Path) -> None:
    with EmbeddingStore.open(folder, StoreConfig(**CONFIG)) as store:
        for first in range(0, ROWS, 24):
            numbers = range(first, first + 24)
            store.put_many(
                [key_of(number) for number in numbers],
                np.stack([value_row(number, number) for number in numbers]),
                f"hot {first}",
            )
        store.put_many(["warm a", "warm b"], np.stack([value_row(0, 1)] * 2), "warm up")


def _read_all(store: EmbeddingStore) -> int:
    """Read the hot set twice and keep nothing; returns bytes that are not in shared memory."""
    shared = (
        [
            tuple(int(end, 16) for end in line.split()[0].split("-"))
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.split()[1].endswith("s")
        ]
        if store.stats().pool_bytes
        else []
    )
    beside = 0
    for turn in range(2):
        for number in range(ROWS):
            row = store.get(key_of(number))
            if row.tobytes() != value_row(number, number).tobytes():
                raise AssertionError(f"key {number} has another vector")
            at = row.ctypes.data
            if turn and not any(low <= at < high for low, high in shared):
                beside += row.nbytes
    return beside


def _reader_memory(folder: Path, *, is_shared: bool) -> None:
    config = StoreConfig(shared_pool=is_shared, **CONFIG)
    store = EmbeddingStore.open(folder, config, read_only=True)
    for _ in range(3):  # code, contexts, the prefetch thread
        store.get("warm a")
        store.get("warm b")
        value_row(0, 0).tobytes()
        page_types()
    store.wait_for_prefetch()
    gc.collect()
    before = page_types()
    _read_all(store)
    store.wait_for_prefetch()
    beside = _read_all(store) if is_shared else -1
    gc.collect()
    after = page_types()
    counters = store.stats().counters
    told = {
        "anonymous_added": after["anonymous"] - before["anonymous"],
        "shared": after["shared memory"],
        "beside_shared_memory": beside,
        "decoded": counters["cold_hits"] + counters["prefetched_rows"],
    }
    print(json.dumps(told), flush=True)  # noqa: T201
    sys.stdin.readline()
    print(json.dumps({"shared": page_types()["shared memory"]}), flush=True)  # noqa: T201
    sys.stdin.readline()
    store.close()


def reader_memory(folder: Path, readers: int, *, is_shared: bool) -> dict[str, Any]:
    """What each of so many readers of one hot set adds, beside the process that decoded it."""
    children: list[subprocess.Popen[str]] = []
    told = []
    with _ended(children):
        for _ in range(readers + 1):  # the first decodes
            children.append(_child("reader", folder, int(is_shared)))
            told.append(_wait_for(children[-1]))
        shares = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
            shares.append(_wait_for(child)["shared"])
    return {
        "readers": readers,
        "pool": is_shared,
        "anonymous_added": [one["anonymous_added"] for one in told[1:]],
        "anonymous_added_by_the_first": told[0]["anonymous_added"],
        "shared_memory_of_all": sum(shares),
        "decoded": [one["decoded"] for one in told],
        "bytes_read_beside_shared_memory": [one["beside_shared_memory"] for one in told],
    }


@contextmanager
def _ended(children: list[subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.communicate()


# -- latency --------------------------------------------------------------------------------


def get_times(folder: Path, *, is_shared: bool, gets: int) -> dict[str, float]:
    """Seconds of single gets of resident rows, keys made afresh; the timer's floor beside them."""
    config = StoreConfig(shared_pool=is_shared, **CONFIG)
    rng = np.random.default_rng(1)
    clock = time.perf_counter_ns
    with EmbeddingStore.open(folder, config, read_only=True) as store:
        for _ in range(2):
            for number in range(ROWS):
                store.get(key_of(number))
            store.wait_for_prefetch()
        table = set(store._cascade.hot.keys())  # which of them the table knows
        times: dict[str, list[int]] = {"table": [], "pool": []}
        floor = []
        gc.disable()
        for number in rng.integers(0, ROWS, gets).tolist():
            key = key_of(number)
            begin = clock()
            store.get(key)
            took = clock() - begin
            begin = clock()
            floor.append(clock() - begin)
            times["table" if key in table else "pool"].append(took)
        gc.enable()
    found = {"floor_p50_ns": float(np.percentile(floor, 50)), "shared": float(is_shared)}
    for name, values in (*times.items(), ("all", times["table"] + times["pool"])):
        if values:
            found[f"{name}_p50_ns"] = float(np.percentile(values, 50))
            found[f"{name}_p99_ns"] = float(np.percentile(values, 99))
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["promises", "memory", "latency", "promise", "reader"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=8)
    given = parser.parse_args()
    if given.what == "promise":
        _read_promises(Path(given.rest[0]), int(given.rest[1]), int(given.rest[2]))
        return
    if given.what == "reader":
        _reader_memory(Path(given.rest[0]), is_shared=given.rest[1] == "1")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "promises":
            found = count_kept_promises(
                folder,
                seconds=given.seconds,
                readers=given.readers,
                reads_min=10_000,
                kills_max=20,
            )
            print(json.dumps(found))  # noqa: T201
            wrong = [found[name] for name in ("torn", "stale", "backward", "changed")]
            sys.exit(any(wrong))
        _fill(folder)
        os.sync()
        for is_shared in (False, True):
            if given.what == "latency":
                print(json.dumps(get_times(folder, is_shared=is_shared, gets=200_000)))  # noqa: T201
                continue
            for readers in (1, 2, 4, 8):
                print(json.dumps(reader_memory(folder, readers, is_shared=is_shared)))  # noqa: T201


if __name__ == "__main__":
    main()
