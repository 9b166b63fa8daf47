"""What a small store of three versions holds, and holds as of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from titanstore import EmbeddingStore, StoreConfig

FAST = StoreConfig(
    durability="power_cut_may_lose_store", search=False, publish=False, prefetch=False
)
KEYS = ("a0", "a1", "b0", "b1")
Wanted = dict[int, dict[str, bytes]]


def row(value: float) -> np.ndarray:
    return np.full(8, value, np.float32)


def holdings(folder: Path) -> Wanted:
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        views = {version.number: store.at(version) for version in store.versions()}
        return {
            number: {key: view.get(key).tobytes() for key in KEYS if key in view}
            for number, view in views.items()
        }
