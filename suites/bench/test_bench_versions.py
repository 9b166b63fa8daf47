"""What do versions cost: taking one, going back, reading an old one, letting old ones go?

Every write is durable, as a caller's is. Vectors lie on v1's grid (bfloat16, synthetic noise:
labelled in `extra_info`). Each round checks its result outside the timed part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.vectors import bfloat16
from titanstore import EmbeddingStore, StoreConfig, Version, embedding_key

Size = Literal["smoke", "full"]
Vectors = NDArray[np.float32]
DIMENSION = 1024
CHUNKS = 22  # of one document
STORED: dict[Size, list[int]] = {"smoke": [440], "full": [2_200, 50_000]}
CHANGED: dict[Size, int] = {"smoke": 220, "full": 10_000}
DROPPED: dict[Size, int] = {"smoke": 300, "full": 100_000}
ROUNDS: dict[Size, int] = {"smoke": 3, "full": 60}
FEW: dict[Size, int] = {"smoke": 2, "full": 5}
RELAXED = StoreConfig(durability="power_cut_may_lose_store")
FULL = StoreConfig(versions_max=1_000_000)


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    chosen: Size = request.config.getoption("--size")
    return chosen


def _rows(seed: int, count: int, dimension: int = DIMENSION) -> Vectors:
    return bfloat16(np.random.default_rng(seed), count, dimension)


def _keys(count: int, first: int = 0) -> list[str]:
    return [embedding_key("bench", str(number)) for number in range(first, first + count)]


def _fill(path: Path, count: int) -> list[str]:
    """Documents of 22 chunks each."""
    keys = _keys(count)
    rows = _rows(7, CHUNKS)
    with EmbeddingStore.open(path, RELAXED) as store:
        for first in range(0, count, CHUNKS):
            batch = keys[first : first + CHUNKS]
            store.put_many(batch, rows[: len(batch)], f"document {first // CHUNKS}")
    return keys


def _told(benchmark: Any, path: Path, **facts: object) -> None:
    benchmark.extra_info["source"] = "synthetic"
    benchmark.extra_info |= facts
    benchmark.extra_info["stored_bytes"] = sum(
        part.stat().st_size for part in path.rglob("*") if part.is_file()
    )


@pytest.fixture(params=[0, -1], ids=["small", "large"])
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, size: Size
) -> Iterator[tuple[EmbeddingStore, list[str]]]:
    keys = _fill(tmp_path / "store", STORED[size][request.param])
    with EmbeddingStore.open(tmp_path / "store", FULL) as store:
        yield store, keys


def test_bench_snapshot(
    benchmark: Any, filled: tuple[EmbeddingStore, list[str]], size: Size, tmp_path: Path
) -> None:
    """Its cost must not depend on the size of the store."""
    store, keys = filled
    taken: list[Version] = []
    benchmark.pedantic(lambda: taken.append(store.snapshot()), rounds=ROUNDS[size])
    assert store.versions() == taken
    assert {version.vectors for version in taken} == {len(keys)}
    _told(benchmark, tmp_path, vectors=len(keys))


def test_bench_rollback_of_one_document(
    benchmark: Any, filled: tuple[EmbeddingStore, list[str]], size: Size, tmp_path: Path
) -> None:
    store, keys = filled
    chunks = keys[:CHUNKS]
    wanted = store.get_many(chunks)
    version = store.snapshot()
    store.tag(version, "start")
    seeds = iter(range(1_000, 10_000))
    done = False

    def change() -> None:
        if done:
            check()
        store.drop_versions(keep=0)  # what is timed goes back over one change
        rows = _rows(next(seeds), CHUNKS)
        store.update_document("document 0", list(zip(chunks, rows, strict=True)))

    def check() -> None:
        assert store.get_many(chunks).tobytes() == wanted.tobytes()
        assert not store.diff("start")

    def roll_back() -> None:
        nonlocal done
        store.rollback("start")
        done = True

    benchmark.pedantic(roll_back, setup=change, rounds=ROUNDS[size])
    check()
    _told(benchmark, tmp_path, vectors=len(keys), keys_changed=CHUNKS)


def test_bench_rollback_of_many_keys(benchmark: Any, size: Size, tmp_path: Path) -> None:
    count = CHANGED[size]
    keys = _fill(tmp_path / "store", count)
    with EmbeddingStore.open(tmp_path / "store", FULL) as store:
        sample = keys[:: max(1, count // 100)]
        wanted = [store.get(key).tobytes() for key in sample]
        store.tag(store.snapshot(), "start")
        other = _rows(8, CHUNKS)
        turn = 0

        def change() -> None:
            nonlocal turn
            turn += 1
            store.drop_versions(keep=0)
            for first in range(0, count, CHUNKS):
                batch = keys[first : first + CHUNKS]
                rows = other[: len(batch)] * np.float32(2**turn)
                store.put_many(batch, rows, f"document {first // CHUNKS}")

        def roll_back() -> None:
            store.rollback("start")

        benchmark.pedantic(roll_back, setup=change, rounds=FEW[size])
        assert [store.get(key).tobytes() for key in sample] == wanted
        assert not store.diff("start")
    _told(benchmark, tmp_path, vectors=count, keys_changed=count)


def test_bench_get_of_an_old_version(
    benchmark: Any, filled: tuple[EmbeddingStore, list[str]], size: Size, tmp_path: Path
) -> None:
    """Behind 64 later versions, of which none touched the key."""
    store, keys = filled
    wanted = store.get(keys[0]).tobytes()
    view = store.at(store.snapshot())
    for _ in range(64):
        store.snapshot()
    got = benchmark.pedantic(lambda: view.get(keys[0]), rounds=ROUNDS[size], iterations=10)
    assert got.tobytes() == wanted
    _told(benchmark, tmp_path, vectors=len(keys), versions=65)


@pytest.mark.parametrize("versions", [0, 1, 65])
def test_bench_update_of_one_document(
    benchmark: Any, size: Size, tmp_path: Path, versions: int
) -> None:
    """What the log costs an update: one chunk of 22 changed."""
    keys = _fill(tmp_path / "store", STORED[size][0])
    with EmbeddingStore.open(tmp_path / "store", FULL) as store:
        for _ in range(versions):
            store.snapshot()
        rows = _rows(7, CHUNKS)
        seeds = iter(range(2_000, 10_000))

        def next_edit() -> tuple[tuple[list[tuple[str, Vectors]]], dict[str, Any]]:
            rows[3] = _rows(next(seeds), 1)[0]
            return (list(zip(keys[:CHUNKS], rows.copy(), strict=True)),), {}

        benchmark.pedantic(
            lambda chunks: store.update_document("document 0", chunks),
            setup=next_edit,
            rounds=ROUNDS[size],
        )
        assert store.get_many(keys[:CHUNKS]).tobytes() == rows.tobytes()
    _told(benchmark, tmp_path, vectors=len(keys), versions=versions)


@pytest.mark.parametrize("versions", [2, 64])
def test_bench_retention(benchmark: Any, size: Size, tmp_path: Path, versions: int) -> None:
    """One version goes, with one record for each key of the store; others stay."""
    count = DROPPED[size]
    keys = _keys(count)
    rows = _rows(7, count // 100 + 1, 8)
    with EmbeddingStore.open(tmp_path / "store", RELAXED) as store:
        for sign in (1, -1):
            for first in range(0, count, 10_000):
                batch = keys[first : first + 10_000]
                vectors = np.resize(rows, (len(batch), 8)) * np.float32(sign)
                store.put_many(batch, vectors)
            if sign > 0:
                store.snapshot()
        for _ in range(versions - 1):
            store.snapshot()
    with EmbeddingStore.open(tmp_path / "store", FULL) as store:
        dropped = benchmark.pedantic(lambda: store.drop_versions(keep=versions - 1), rounds=1)
        assert dropped == 1
        # half of all records: those that only the first version needed
        with store._catalog.reading() as view:
            assert view.history.intervals() == []
        assert 0.45 < store.stats().dead_bytes / store.stats().segment_bytes <= 0.5
    _told(benchmark, tmp_path, vectors=count, records=count, versions=versions)
