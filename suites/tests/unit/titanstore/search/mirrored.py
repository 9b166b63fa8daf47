"""A store whose search has a Lance table behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from titanstore import EmbeddingStore, StoreConfig
from titanstore.codec.base import Vector

COUNT, DIMENSION = 600, 32


def unit_vectors(count: int, seed: int = 7) -> Vector:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    found: Vector = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


VECTORS = unit_vectors(COUNT)
KEYS = [f"k{number:04d}" for number in range(COUNT)]


def config(index: str = "lance", **settings: object) -> StoreConfig:
    # all partitions are searched at this size, so that answers are comparable one by one
    return StoreConfig(search_index=index, result_cache_entries=0, **settings)  # type: ignore[arg-type]


def filled(path: Path) -> EmbeddingStore:
    store = EmbeddingStore.open(path, config())
    for first in range(0, COUNT, 100):
        keys = KEYS[first : first + 100]
        store.put_many(keys, VECTORS[first : first + 100], f"doc{first}")
    return store
