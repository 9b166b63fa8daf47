"""What publishing costs a read: a get as it was before, one that publishes, one that does not.

    python suites/bench/publishing.py [ROUNDS]

Hot: batches of 1 000 gets of 128 resident rows with key strings made afresh, as the benchmark of
hot gets has them. Cold: 20 gets with both tiers off. Time of the processor, not of the clock. Each
round takes all of them, in another order; prints the median over the rounds of each time, and of
its ratio to "before" in its round with the middle half of the ratios.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from statistics import median, quantiles
from time import thread_time_ns
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from titanstore import EmbeddingStore, StoreConfig

_ROWS, _DIMENSION = 128, 1_024
_TIMES = {"hot": 1_000, "cold": 20}
_HOT: dict[str, Any] = {"hot_bytes_max": 2_000_000, "memory_bytes_max": 3_000_000}
_COLD: dict[str, Any] = {"hot_bytes_max": 0, "warm_bytes_max": 0}


class Before(EmbeddingStore):
    """`get` as it was: the same code, without publishing, and with a call to look a row up."""

    _hot_lookup: Callable[[str], Any]

    def get(self, key: str) -> Any:
        """As EmbeddingStore.get."""
        try:
            row = self._hot_lookup(key)
        except TypeError:
            row = None
        if row is not None and self._cells[0] == self._seen:
            self._hot_touch(key)
            self._counters.hot_hits += 1
            return row
        self._ready()
        return self._cascade.load(key)


def _batch(store: EmbeddingStore, keys: list[str]) -> float:
    """Seconds a get."""
    started = thread_time_ns()
    get = store.get
    for key in keys:
        get(key)
    return (thread_time_ns() - started) / len(keys) * 1e-9


def _stores(path: str, settings: dict[str, Any]) -> dict[str, EmbeddingStore]:
    def opened(kind: type[EmbeddingStore], *, publish: bool) -> EmbeddingStore:
        config = StoreConfig(publish=publish, prefetch=False, **settings)
        store = kind.open(path, config, read_only=True)
        if isinstance(store, Before):
            store._hot_lookup = store._cascade.hot.lookup
        return store

    return {
        "before": opened(Before, publish=False),
        "publish": opened(EmbeddingStore, publish=True),
        "publish off": opened(EmbeddingStore, publish=False),
    }


def measure(path: str, rounds: int, show: Callable[[str], None]) -> None:
    """Both kinds of read, each in so many rounds."""
    digests = [f"{number:032x}" for number in range(_ROWS)]
    rng = np.random.default_rng(23)
    for what, settings in (("hot", _HOT), ("cold", _COLD)):
        stores = _stores(path, settings)
        orders = list(permutations(stores))
        taken: dict[str, list[float]] = {name: [] for name in stores}
        for store in stores.values():
            _batch(store, digests)
        for turn in range(rounds):
            places = rng.integers(0, _ROWS, _TIMES[what]).tolist()
            for name in orders[turn % len(orders)]:
                fresh = [bytes.fromhex(digests[place]).hex() for place in places]
                taken[name].append(_batch(stores[name], fresh))
        for name, times in taken.items():
            ratios = [one / base for one, base in zip(times, taken["before"], strict=True)]
            low, middle, high = quantiles(ratios, n=4)
            show(
                f"{what:<5}{name:<12}{1e9 * median(times):10.0f} ns a get"
                f"{middle:8.3f} of before [{low:.3f}, {high:.3f}]"
            )
        for store in stores.values():
            store.close()


def main(rounds: int) -> None:
    rows = np.random.default_rng(29).standard_normal((_ROWS, _DIMENSION), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        with EmbeddingStore.open(folder) as store:
            store.put_many([f"{number:032x}" for number in range(_ROWS)], rows)
        measure(folder, rounds, print)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
