"""A search is an exhaustive one: ids, order and distances, whatever vectors a store holds."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from numpy.typing import NDArray

from fixtures.formats import write_v1
from fixtures.titan.recorded import RecordedSet
from fixtures.vectors import GENERATORS, gaussians
from titanstore import EmbeddingStore, Hit, StoreConfig
from titanstore.catalog.layout import SegmentState
from titanstore.keys import stored_key
from titanstore.search import flat
from titanstore.search.open_rows import open_rows
from titanstore.search.quantise import Queries
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, Address, check_segment_header

Vector = NDArray[np.float32]
METRICS = ("cosine", "dot", "l2")
PLAIN = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=0)
NO_CODES = StoreConfig(durability="power_cut_may_lose_store", search=False)
RAW = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=0, compression=False)


def small_segments(config: StoreConfig, size: int) -> StoreConfig:
    made = StoreConfig(
        durability=config.durability,
        result_cache_entries=config.result_cache_entries,
        compression=config.compression,
    )
    object.__setattr__(made, "segment_bytes_max", size)
    return made


def oracle(vectors: Mapping[str, Vector], query: Vector, k: int, metric: str) -> list[Hit]:
    q = query.tolist()
    length = math.sqrt(math.fsum(value * value for value in q))
    hits = []
    for key, vector in vectors.items():
        if vector.size != query.size or not np.isfinite(vector).all():
            continue
        x = vector.tolist()
        if metric == "l2":
            distance = math.fsum((a - b) * (a - b) for a, b in zip(x, q, strict=True))
        else:
            distance = math.fsum(a * b for a, b in zip(x, q, strict=True))
            if metric == "cosine":
                lengths = math.sqrt(math.fsum(value * value for value in x)) * length
                distance = distance / lengths if lengths else 0.0
            distance = 1.0 - distance
        hits.append(Hit(key, distance))
    return sorted(hits, key=lambda hit: (hit.distance, hit.key))[:k]


def hostile(rng: np.random.Generator, dimension: int) -> NDArray[np.float32]:
    """Every kind, NaN and infinity among them, duplicates, opposites, near ties, the ends."""
    rows = np.concatenate([generate(rng, 2, dimension) for generate in GENERATORS.values()])
    near = rows[::2].view(np.uint32) ^ (np.arange(dimension, dtype=np.uint32) == 1)
    ends = np.array([[3.4e38], [-3.4e38], [1e-45], [1e-38]], np.float32)
    return np.concatenate(
        [rows, rows[:8], -rows[:8], near.view(np.float32), np.tile(ends, dimension)]
    )


def names(count: int, rng: np.random.Generator) -> list[str]:
    """Keys whose order is not that of their vectors; digests among them."""
    found = [f"key {number}" if number % 3 else f"{number:032x}" for number in range(count)]
    return [found[place] for place in rng.permutation(count)]


def assert_exact(
    store: EmbeddingStore, vectors: Mapping[str, Vector], queries: list[Vector]
) -> None:
    for metric in METRICS:
        for k in (1, 7, len(vectors) + 5):
            wanted = [oracle(vectors, query, k, metric) for query in queries]
            assert [store.search(query, k, metric=metric) for query in queries] == wanted
            same = [query for query in queries if query.size == queries[0].size]
            assert store.search_many(same, k, metric=metric) == wanted[: len(same)]


@pytest.mark.parametrize("dimension", [1, 9, 24])
@pytest.mark.parametrize(
    "config",
    [PLAIN, RAW, small_segments(PLAIN, 1500), small_segments(RAW, 3000)],
    ids=["plain", "raw", "many segments", "raw segments"],
)
def test_hostile_vectors(
    tmp_path: Path, rng: np.random.Generator, dimension: int, config: StoreConfig
) -> None:
    rows = hostile(rng, dimension)
    other = gaussians(rng, 5, dimension + 1)
    keys = names(len(rows) + len(other), rng)
    vectors = dict(zip(keys, [*rows, *other], strict=True))
    queries = [row for row in rows[:: len(rows) // 4] if np.isfinite(row).all()]
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(list(vectors), list(vectors.values()))
        assert_exact(store, vectors, [*queries, other[0]])
        gone, replaced = keys[::5], keys[1::5]
        store.delete(gone)
        store.put_many(replaced, [np.negative(vectors[key]) for key in replaced])
        vectors = {key: row for key, row in vectors.items() if key not in gone}
        vectors |= {key: np.negative(vectors[key]) for key in replaced}
        assert_exact(store, vectors, queries[:2])
        store.maintain()
        assert_exact(store, vectors, queries[:2])
    with EmbeddingStore.open(tmp_path, config, read_only=True) as store:
        assert_exact(store, vectors, queries[:2])


def test_exact_ties_are_in_the_order_of_keys(tmp_path: Path, rng: np.random.Generator) -> None:
    row = gaussians(rng, 1, 16)[0]
    keys = names(40, rng)
    with EmbeddingStore.open(tmp_path, small_segments(PLAIN, 400)) as store:
        for key in keys:
            store.put(key, row)
        for metric in METRICS:
            found = [hit.key for hit in store.search(row, 7, metric=metric)]
            assert found == sorted(keys)[:7]


def test_near_ties_that_codes_cannot_tell_apart(tmp_path: Path, rng: np.random.Generator) -> None:
    """300 vectors that differ in their last bits: all must be decoded, and are in order."""
    row = gaussians(rng, 1, 24)[0]
    words = row.view(np.uint32) ^ rng.integers(0, 4, (300, 24), dtype=np.uint32)
    vectors = dict(zip(names(300, rng), words.view(np.float32), strict=True))
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        store.put_many(list(vectors), list(vectors.values()))
        assert_exact(store, vectors, [row, -row])


def test_recorded_vectors(tmp_path: Path, recorded_sets: dict[str, RecordedSet]) -> None:
    for name, found in recorded_sets.items():
        vectors = {f"{place:03d}": row for place, row in enumerate(found.vectors[:120])}
        queries = [found.vectors[0], found.vectors[-1]]
        with EmbeddingStore.open(tmp_path / name, PLAIN) as store:
            store.put_many(list(vectors), list(vectors.values()))
            for metric in METRICS:
                wanted = [oracle(vectors, query, 10, metric) for query in queries]
                assert store.search_many(queries, metric=metric) == wanted


def test_batches_that_do_not_fit_into_one_turn(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "_QUERIES_MAX", 6)
    monkeypatch.setattr(flat, "_BLOCK_CELLS", 100)
    monkeypatch.setattr(flat, "_BLOCK_ROWS_MIN", 7)
    rows = gaussians(rng, 150, 16)
    vectors = {f"{place:03d}": row for place, row in enumerate(rows)}
    with EmbeddingStore.open(tmp_path, small_segments(PLAIN, 2000)) as store:
        store.put_many(list(vectors), list(vectors.values()))
        queries = list(gaussians(rng, 20, 16))
        for k in (1, 10, 150):
            wanted = [oracle(vectors, query, k, "cosine") for query in queries]
            assert store.search_many(queries, k) == wanted
            assert [store.search(query, k) for query in queries] == wanted
        assert store.search(queries[0], 10**12) == oracle(vectors, queries[0], 150, "cosine")


def test_a_scan_holds_the_scores_of_a_block_however_many_rows_there_are(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """malloc keeps what the longest array took: 1.5 MB at 60 000 rows once."""
    scored: list[tuple[int, ...]] = []
    inner = flat.score_rows

    def score(*given: Any) -> Any:
        bounds = inner(*given)
        scored.append(bounds[0].shape)
        return bounds

    monkeypatch.setattr(flat, "score_rows", score)
    monkeypatch.setattr(flat, "_BLOCK_CELLS", 40)
    monkeypatch.setattr(flat, "_BLOCK_ROWS_MIN", 8)
    rows = gaussians(rng, 100, 16)
    vectors = {f"{place:03d}": row for place, row in enumerate(rows)}
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        store.put_many(list(vectors), list(vectors.values()))
        query = gaussians(rng, 1, 16)[0]
        assert store.search(query, 70) == oracle(vectors, query, 70, "cosine")
        assert scored == [(1, 40), (1, 40), (1, 20)]
        store.search_many([-query] * 10)
        assert {shape[1] for shape in scored[3:]} == {8, 4}


def test_what_a_block_leaves_open_is_never_in_arrays_that_numpy_keeps(
    rng: np.random.Generator,
) -> None:
    """It keeps freed ones below 1 kB, some of each size: 0.1 MB after 1 400 searches once."""
    lower = rng.standard_normal((3, 200))
    upper = lower + 0.01
    upper[1, 150:] = lower[1, 150:] = np.nan
    for share in (0.0, 0.01, 0.2, 0.9):
        limits = np.full((3, 1), np.quantile(lower[0], share))
        found = open_rows(lower, upper, limits, 1_000)
        wanted = np.argwhere(lower <= limits)
        wanted[:, 1] += 1_000
        is_open = ~np.isnan(found.lower)
        assert np.column_stack([found.places, found.rows])[is_open].tolist() == wanted.tolist()
        assert found.upper[is_open].tolist() == upper[lower <= limits].tolist()
        assert all(each.nbytes >= 1_024 for each in found)
        assert (found.lower <= 0).nbytes >= 1_024  # flags too
        some = found.some(found.lower <= limits[found.places, 0] - 0.5)
        kept = ~np.isnan(some.lower)
        assert all(each.nbytes >= 1_024 for each in some)
        assert some.lower[kept].tolist() == lower[lower <= limits - 0.5].tolist()


# ---------------------------------------------------------------- records that have no row


@pytest.mark.parametrize("k", [1, 7, 500, 3_000])
def test_the_nearest_are_kept_without_sorting_them_each_time(
    rng: np.random.Generator, k: int
) -> None:
    """All were sorted after each portion: 64 queries with k = 2 000 took half as long again."""
    compared = 0

    class Distance(float):
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float(self) < float(other)

    found = [
        flat.Found(Distance(distance), f"{place:04d}", Address(1, place))
        for place, distance in enumerate(rng.integers(0, 1_000, 2_000).tolist())
    ]
    nearest = flat._Nearest()
    for one in found:
        nearest.add(one, k)
        assert one.address in nearest or len(nearest) == k
        assert len(nearest) <= k
    assert compared < len(found) * (k.bit_length() + 1)
    assert sorted(nearest.found) == sorted(found)[:k]
    assert [one for one in found if one.address in nearest] == [
        one for one in found if one in set(nearest.found)
    ]


def test_no_more_than_k_results_and_a_portion_are_held_at_a_time(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 000 queries over records without rows they took 2.4 GB once; of one, 0.5 kB each."""
    held: list[int] = []
    inner = flat.FlatScan._measure_all

    def measure(self: flat.FlatScan, queries: Queries, askers: Any, near: Any, k: int) -> None:
        held.append(len(askers))
        inner(self, queries, askers, near, k)
        held.extend(len(one) + 3 - k for one in near)

    monkeypatch.setattr(flat.FlatScan, "_measure_all", measure)
    monkeypatch.setattr(flat, "_WANTED_AT_ONCE", 3)
    monkeypatch.setattr(flat, "_QUERIES_MAX", 10)
    rows = gaussians(rng, 20, 8)
    vectors = {f"{place:03d}": row for place, row in enumerate(rows)}
    with EmbeddingStore.open(tmp_path / "without rows", NO_CODES) as store:
        store.put_many(list(vectors), list(vectors.values()))
    with EmbeddingStore.open(tmp_path / "with rows", small_segments(PLAIN, 1000)) as store:
        store.put_many(list(vectors), [rows[0]] * len(rows))  # equally near: none is ruled out
    queries = list(gaussians(rng, 25, 8))
    for name, stored in (("without rows", vectors), ("with rows", dict.fromkeys(vectors, rows[0]))):
        with EmbeddingStore.open(tmp_path / name, PLAIN, read_only=True) as store:
            wanted = [oracle(stored, query, 5, "cosine") for query in queries]
            assert store.search_many(queries, 5) == wanted
            assert [store.search(query, 5) for query in queries[:3]] == wanted[:3]
        assert max(held) == 3
        assert len(held) > 60
        held.clear()


