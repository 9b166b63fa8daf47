"""A store as its pool sees it: a generation, a folder, and rows."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.pool.shared import SLAB_BYTES_MIN, SharedPool

IDENTITY = b"i" * 32
NONCE = b"n" * 16
BYTES_MAX = 8 * SLAB_BYTES_MIN
Row = NDArray[np.float32]


def row_of(value: float, dimension: int = 1024) -> Row:
    return np.full(dimension, value, np.float32)


def new_counter() -> memoryview[int]:
    return memoryview(mmap.mmap(-1, 8)).cast("Q")


class Store:
    """A generation and a folder; makes pools of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "POOL"
        self.generation = new_counter()
        self.generation[0] = 1
        self.pools: list[SharedPool] = []

    def pool(self, identity: bytes = IDENTITY, bytes_max: int = BYTES_MAX) -> SharedPool:
        pool = SharedPool(self.path, identity, self.generation, bytes_max)
        self.pools.append(pool)
        return pool

    def change(self, pool: SharedPool, *keys: str) -> bool:
        """What a writer does after its commit."""
        self.generation[0] += 1
        return pool.invalidate(keys)

    def close(self) -> None:
        for pool in self.pools:
            pool.close()
