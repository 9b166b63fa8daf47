"""One file changed, again and again: milliseconds of an update, block by block.

    python suites/bench/update_trend.py --rows 2200 --updates 2500
    python suites/bench/update_trend.py --rows 100000 --updates 2000

Rows are synthetic mixtures of recorded vectors, on bfloat16's grid as titan-embed-text-v1 serves
them; documents have 25 of them, of which an update changes 1 to 3. Durable, maintenance after every
64th update and in its time, search by scan. Where the last block is no slower than the first, there
is no upward trend.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from fixtures.titan.recorded import usual_folder  # noqa: E402
from suites.bench.lance_indexes import mixtures  # noqa: E402
from titanstore import EmbeddingStore, StoreConfig  # noqa: E402

SEED = 5
CHUNKS = 25
BLOCKS = 5
MAINTAIN_EVERY = 64


def main() -> None:
    """Fill a store and save its documents in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--updates", type=int, default=2_000)
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    given = parser.parse_args()
    rows = mixtures(given.rows, 1024, given.recorded, SEED)
    rows = (rows.view(np.uint32) & 0xFFFF0000).view(np.float32)
    rng = np.random.default_rng(SEED)
    documents = [
        [(f"{row:032x}", rows[row]) for row in range(first, first + CHUNKS)]
        for first in range(0, given.rows // CHUNKS * CHUNKS, CHUNKS)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddingStore.open(folder, StoreConfig(search_index="flat")) as store,
    ):
        for number, content in enumerate(documents):
            store.update_document(f"document {number}", content)
        store.maintain()
        gc.disable()
        taken = []
        for turn in range(1, given.updates + 1):
            number = int(rng.integers(len(documents)))
            content = list(documents[number])
            count = int(rng.integers(1, 4))
            for place in range(first := int(rng.integers(CHUNKS - count + 1)), first + count):
                key = hashlib.blake2b(f"{turn} {place}".encode(), digest_size=16).hexdigest()
                content[place] = (key, rows[int(rng.integers(len(rows)))])
            documents[number] = content
            begin = time.perf_counter()
            store.update_document(f"document {number}", content)
            if turn % MAINTAIN_EVERY == 0:
                store.maintain()
            taken.append((time.perf_counter() - begin) * 1e3)
        lost = sum(
            not np.array_equal(store.get(key).view(np.uint32), row.view(np.uint32))
            for content in documents
            for key, row in content
        )
    print(f"{given.rows} rows, {given.updates} updates, {lost} keys lost")  # noqa: T201
    print(f"all: p50 {np.median(taken):.2f}, p99 {np.quantile(taken, 0.99):.2f} ms")  # noqa: T201
    for place, block in enumerate(np.array_split(taken, BLOCKS)):
        print(  # noqa: T201
            f"block {place}: p50 {np.median(block):.2f}, p99 {np.quantile(block, 0.99):.2f} ms"
        )


if __name__ == "__main__":
    main()
