"""What a store says that it keeps in memory, beside what the system and the interpreter say.

    python suites/bench/attribution.py BYTES

Makes a store of both dimensions, fills the tiers up to BYTES in all (0: the default settings) in
this process, searches, and prints JSON, in bytes:

    accounted     `StoreStats.memory_bytes`, and its parts
    anonymous     pages that were added, by /proc/self/smaps_rollup, after malloc_trim
    traced        added by allocations of the interpreter, by tracemalloc, in a second filling;
                  rows lie in mappings that it does not see
    traceable     what the store says of the same

Before that, the same is done once with a small store, so that what any first use of a library
takes is not in it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.probes.memory import page_types
from titanstore import EmbeddingStore, StoreConfig

DIMENSIONS = (1_024, 1_536)
_RELAXED = StoreConfig(durability="power_cut_may_lose_store")
_FULL = 0.97  # of its budget: a tier's next row or frame may not fit


def settings(budget: int) -> StoreConfig:
    """Half of a budget for each tier, and room for results; 0: the defaults."""
    if not budget:
        return StoreConfig(prefetch=False)
    return StoreConfig(
        memory_bytes_max=budget,
        hot_bytes_max=budget // 2,
        warm_bytes_max=budget,
        result_cache_entries=64,
        prefetch=False,
    )


def make(path: Path, budget: int) -> list[str]:
    """A store with more than the tiers can hold; returns its keys, dimensions in turn."""
    count = max(200, budget // 8_000)
    rng = np.random.default_rng(17)
    keys: dict[int, list[str]] = {dimension: [] for dimension in DIMENSIONS}
    with EmbeddingStore.open(path, _RELAXED) as store:
        for dimension in DIMENSIONS:
            for first in range(0, count, 200):
                names = [f"{place + dimension * 10**6:032x}" for place in range(first, first + 200)]
                rows = rng.standard_normal((len(names), dimension), dtype=np.float32)
                store.put_many(names, rows, f"{dimension} {first}")
                keys[dimension] += names
    pairs = zip(*keys.values(), strict=True)
    return [key for pair in pairs for key in pair]


def use(store: EmbeddingStore, keys: list[str]) -> None:
    """Fill both tiers with both dimensions, and the result cache."""
    for key in keys:
        store.get(key.upper().lower())  # a string made afresh, as a caller's is
    rng = np.random.default_rng(19)
    for dimension in DIMENSIONS:
        for query in rng.standard_normal((32, dimension), dtype=np.float32):
            store.search(query, k=20)


def _anonymous() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return page_types()["anonymous"]


def main(budget: int) -> None:
    config = settings(budget)
    with tempfile.TemporaryDirectory() as folder:
        keys = make(Path(folder, "s"), budget)
        small = make(Path(folder, "small"), 0)
        # small tiers: what they leave in the heap would be taken again and not be seen to be
        with EmbeddingStore.open(Path(folder, "small"), settings(200_000), read_only=True) as store:
            use(store, small)
        del store
        before = _anonymous()
        store = EmbeddingStore.open(Path(folder, "s"), config, read_only=True)
        use(store, keys)
        stats = store.stats()
        anonymous = _anonymous() - before
        store.close()
        del store
        gc.collect()
        tracemalloc.start()
        traced_before = tracemalloc.get_traced_memory()[0]
        store = EmbeddingStore.open(Path(folder, "s"), config, read_only=True)
        use(store, keys)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0] - traced_before
        again = store.stats()
        hot = store._cascade.hot
        resident = [hot.lookup(key) for key in keys]
        tracemalloc.stop()
        rows = sum(row.nbytes for row in resident if row is not None)
        dimensions = {row.size for row in resident if row is not None}
        store.close()
    parts = ("hot_bytes", "idle_row_bytes", "warm_bytes", "result_bytes", "marks_bytes")
    shown = {
        "accounted": stats.memory_bytes,
        **{name: getattr(stats, name) for name in parts},
        "anonymous": anonymous,
        "traced": traced,
        "traceable": again.memory_bytes - rows - again.idle_row_bytes,
        "mapped_bytes": stats.mapped_bytes,
        "dimensions": sorted(dimensions),
        "is_full": stats.hot_bytes > _FULL * config.hot_bytes_max
        and stats.hot_bytes + stats.warm_bytes > _FULL * config.memory_bytes_max,
    }
    print(json.dumps(shown))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
