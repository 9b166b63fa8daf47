"""LanceDB's index kinds, its flat search and an int8 flat scan on the same rows, interleaved.

    python suites/bench/lance_indexes.py build FOLDER --rows 10000 --kinds ivf_rq,ivf_pq
    python suites/bench/lance_indexes.py query FOLDER --rows 10000

`build` prints wall and CPU seconds of each index build and its bytes on disk; `query` prints, for
each way to search, recall@10 after an exact rerank, p50, p99 and CPU of a query. The rows are
synthetic: unit mixtures of recorded titan-embed-text-v1 vectors (folder `--recorded`), cut to
`--dimension`, in documents of 22 chunks, with noise. What reports/decisions/0007 rests on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]
os.environ.setdefault("LANCEDB_LOG", "error")

from fixtures.titan.recorded import load_recorded, usual_folder  # noqa: E402

Rows = NDArray[np.float32]
Search = Callable[[Rows], list[int]]
SEED = 20_261_124
TOP = 10
QUERIES = 200
CHUNKS = 22  # of one document
SCRATCH = 4_096
FEW = {"sample_rate": 64, "max_iterations": 10}  # training on fewer rows, suffix "few"
ALL_KINDS = (
    *("none", "none32", "ivf_flat", "ivf_flat32", "ivf_sq", "ivf_sq32", "ivf_rq", "ivf_rq32"),
    *("ivf_rqfew", "ivf_rqfew32", "ivf_pq32", "hnsw_sq", "hnsw_sq32"),
)


class Cost(NamedTuple):
    """Times of single queries, in milliseconds, and recall@10 over all of them."""

    wall: list[float]
    cpu: float
    recall: float


def mixtures(count: int, dimension: int, recorded: Path, seed: int) -> Rows:
    """Unit rows: each document mixes three recorded vectors, each chunk one more and noise."""
    rng = np.random.default_rng(seed)
    sets = {found.name: found for found in load_recorded(recorded)}
    source = sets["v1_chunks"].vectors[:, :dimension].astype(np.float32)
    source = source / np.linalg.norm(source, axis=1, keepdims=True)
    documents = rng.integers(0, len(source), (count // CHUNKS + 1, 3))
    weights = rng.dirichlet((1, 1, 1), len(documents)).astype(np.float32)
    out = np.empty((count, dimension), np.float32)
    for first in range(0, count, SCRATCH):
        places = np.arange(first, min(count, first + SCRATCH))
        which = places // CHUNKS
        rows = np.einsum("nk,nkd->nd", weights[which], source[documents[which]])
        rows += 0.6 * source[rng.integers(0, len(source), len(places))]
        rows += rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(
            0.45 / np.sqrt(dimension)
        )
        out[places] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return out


def truth(rows: Rows, queries: Rows) -> NDArray[np.int64]:
    """The exact nearest by cosine: float32 picks 60, float64 decides."""
    found = np.empty((len(queries), TOP), np.int64)
    for place, query in enumerate(queries):
        near = np.argpartition(-(rows @ query), min(60, len(rows) - 1))[:60]
        exact = rows[near].astype(np.float64) @ query.astype(np.float64)
        found[place] = near[np.lexsort((near, -exact))][:TOP]
    return found


def reranked(rows: Rows, query: Rows, near: NDArray[np.int64]) -> list[int]:
    """The nearest of some candidates, exact; part of every way's clock."""
    exact = rows[near].astype(np.float64) @ query.astype(np.float64)
    return [int(place) for place in near[np.lexsort((near, -exact))][:TOP]]