def test_records_without_rows_are_searched_too(tmp_path: Path, rng: np.random.Generator) -> None:
    """Written with search off, some replaced with search on, then given rows by maintain."""
    rows = hostile(rng, 8)
    vectors = dict(zip(names(len(rows), rng), rows, strict=True))
    queries = [rows[0], rows[1]]
    old = list(vectors)[::2]
    with EmbeddingStore.open(tmp_path, NO_CODES) as store:
        store.put_many(old, [vectors[key] for key in old], "old.py")
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        new = [key for key in vectors if key not in old]
        store.put_many(new, [vectors[key] for key in new], "new.py")
        assert_exact(store, vectors, queries)
        for prefix, keys in (("old", old), ("new", new), ("", list(vectors)), ("x", [])):
            some = {key: vectors[key] for key in keys}
            wanted = oracle(some, rows[0], 9, "l2")
            assert store.search(rows[0], 9, metric="l2", document_prefix=prefix) == wanted
        assert store.search(rows[0], document_prefix="old.py!") == []
        store.maintain()
        with store._catalog.reading() as view:
            assert view.all_have_rows()
        assert_exact(store, vectors, queries)


def test_a_segment_of_the_first_release(tmp_path: Path, rng: np.random.Generator) -> None:
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        segment = as_first_release_wrote_it(store, tmp_path)
    # FORMAT.md: version 1 knows no rows, so nothing is appended to it
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        assert store._reader.version(1) == 1
        vectors = {key: store.get(key) for key in segment}
        width = next(row.size for row in vectors.values() if np.isfinite(row).all())
        new = gaussians(rng, 3, width)
        store.put_many(["x", "y", "z"], new)
        vectors |= dict(zip("xyz", new, strict=True))
        queries = [row for row in vectors.values() if np.isfinite(row).all()]
        assert len({query.size for query in queries}) > 1
        for query in queries:
            for metric in METRICS:
                wanted = oracle(vectors, query, 9, metric)
                assert store.search(query, 9, metric=metric) == wanted
        store.maintain()
        for query in queries:
            assert store.search(query, 9) == oracle(vectors, query, 9, "cosine")


