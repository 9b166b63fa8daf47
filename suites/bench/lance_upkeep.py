"""What keeping a Lance table costs: first sync, later syncs, reading all rows.

    python suites/bench/lance_upkeep.py FOLDER --rows 100000

Prints wall and CPU seconds of each step and the bytes on disk after it. Rows as in
`lance_indexes.py` (synthetic mixtures of recorded vectors). Part of reports/decisions/0007.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from fixtures.titan.recorded import usual_folder  # noqa: E402
from suites.bench.lance_indexes import (  # noqa: E402
    QUERIES,
    SEED,
    Cost,
    Rows,
    cpu_s,
    int8_scan,
    measured,
    mixtures,
    reranked,
    tree_bytes,
    truth,
)
from titanstore.search.lance import LanceRow, LanceSettings, LanceTable  # noqa: E402

CHANGED = (22, 2_000)


def rows_of(vectors: Rows, places: Any, version: int) -> Iterator[LanceRow]:
    """Rows with keys like digests."""
    for place in places:
        key = f"{int(place):032x}"
        yield LanceRow(key, vectors[place], version, f"doc {int(place) // 22}", "synthetic")


def ask(table: LanceTable, vectors: Rows, queries: Rows, rounds: int) -> None:
    """Print recall and times of the table as it is used, and of the int8 scan between."""
    wanted = truth(vectors, queries)
    count = table.candidates_of(10)

    def by_table(query: Rows) -> list[int]:
        found = table.candidates(query, count)
        return reranked(vectors, query, np.array([int(key, 16) for key, _ in found], np.int64))

    ways = {f"{table.content.index}, {count} candidates": by_table, "int8": int8_scan(vectors)}
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(measured(way, queries, wanted))
    for name, found in costs.items():
        wall = np.concatenate([cost.wall for cost in found[1:]])
        line = {
            "way": name,
            "recall": round(float(np.mean([cost.recall for cost in found])), 4),
            "p50_ms": round(float(np.percentile(wall, 50)), 2),
            "p99_ms": round(float(np.percentile(wall, 99)), 2),
            "cpu_ms": round(float(np.median([cost.cpu for cost in found[1:]])), 2),
            "samples": len(wall),
        }
        print(json.dumps({"rows": len(vectors)} | line), flush=True)  # noqa: T201


def main() -> None:
    """Build one table and take it through its life."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--values", default="float32")
    parser.add_argument("--index", default="ivf_rq")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    given = parser.parse_args()
    everything = mixtures(given.rows + QUERIES, 1024, given.recorded, SEED)
    order = np.random.default_rng(SEED).permutation(len(everything))
    vectors, queries = everything[order[:-QUERIES]], everything[order[-QUERIES:]]
    rng = np.random.default_rng(SEED)
    settings = LanceSettings(vectors_min=256, history_s=0, values=given.values, index=given.index)
    table = LanceTable.create(given.folder, 1024, settings)
    version = 1

    def timed(step: str, work: Callable[[], object]) -> None:
        start, cpu = time.perf_counter(), cpu_s()
        work()
        line = {
            "rows": given.rows,
            "step": step,
            "wall_s": round(time.perf_counter() - start, 4),
            "cpu_s": round(cpu_s() - cpu, 4),
            "disk_mb": round(tree_bytes(given.folder) / 1e6, 1),
        }
        print(json.dumps(line), flush=True)  # noqa: T201

    def changed(count: int) -> None:
        nonlocal version
        version += 1
        places = rng.integers(0, given.rows, count)
        table.sync(rows_of(-vectors, places, version), [], version)

    timed("first sync, all rows", lambda: table.sync(rows_of(vectors, range(given.rows), 1), [], 1))
    ask(table, vectors, queries, given.rounds)
    for count in CHANGED:
        for _ in range(2):
            timed(f"sync of {count} rows", partial(changed, count))
    timed("sync of 2000 deletes", lambda: table.sync([], [f"{n:032x}" for n in range(2_000)], 99))
    timed("all rows read and verified", lambda: sum(1 for _ in table.rows()))
    table.close()


if __name__ == "__main__":
    main()
