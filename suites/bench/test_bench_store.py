"""How fast does the store itself read, and does opening depend on how much it holds?

Vectors lie on v1's grid (bfloat16, synthetic noise: labelled in `extra_info`); what is timed is
the way through catalog, segments and tiers, not the compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.vectors import bfloat16
from titanstore import EmbeddingStore, StoreConfig, embedding_key

Size = Literal["smoke", "full"]
Vectors = NDArray[np.float32]
DIMENSION = 1536
BATCH: dict[Size, int] = {"smoke": 50, "full": 1_000}
STORED: dict[Size, list[int]] = {"smoke": [200], "full": [2_000, 50_000]}
ROUNDS: dict[Size, int] = {"smoke": 3, "full": 100}
RELAXED = StoreConfig(durability="power_cut_may_lose_store")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    chosen: Size = request.config.getoption("--size")
    return chosen


def _fill(path: Path, count: int) -> tuple[list[str], Vectors]:
    vectors = bfloat16(np.random.default_rng(7), 500, DIMENSION)
    keys = [embedding_key("bench", str(number)) for number in range(count)]
    with EmbeddingStore.open(path, RELAXED) as store:
        for first in range(0, count, 500):
            batch = keys[first : first + 500]
            store.put_many(batch, vectors[: len(batch)])
    return keys, vectors


@pytest.fixture
def filled(tmp_path: Path, size: Size) -> Iterator[tuple[EmbeddingStore, list[str], Vectors]]:
    keys, vectors = _fill(tmp_path / "store", STORED[size][0])
    with EmbeddingStore.open(tmp_path / "store", read_only=True) as store:
        yield store, keys, vectors


def test_bench_get_many(
    benchmark: Any, filled: tuple[EmbeddingStore, list[str], Vectors], size: Size
) -> None:
    store, keys, vectors = filled
    count = BATCH[size]
    starts = cycle(range(0, len(keys) - count + 1, max(1, count // 2)))
    place = 0
    answer: Vectors = np.empty((0, 0), np.float32)

    def timed(batch: list[str]) -> None:
        nonlocal answer
        answer = store.get_many(batch)

    def next_batch() -> tuple[tuple[list[str]], dict[str, Any]]:
        nonlocal place
        check()
        place = next(starts)
        return (keys[place : place + count],), {}

    def check() -> None:
        if len(answer):
            wanted = vectors[np.arange(place, place + count) % len(vectors)]
            assert np.array_equal(answer.view(np.uint32), wanted.view(np.uint32))

    benchmark.pedantic(timed, setup=next_batch, rounds=ROUNDS[size])
    check()
    benchmark.extra_info["source"] = "synthetic"
    if benchmark.stats is not None:
        decoded = 4 * DIMENSION * count
        benchmark.extra_info["decoded_MB_per_s"] = round(
            decoded / benchmark.stats.stats.median / 1e6
        )


def test_bench_open_does_not_depend_on_size(benchmark: Any, tmp_path: Path, size: Size) -> None:
    sizes = STORED[size]
    for count in sizes:
        _fill(tmp_path / str(count), count)
    path = tmp_path / str(sizes[-1])

    def opened() -> int:
        with EmbeddingStore.open(path, read_only=True) as store:
            return len(store)

    reopen: Callable[[], int] = opened
    assert benchmark.pedantic(reopen, rounds=ROUNDS[size]) == sizes[-1]
    benchmark.extra_info["vectors"] = sizes[-1]


@pytest.mark.parametrize("which", ["absent", "present"])
@pytest.mark.parametrize("asked", ["catalog", "filter"])
def test_bench_membership(
    benchmark: Any, tmp_path: Path, size: Size, asked: str, which: str
) -> None:
    """`key in store`, a batch of keys made beforehand: does the Bloom filter pay (0004)?"""
    count = {"smoke": 2_000, "full": 20_000}[size]
    config = StoreConfig(bloom=asked == "filter", durability="power_cut_may_lose_store")
    keys = [embedding_key("bench", str(number)) for number in range(count)]
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(keys, np.ones((count, 1), np.float32))
        wanted = which == "present"
        sample = (
            keys[:: count // 2_000] if wanted else [embedding_key("no", k) for k in keys[:2_000]]
        )
        answers: list[bool] = []

        def timed() -> None:
            answers[:] = [key in store for key in sample]

        benchmark.pedantic(timed, rounds=ROUNDS[size], warmup_rounds=1)
        assert answers == [wanted] * len(sample)
    benchmark.extra_info["keys"] = len(sample)