def as_first_release_wrote_it(store: EmbeddingStore, folder: Path) -> list[str]:
    """Put the golden segment into an empty store; its keys."""
    data = bytearray((write_v1.FOLDER / "00001.seg").read_bytes())
    head = struct.pack("<4sHHI16s", b"TSEG", 1, 0, 1, store._folder.store_id)
    data[:SEGMENT_HEADER_BYTES] = head + crc32c(head).to_bytes(4, "little")
    assert check_segment_header(memoryview(data), 1, store._folder.store_id) == 1
    (folder / "segments" / "00001.seg").write_bytes(data)
    records = json.loads((write_v1.FOLDER / "00001.json").read_text())
    with store._catalog.writing() as view:
        view.set_all_have_rows(is_so=False)
        view.set_segment(1, SegmentState(len(data), 0))
        for record in records:
            address = Address(1, record["offset"])
            view.add(stored_key(record["key"]).fingerprint(), address)
    return [record["key"] for record in records]


# ---------------------------------------------------------------- documents


def test_documents_that_share_keys(tmp_path: Path, rng: np.random.Generator) -> None:
    """A key counts for each document that holds it now, whichever it was written for."""
    rows = dict(zip("abcdef", gaussians(rng, 6, 8), strict=True))

    def found(store: EmbeddingStore, prefix: str) -> str:
        return "".join(
            sorted(hit.key for hit in store.search(rows["a"], 9, document_prefix=prefix))
        )

    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        store.update_document("x/1", [(key, rows[key]) for key in "abc"])
        store.update_document("x/2", [(key, rows[key]) for key in "cd"])
        store.update_document("y", [(key, rows[key]) for key in "bd"])
        store.put("e", rows["e"])
        assert [found(store, prefix) for prefix in ("x/1", "x/2", "x", "y", "", "z")] == [
            *("abc", "cd", "abcd", "bd", "abcd", "")
        ]
        store.update_document("x/1", [("a", rows["a"])])  # b stays in y, c in x/2
        assert [found(store, prefix) for prefix in ("x/1", "x/2", "x", "y", "")] == [
            *("a", "cd", "acd", "bd", "abcd")
        ]
        store.put("c", -rows["c"])  # a new vector, the same documents
        store.put("e", rows["e"], "x/3")
        assert [found(store, prefix) for prefix in ("x/2", "x", "y")] == ["cd", "acde", "bd"]
        store.update_document("x/2", [])
        assert [found(store, prefix) for prefix in ("x/2", "x", "y")] == ["", "ae", "bd"]
        store.maintain()
        assert [found(store, prefix) for prefix in ("x/2", "x", "y")] == ["", "ae", "bd"]


def test_a_shared_vector_that_is_not_finite_hides_nothing(tmp_path: Path) -> None:
    """It is current, and of a wanted document, but no row to be counted."""
    holes = np.array([1, np.nan], np.float32)
    with EmbeddingStore.open(tmp_path, PLAIN) as store:
        store.update_document("x", [("a", holes), ("b", holes[::-1].copy())])
        store.update_document("y", [("a", holes), ("c", np.ones(2, np.float32))])
        for k in (1, 2, 3):
            hits = store.search(np.ones(2, np.float32), k, document_prefix="")
            assert [hit.key for hit in hits] == ["c"]
