"""Stores with a Bloom filter, and another process that reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from titanstore import EmbeddingStore, StoreConfig

STORE_ID = b"0123456789abcdef"
ON = StoreConfig(bloom=True, durability="power_cut_may_lose_store")
OFF = StoreConfig(bloom=False, durability="power_cut_may_lose_store")
VECTOR = np.ones(4, np.float32)


def fingerprints(count: int, seed: int) -> list[bytes]:
    return [
        row.tobytes() for row in np.random.default_rng(seed).integers(0, 256, (count, 4), np.uint8)
    ]


def has_all(store: EmbeddingStore, keys: list[str]) -> bool:
    return all(key in store for key in keys)


_READER = """
import sys
from titanstore import EmbeddingStore, StoreConfig
store = EmbeddingStore.open(sys.argv[1], StoreConfig(bloom=True), read_only=True)
assert store._bloom is not None
print("open", flush=True)
for line in sys.stdin:
    print(all(key in store for key in line.split()), flush=True)
"""


class Reader:
    """Another process that maps the filter and says whether it sees keys."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"

    def sees(self, *keys: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*keys, file=self.process.stdin, flush=True)
        return self.process.stdout.readline() == "True\n"

    def close(self) -> None:
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0
