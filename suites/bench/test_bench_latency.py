"""How long does one call take: a get from each tier, a query, a save?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.benchmarks import note_limit
from suites.bench.checked import Checked, same_bits
from suites.bench.conftest import CHUNKS, Stores
from titanstore import EmbeddingStore, StoreConfig

STORED = {"smoke": 220, "full": 2_200}
ROUNDS = {"smoke": 5, "full": 2_000}
BATCH = {"smoke": 100, "full": 10_000}
QUERIED = {"smoke": [220], "full": [2_200, 10_000]}
K = 10
NO_TIERS = StoreConfig(hot_bytes_max=0, warm_bytes_max=0, prefetch=False)
HOT = StoreConfig(hot_bytes_max=2_000_000, memory_bytes_max=3_000_000, prefetch=False)


def test_bench_hot_get(benchmark: Any, told: dict[str, Any], stores: Stores, size: str) -> None:
    """Batches of gets of resident rows with key strings made afresh; the loop is in the time."""
    filled = stores.of(STORED[size])
    rows = 128
    digests = [bytes.fromhex(key) for key in filled.keys[:rows]]
    order = np.random.default_rng(5).integers(0, rows, BATCH[size]).tolist()
    seen: Any = None
    with EmbeddingStore.open(filled.path, HOT, read_only=True) as store:
        for key in filled.keys[:rows]:
            store.get(key)
        before = store.stats().counters["hot_hits"]

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
        calls = rounds if benchmark.stats is not None else 1
        assert store.stats().counters["hot_hits"] - before == calls * len(order)
    told["operations"] = len(order)
    note_limit(told, target="latency.hot.files-1024.p99", operations=len(order))
    note_limit(told, target="latency.hot.files-1024.p50", operations=len(order))


def test_bench_cold_get(benchmark: Any, told: dict[str, Any], stores: Stores, size: str) -> None:
    """Single gets through catalog and mapped files, pages cached, both tiers off."""
    filled = stores.of(STORED[size])
    with EmbeddingStore.open(filled.path, NO_TIERS, read_only=True) as store:

        def check(place: int, row: Any) -> None:
            assert same_bits(row, filled.vectors[place])

        run = Checked(store.get, filled.keys, check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=5)
        run.check_last()
    note_limit(told, target="latency.disk.files-1024.p99")


@pytest.mark.parametrize("place", [0, -1], ids=["small", "large"])
def test_bench_search(
    benchmark: Any, told: dict[str, Any], stores: Stores, size: str, place: int
) -> None:
    """One query for the 10 nearest by the flat scan, result cache off."""
    count = QUERIED[size][place]
    filled = stores.of(count)
    rng = np.random.default_rng(11)
    rows = rng.integers(0, len(filled.keys), 50)
    queries = filled.vectors[rows]
    config = StoreConfig(result_cache_entries=0, search_index="flat")
    with EmbeddingStore.open(filled.path, config, read_only=True) as store:

        def check(query: int, hits: Any) -> None:
            assert hits[0].key == filled.keys[rows[query]]
            assert len({hit.key for hit in hits}) == K
            distances = [hit.distance for hit in hits]
            assert distances == sorted(distances)

        run = Checked(lambda query: store.search(query, k=K), list(queries), check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=2)
        run.check_last()
    told["vectors"] = len(filled.keys)
    note_limit(told, target="query.latency.flat-2200-0" if count < 10_000 else _LARGE)


_LARGE = "query.latency.flat-10000-0"


def test_bench_save(benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path) -> None:
    """One file of 22 chunks saved with 2 changed, durable when it returns."""
    rows = np.random.default_rng(13).standard_normal((2 * CHUNKS, 1024), dtype=np.float32)
    before = [(f"chunk {row}", rows[row]) for row in range(CHUNKS)]
    after = [*[(f"other {row}", rows[CHUNKS + row]) for row in range(2)], *before[2:]]
    states = [after, before]
    with EmbeddingStore.open(tmp_path / "store") as store:
        store.update_document("file", before)

        def check(place: int, _: Any) -> None:
            keys, vectors = zip(*states[place], strict=True)
            assert store.document_keys("file") == list(keys)
            assert same_bits(store.get_many(keys), np.stack(vectors))

        run = Checked(lambda state: store.update_document("file", state), states, check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=2)
        run.check_last()
    note_limit(told, target="update.latency.v2_2024")
