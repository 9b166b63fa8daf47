"""What a migration of many vectors takes in memory and time; goes on where it was stopped.

    python suites/bench/migration_memory.py 1000000 --dimension 256 [--folder DIR] [--parquet]

The source is synthetic vectors on Titan's own grids, in files of 50 000 rows, every second one as
text-v2 served them in 2024 (b / n), the others as text-v1 does (bfloat16): a folder of .npy, or
of Parquet with a key a row. None is in memory as a whole.
Prints JSON: vectors, seconds of this process (its processor time too, which a pause does not
lengthen), the highest anonymous memory at any batch, that at the first one, and the bytes on the
disk. Stopped or killed, the same command goes on with the same --folder; without one, nothing is
kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from fixtures.vectors import Vectors, bfloat16, bfloat16_divided
from harness.probes.memory import page_types
from titanstore import EmbeddingStore, StoreConfig
from titanstore.migration import migrate, undo_migration

_PART = 50_000  # rows of a file


def parts(count: int, dimension: int) -> Iterator[tuple[int, Vectors]]:
    """Number of the first row and the rows of each file, the same each time."""
    for first in range(0, count, _PART):
        rng = np.random.default_rng(first)
        make = bfloat16 if first // _PART % 2 else bfloat16_divided
        yield first, make(rng, min(_PART, count - first), dimension)


def write_source(folder: Path, count: int, dimension: int, *, as_parquet: bool) -> None:
    """All files, under another name until they are whole."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(exist_ok=True)
    for first, rows in parts(count, dimension):
        if not as_parquet:
            np.save(partial / f"{first:09}.npy", rows)
            continue
        import pyarrow as pa
        import pyarrow.parquet as pq

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dimension)
        keys = pa.array([f"key {first + row}" for row in range(len(rows))])
        pq.write_table(pa.table({"key": keys, "vector": vectors}), partial / f"{first:09}.parquet")
    partial.rename(folder)


def undone(store: Path, config: StoreConfig) -> dict[str, float]:
    """What taking it back took; its memory is looked at every 50 ms, by a thread."""
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            seen.append(page_types()["anonymous"])

    looking = threading.Thread(target=look)
    begin, begin_cpu = time.monotonic(), time.process_time()
    looking.start()
    try:
        undo_migration(store, config=config)
    finally:
        is_over.set()
        looking.join()
    seen.append(page_types()["anonymous"])  # of one that was over within 50 ms
    return {
        "undo_seconds": round(time.monotonic() - begin, 1),
        "undo_processor_seconds": round(time.process_time() - begin_cpu, 1),
        "undo_anonymous_bytes_max": max(seen),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("vectors", type=int)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--plain", action="store_true", help="store raw frames: faster")
    parser.add_argument("--parquet", action="store_true", help="read Parquet files")
    parser.add_argument("--undo", action="store_true", help="undo it when it is done")
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(exist_ok=True)
        measure(given, given.folder)
        return
    with tempfile.TemporaryDirectory(prefix="titanstore-migration-") as folder:
        measure(given, Path(folder))


def measure(given: argparse.Namespace, folder: Path) -> None:
    """Move what lies in a folder, after it was made where it is missing, and print."""
    kind = "parquet" if given.parquet else "npy"
    source = folder / f"{given.vectors}-{given.dimension}-{kind}"
    if not source.exists():
        write_source(source, given.vectors, given.dimension, as_parquet=given.parquet)
    seen: list[int] = []

    def look(done: int, total: int | None) -> None:
        seen.append(page_types()["anonymous"])
        if done % (50 * 1024) < 1024:
            print(done, seen[-1], round(time.process_time(), 1), flush=True)  # noqa: T201

    config = StoreConfig(durability="power_cut_may_lose_store")
    if given.plain:
        config = replace(config, compression=False, search=False)
    begin, begin_cpu = time.monotonic(), time.process_time()
    done = migrate(source, folder / "store", config=config, progress=look)
    told = {
        "vectors": done.verified,
        "dimension": given.dimension,
        "added": done.added,
        "seconds": round(time.monotonic() - begin, 1),
        "processor_seconds": round(time.process_time() - begin_cpu, 1),
        "anonymous_bytes_at_first": seen[0],
        "anonymous_bytes_max": max(seen),
    }
    with EmbeddingStore.open(folder / "store", config, read_only=True) as store:
        told["disk_bytes"] = store.stats().disk_bytes
        told["raw_bytes"] = 4 * given.dimension * len(store)
    if given.undo:
        told |= undone(folder / "store", config)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
