"""What does compression cost a caller: the same store with it and without?

Frames by themselves are measured in test_bench_codec.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.documents import document_rows
from suites.bench.checked import Checked, same_bits
from suites.bench.conftest import CHUNKS, DIMENSION
from titanstore import EmbeddingStore, StoreConfig

DOCUMENTS = {"smoke": 3, "full": 100}
ROUNDS = {"smoke": 3, "full": 500}
either_way = pytest.mark.parametrize("compression", [True, False], ids=["compressed", "raw"])


def _config(*, compression: bool) -> StoreConfig:
    return StoreConfig(
        compression=compression,
        hot_bytes_max=0,
        warm_bytes_max=0,
        prefetch=False,
        durability="power_cut_may_lose_store",
    )


@either_way
def test_bench_put(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, compression: bool
) -> None:
    """22 new chunks, nothing synced, so that the disk does not hide the work."""
    rows = document_rows(31, 1, CHUNKS, DIMENSION)
    batches = [
        [f"{number} {chunk}" for chunk in range(CHUNKS)] for number in range(ROUNDS[size] + 5)
    ]
    with EmbeddingStore.open(tmp_path / "store", _config(compression=compression)) as store:

        def check(place: int, _: Any) -> None:
            assert same_bits(store.get_many(batches[place]), rows)

        run = Checked(lambda keys: store.put_many(keys, rows), batches, check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size])
        run.check_last()
        stats = store.stats()
        told["stored_share"] = (stats.segment_bytes + stats.plane_bytes) / (
            4 * DIMENSION * stats.vectors
        )
    assert (told["stored_share"] < 1) is compression


@either_way
def test_bench_get(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, compression: bool
) -> None:
    """Single gets with both tiers off: raw frames are read in place."""
    rows = document_rows(37, DOCUMENTS[size], CHUNKS, DIMENSION)
    keys = [f"{row:032x}" for row in range(len(rows))]
    with EmbeddingStore.open(tmp_path / "store", _config(compression=compression)) as store:
        store.put_many(keys, rows)

        def check(place: int, row: Any) -> None:
            assert same_bits(row, rows[place])

        run = Checked(store.get, keys, check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=5)
        run.check_last()
    told["compression"] = compression
