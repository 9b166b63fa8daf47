"""Where the time of a search goes: microseconds of each part, in the store itself.

    python suites/bench/search_parts.py --rows 2200
    python suites/bench/search_parts.py --rows 10000 --batch 64

Rows are synthetic mixtures of recorded vectors, queries too. Parts are timed where they are called,
so that they find the caches as a search leaves them; the clocks themselves add some 2 % in all.
Result cache off. Part of reports/decisions/0016.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from fixtures.titan.recorded import usual_folder  # noqa: E402
from suites.bench.lance_indexes import mixtures  # noqa: E402
from titanstore import EmbeddingStore, StoreConfig  # noqa: E402
from titanstore.search import distance, engine, flat  # noqa: E402
from titanstore.segments.reader import SegmentReader  # noqa: E402

SEED = 5
QUERIES = 320
PARTS: tuple[tuple[Any, str], ...] = (
    (engine, "quantise"),
    (engine, "look"),
    (flat, "score_rows"),
    (SegmentReader, "record"),
    (flat, "decode_frames"),
    (flat, "distances"),
    (distance, "exact_sums"),
    (flat, "_Room"),
    (engine.SearchEngine, "_not_current"),
)


def timed(owner: Any, name: str, spent: Counter[str], calls: Counter[str]) -> None:
    """Replace a function by one that notes how long it took."""
    inner = getattr(owner, name)
    clock = time.perf_counter

    def outer(*given: Any, **named: Any) -> Any:
        begin = clock()
        try:
            return inner(*given, **named)
        finally:
            spent[name] += clock() - begin  # type: ignore[assignment]  # seconds, not a count
            calls[name] += 1

    setattr(owner, name, outer)


def main() -> None:
    """Build a store and search it, first as it is, then with clocks in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1, help="queries a call")
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    given = parser.parse_args()
    everything = mixtures(given.rows + QUERIES, 1024, given.recorded, SEED)
    rows, queries = everything[:-QUERIES], everything[-QUERIES:]
    with tempfile.TemporaryDirectory() as folder:
        config = StoreConfig(result_cache_entries=0, search_index="flat")
        with EmbeddingStore.open(folder, config) as store:
            for first in range(0, len(rows), 500):
                keys = [f"key {n}" for n in range(first, min(first + 500, len(rows)))]
                store.put_many(keys, rows[first : first + 500])

        def turn(store: EmbeddingStore) -> float:
            begin = time.perf_counter()
            for first in range(0, QUERIES, given.batch):
                some = queries[first : first + given.batch]
                if given.batch == 1:
                    store.search(some[0])
                else:
                    store.search_many(some)
            return (time.perf_counter() - begin) / QUERIES

        with EmbeddingStore.open(folder, config, read_only=True) as store:
            turn(store)
            gc.disable()
            plain = min(turn(store) for _ in range(3))
            spent: Counter[str] = Counter()
            calls: Counter[str] = Counter()
            for owner, name in PARTS:
                timed(owner, name, spent, calls)
            watched = turn(store)
    print(f"{given.rows} rows, {given.batch} a call: {plain * 1e6:.0f} us a query")  # noqa: T201
    print(f"with clocks {watched * 1e6:.0f}, of which")  # noqa: T201
    for name, seconds in spent.most_common():
        each = calls[name] / QUERIES
        print(f"  {name:14} {seconds / QUERIES * 1e6:5.0f} us in {each:.1f} calls")  # noqa: T201


if __name__ == "__main__":
    main()