class Loop:
    """One event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Its result, in the calling thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def index_of(kind: str, rows: int, dimension: int) -> Any:
    """LanceDB's description of an index of this kind; sqrt(rows) partitions."""
    kind = kind.removesuffix("32")
    from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

    parts = 1 if rows < 5_000 else int(rows**0.5)
    common = {"distance_type": "cosine", "num_partitions": parts}
    if kind == "ivf_pq":
        return IvfPq(**common, num_sub_vectors=dimension // 8)
    if kind == "hnsw_sq":
        return HnswSq(distance_type="cosine", num_partitions=1)
    if kind.startswith("ivf_rq"):
        return IvfRq(**common, num_bits=4, **(FEW if kind.endswith("few") else {}))
    return {"ivf_flat": IvfFlat, "ivf_sq": IvfSq}[kind](**common)


def batches(rows: Rows, *, half: bool) -> Iterator[Any]:
    """The rows as Arrow: key, and vector of float16 or float32."""
    import pyarrow as pa

    for first in range(0, len(rows), SCRATCH):
        part = rows[first : first + SCRATCH].astype(np.float16 if half else np.float32)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), rows.shape[1])
        keys = pa.array([f"{place:032x}" for place in range(first, first + len(part))])
        yield pa.RecordBatch.from_arrays([keys, vectors], names=["key", "vector"])


def cpu_s() -> float:
    """CPU seconds of the process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def build(folder: Path, name: str, rows: Rows) -> dict[str, Any]:
    """Make one table with one index; times and bytes."""
    import lancedb
    import pyarrow as pa

    db = await lancedb.connect_async(str(folder))
    half = not name.endswith("32")
    first = next(batches(rows[:1], half=half))
    reader = pa.RecordBatchReader.from_batches(first.schema, batches(rows, half=half))
    options = {"new_table_data_storage_version": "2.2", "new_table_enable_stable_row_ids": "true"}
    start, cpu = time.perf_counter(), cpu_s()
    table = await db.create_table(name, reader, mode="overwrite", storage_options=options)
    facts: dict[str, Any] = {
        "kind": name,
        "rows": len(rows),
        "write_s": time.perf_counter() - start,
    }
    start, cpu = time.perf_counter(), cpu_s()
    if not name.startswith("none"):
        await table.create_index("vector", config=index_of(name, *rows.shape), name="near")
        stats = await table.index_stats("near")
        assert stats.num_indexed_rows == len(rows), stats
    facts |= {"build_s": time.perf_counter() - start, "build_cpu_s": cpu_s() - cpu}
    at = folder / f"{name}.lance"
    facts["data_mb"] = tree_bytes(at / "data") / 1e6
    facts["index_mb"] = tree_bytes(at / "_indices") / 1e6
    return facts


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ways_of(kind: str, rows: int) -> list[dict[str, Any]]:
    """The settings each kind is asked with: partitions searched, candidates, refine."""
    kind = kind.removesuffix("32")
    if kind == "none":
        return [{"flat": True, "count": TOP}]
    if kind == "hnsw_sq":
        return [{"ef": 100, "count": 20}, {"ef": 200, "count": 60}]
    probes = [1] if rows < 5_000 else [20, 40, 100]
    counts = {"ivf_flat": [TOP], "ivf_pq": [20, 60], "ivf_sq": [20]}.get(kind, [20, 60])
    found = [{"nprobes": p, "count": c} for p in probes for c in counts]
    if kind == "ivf_pq":
        found += [{"nprobes": p, "count": TOP, "refine": 5} for p in probes]
    return found


async def candidates(table: Any, query: Rows, way: dict[str, Any]) -> NDArray[np.int64]:
    """Row numbers that LanceDB names, nearest first."""
    ask = table.query().nearest_to(query).distance_type("cosine").limit(way["count"])
    if way.get("flat"):
        ask = ask.bypass_vector_index()
    if "nprobes" in way:
        ask = ask.nprobes(way["nprobes"])
    if "ef" in way:
        ask = ask.ef(way["ef"])
    if "refine" in way:
        ask = ask.refine_factor(way["refine"])
    found = await ask.select(["key", "_distance"]).to_arrow()
    return np.array([int(key, 16) for key in found["key"].to_pylist()], np.int64)


def int8_scan(rows: Rows) -> Search:
    """The store's own flat scan in miniature: int8 codes, 60 candidates, exact rerank."""
    import numkong

    scale = 127 / np.abs(rows).max(axis=1, keepdims=True)
    codes = np.rint(rows * scale).astype(np.int8)
    steps = (1 / scale[:, 0]).astype(np.float32)

    def search(query: Rows) -> list[int]:
        code = np.rint(query * (127 / np.abs(query).max())).astype(np.int8)
        scores = np.asarray(numkong.cdist(code[None], codes, metric="dot"))[0] * steps
        near = np.argpartition(-scores, min(60, len(rows) - 1))[:60]
        return reranked(rows, query, near)

    return search


