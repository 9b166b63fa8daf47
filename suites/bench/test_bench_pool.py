"""What does a get of the shared pool cost, by the process's own table and by the pool itself?

Longer and with several processes: suites/bench/shared_pool.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.benchmarks import note_limit
from suites.bench.checked import same_bits
from suites.bench.conftest import Stores
from titanstore import EmbeddingStore, StoreConfig

STORED = {"smoke": 220, "full": 660}
ROUNDS = {"smoke": 5, "full": 1_000}
BATCH = {"smoke": 100, "full": 2_000}
TABLE = 180  # rows that a process finds by its own table
SHARED = StoreConfig(
    shared_pool=True, hot_bytes_max=4_000_000, memory_bytes_max=4_000_000, prefetch=False
)


@pytest.mark.parametrize("where", ["table", "pool"])
def test_bench_shared_get(
    benchmark: Any, told: dict[str, Any], stores: Stores, size: str, tmp_path: Path, where: str
) -> None:
    """Batches of gets, keys made afresh, of rows that another object of the store decoded."""
    filled = stores.of(STORED[size])
    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    places = range(TABLE) if where == "table" else range(TABLE, STORED[size])
    digests = [bytes.fromhex(key) for key in filled.keys]
    order = np.random.default_rng(5).choice(places, BATCH[size]).tolist()
    seen: Any = None
    with (
        EmbeddingStore.open(path, SHARED, read_only=True) as owner,
        EmbeddingStore.open(path, SHARED, read_only=True) as store,
    ):
        for key in filled.keys:
            owner.get(key)
        for key in filled.keys:
            store.get(key)
        before = store.stats().counters

        def fresh() -> tuple[tuple[list[str]], dict[str, Any]]:
            return ([digests[place].hex() for place in order],), {}

        def timed(keys: list[str]) -> None:
            nonlocal seen
            get = store.get
            for key in keys:
                row = get(key)
            seen = row

        rounds = ROUNDS[size]
        benchmark.pedantic(timed, setup=fresh, rounds=rounds)
        assert same_bits(seen, filled.vectors[order[-1]])
        gets = len(order) * (rounds if benchmark.stats is not None else 1)
        after = store.stats().counters
        found = {name: after[name] - before[name] for name in ("hot_hits", "pool_hits")}
        assert after["cold_hits"] == 0
        assert found == {"hot_hits": gets, "pool_hits": gets if where == "pool" else 0}
    told["operations"] = len(order)
    note_limit(
        told,
        what=f"a get by the {where}",
        statistic="p50",
        comparator="<",
        limit=3e-6,
        unit="s",
        operations=len(order),
    )
