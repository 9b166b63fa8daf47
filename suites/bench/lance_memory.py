"""What LanceDB takes in memory and time under its caches, threads and allocator settings.

    python suites/bench/lance_memory.py FOLDER --table ivf_rq32 --rounds 2

FOLDER is one that `lance_indexes.py build` made, with the number of rows: FOLDER/100000. Every
configuration runs in processes of its own, rounds interleaved. Printed: anonymous memory (MB,
`Pss_Anon` of smaps_rollup) over that of a process which has only numpy, after import, open, 1, 100
and all queries; bytes that the session's caches say they hold; what a query reads by system calls,
and how many files of the table are mapped; threads; p50, p99 and CPU of a query. What
reports/decisions/0008 rests on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
ONE_THREAD = {"LANCE_CPU_THREADS": "1", "LANCE_IO_THREADS": "1", "TOKIO_WORKER_THREADS": "1"}
ARENAS = {"MALLOC_ARENA_MAX": "2"}
SYSTEM_POOL = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
# name: environment, and the session's caches in MiB (index, metadata); None: LanceDB's defaults
CONFIGURATIONS: dict[str, tuple[dict[str, str], tuple[int, int] | None]] = {
    "defaults": ({}, None),
    "256/16 MiB": ({}, (256, 16)),
    "8/4 MiB, less than the index": ({}, (8, 4)),
    "0/0": ({}, (0, 0)),
    "256/16, arenas 2": (ARENAS, (256, 16)),
    "256/16, one thread": (ONE_THREAD, (256, 16)),
    "256/16, Arrow's system pool": (SYSTEM_POOL, (256, 16)),
    "256/16, all three": (ARENAS | ONE_THREAD | SYSTEM_POOL, (256, 16)),
}


def anonymous_mb() -> float:
    """Anonymous memory of this process, in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no Pss_Anon in smaps_rollup")


def read_mb() -> float:
    """What this process has read by system calls so far, in MB; mapped reads are not in it."""
    return int(Path("/proc/self/io").read_text().split()[1]) / 1e6


def child(folder: str, name: str, caches: list[int] | None, count: int) -> None:
    """Open the table, ask `count` queries, print a line of JSON."""
    queries = np.random.default_rng(5).standard_normal((count, 1024)).astype(np.float32)
    base = anonymous_mb()
    found: dict[str, Any] = {}
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    import lancedb

    found["import"] = anonymous_mb() - base
    session = None
    if caches is not None:
        session = lancedb.Session(
            index_cache_size_bytes=caches[0] * MIB, metadata_cache_size_bytes=caches[1] * MIB
        )
    db = run(lancedb.connect_async(folder, session=session))
    table = run(db.open_table(name))
    found["open"] = anonymous_mb() - base
    indexed = not name.startswith("none")

    async def ask(query: Any) -> Any:
        near = table.query().nearest_to(query).distance_type("cosine").limit(20)
        if indexed:
            near = near.nprobes(100)
        return await near.select(["key", "_distance"]).to_arrow()

    times, used, read = [], 0.0, 0.0
    for place, query in enumerate(queries):
        if place == 100:
            before = resource.getrusage(resource.RUSAGE_SELF)
            used = before.ru_utime + before.ru_stime
            read = read_mb()
        start = time.perf_counter()
        run(ask(query))
        times.append((time.perf_counter() - start) * 1e3)
        if place in (0, 99):
            found[f"after {place + 1}"] = anonymous_mb() - base
    after = resource.getrusage(resource.RUSAGE_SELF)
    found["after all"] = anonymous_mb() - base
    found["caches"] = session.size_bytes / 1e6 if session is not None else None
    found["read_mb_a_query"] = round((read_mb() - read) / (count - 100), 3)
    found["mapped_files"] = Path("/proc/self/maps").read_text().count(folder)
    found["threads"] = len(list(Path("/proc/self/task").iterdir()))
    found["p50_ms"] = float(np.percentile(times[100:], 50))
    found["p99_ms"] = float(np.percentile(times[100:], 99))
    found["cpu_ms"] = (after.ru_utime + after.ru_stime - used) * 1e3 / (count - 100)
    print(json.dumps(found), flush=True)  # noqa: T201
    os._exit(0)  # nothing of LanceDB's threads to wait for


def main() -> None:
    """Run every configuration, interleaved, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", default="ivf_rq32")
    parser.add_argument("--only", default="", help="configurations whose name holds this")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--queries", type=int, default=600)
    given = parser.parse_args()
    folder = str(given.folder.absolute())
    chosen = {name: how for name, how in CONFIGURATIONS.items() if given.only in name}
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for _ in range(given.rounds):
        for name, (environment, caches) in chosen.items():
            call = f"from lance_memory import child; child({folder!r}, {given.table!r}, "
            done = subprocess.run(
                [sys.executable, "-c", f"{call}{caches and list(caches)}, {given.queries})"],
                env=os.environ | {"LANCEDB_LOG": "error"} | environment,
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
            )
            lines[name].append(json.loads(done.stdout))
    for name, found in lines.items():
        medians = {
            field: None
            if found[0][field] is None
            else round(statistics.median(f[field] for f in found), 3)
            for field in found[0]
        }
        print(json.dumps({"table": given.table, "configuration": name} | medians))  # noqa: T201


if __name__ == "__main__":
    main()