def measured(search: Search, queries: Rows, wanted: NDArray[np.int64]) -> Cost:
    """Ask every query once."""
    wall, hits, cpu = [], 0, cpu_s()
    answers = []
    for query in queries:
        start = time.perf_counter()
        answers.append(search(query))
        wall.append((time.perf_counter() - start) * 1e3)
    spent = (cpu_s() - cpu) * 1e3 / len(queries)
    for found, right in zip(answers, wanted, strict=True):
        hits += len(set(found) & set(right.tolist()))
    return Cost(wall, spent, hits / wanted.size)


async def opened(folder: Path, kinds: list[str], dimension: int) -> dict[str, Any]:
    """The tables that `build` made, their indices read into the cache."""
    import lancedb

    session = lancedb.Session(index_cache_size_bytes=4 << 30, metadata_cache_size_bytes=64 << 20)
    db = await lancedb.connect_async(str(folder), session=session)
    there = [kind for kind in kinds if (folder / f"{kind}.lance").exists()]
    tables = {kind: await db.open_table(kind) for kind in there}
    for kind, table in tables.items():
        if not kind.startswith("none"):
            await table.prewarm_index("near")
            probe = np.ones(dimension, np.float32)
            plan = await table.query().nearest_to(probe).distance_type("cosine").explain_plan()
            assert "ANN" in plan, plan
    return tables


def lance_search(loop: Loop, table: Any, rows: Rows, way: dict[str, Any]) -> Search:
    """One way to ask one table, with the exact rerank."""

    def search(query: Rows) -> list[int]:
        return reranked(rows, query, loop.run(candidates(table, query, way)))

    return search


def compare(folder: Path, rows: Rows, queries: Rows, kinds: list[str], rounds: int) -> None:
    """Print a line for each way; rounds are interleaved, so that noise meets all alike."""
    loop = Loop()
    wanted = truth(rows, queries)
    ways: dict[str, Search] = {"int8 flat scan, 60": int8_scan(rows)}
    for kind, table in loop.run(opened(folder, kinds, rows.shape[1])).items():
        for way in ways_of(kind, len(rows)):
            label = f"{kind} " + " ".join(f"{k}={v}" for k, v in way.items())
            ways[label] = lance_search(loop, table, rows, way)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, search in ways.items():
            few = 20 if name.startswith("none") and len(rows) > 50_000 else len(queries)
            cost = measured(search, queries[:few], wanted[:few])
            if turn:  # the first round warms caches
                costs[name].append(cost)
    for name, found in costs.items():
        wall = np.concatenate([cost.wall for cost in found])
        line = {
            "way": name,
            "recall": round(float(np.mean([cost.recall for cost in found])), 4),
            "p50_ms": round(float(np.percentile(wall, 50)), 2),
            "p99_ms": round(float(np.percentile(wall, 99)), 2),
            "cpu_ms": round(float(np.median([cost.cpu for cost in found])), 2),
            "samples": len(wall),
        }
        print(json.dumps({"rows": len(rows)} | line), flush=True)  # noqa: T201


def main() -> None:
    """Read the command line and run one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("build", "query"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--kinds", default=",".join(ALL_KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    given = parser.parse_args()
    everything = mixtures(given.rows + QUERIES, given.dimension, given.recorded, SEED)
    order = np.random.default_rng(SEED).permutation(len(everything))
    rows, queries = everything[order[:-QUERIES]], everything[order[-QUERIES:]]
    del everything
    folder = given.folder.absolute() / str(given.rows)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = given.kinds.split(",")
    if given.part == "query":
        compare(folder, rows, queries, kinds, given.rounds)
        return
    for kind in kinds:
        print(json.dumps(asyncio.run(build(folder, kind, rows))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
