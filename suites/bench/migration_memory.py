"""What a migration of many vectors takes in memory and time; goes on where it was stopped.

    python suites/bench/migration_memory.py 1000000 [--folder DIR] [--plain] [--parquet]

The source is one .npy or Parquet file of 64 dimensions, written in parts, never in memory as a
whole.
Prints JSON: vectors, seconds of this process, the highest anonymous memory seen at any batch, and
that at the first one. Stopped or killed, the same command goes on with the same folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.probes.memory import page_types
from titanstore import StoreConfig
from titanstore.migration import migrate

_DIMENSION, _PART = 64, 50_000


def write_source(path: Path, count: int) -> None:
    """Vectors on a bfloat16 grid, the same each time."""
    partial = path.with_suffix(".partial")
    matrix = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.float32, shape=(count, _DIMENSION)
    )
    for first in range(0, count, _PART):
        rng = np.random.default_rng(first)
        part = rng.standard_normal((min(_PART, count - first), _DIMENSION), np.float32)
        matrix[first : first + _PART] = (part.view(np.uint32) & 0xFFFF0000).view(np.float32)
    matrix.flush()
    partial.rename(path)


def write_parquet(path: Path, count: int) -> None:
    """The same vectors in row groups of 50 000; a key each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    partial = path.with_suffix(".partial")
    schema = pa.schema([("key", pa.string()), ("vector", pa.list_(pa.float32(), _DIMENSION))])
    with pq.ParquetWriter(partial, schema) as writer:
        for first in range(0, count, _PART):
            rng = np.random.default_rng(first)
            part = rng.standard_normal((min(_PART, count - first), _DIMENSION), np.float32)
            grid = (part.view(np.uint32) & 0xFFFF0000).view(np.float32)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(grid.ravel()), _DIMENSION)
            keys = pa.array([f"key {first + row}" for row in range(len(part))])
            writer.write_table(pa.table([keys, vectors], schema=schema))
    partial.rename(path)


def main() -> None:
    """Move and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("vectors", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--plain", action="store_true", help="store raw frames: faster")
    parser.add_argument("--parquet", action="store_true", help="read a Parquet file")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="titanstore-migration-"))
    folder.mkdir(exist_ok=True)
    source = folder / f"{given.vectors}.{'parquet' if given.parquet else 'npy'}"
    if not source.exists():
        (write_parquet if given.parquet else write_source)(source, given.vectors)
    seen: list[int] = []

    def look(done: int, total: int | None) -> None:
        seen.append(page_types()["anonymous"])
        if done % (100 * 1024) == 0:
            print(done, seen[-1], flush=True)  # noqa: T201

    config = StoreConfig(durability="power_cut_may_lose_store")
    if given.plain:
        config = replace(config, compression=False, search=False)
    begin = time.monotonic()
    done = migrate(source, folder / "store", config=config, progress=look)
    print(  # noqa: T201
        json.dumps(
            {
                "vectors": done.verified,
                "added": done.added,
                "seconds": round(time.monotonic() - begin, 1),
                "anonymous_bytes_at_first": seen[0],
                "anonymous_bytes_max": max(seen),
            }
        )
    )


if __name__ == "__main__":
    main()
