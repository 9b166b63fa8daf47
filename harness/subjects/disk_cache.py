"""diskcache: bytes in SQLite, kept by a library that people use as a persistent dictionary.

Settings: no eviction and no limit of size, so that it is a store; synchronous=FULL with its
write-ahead log, so that what is acknowledged is durable; values inline, all of them below the size
from which it would make a file of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.subject import Vectors

__all__ = ["DiskCacheSubject"]


class DiskCacheSubject:
    """One cache. One thread."""

    name = "diskcache"
    capabilities = frozenset({"durable", "shared"})

    def __init__(self, path: Path) -> None:
        import diskcache  # a rival's package is loaded only when it is measured

        path.mkdir(parents=True, exist_ok=True)
        self._cache = diskcache.Cache(
            str(path),
            eviction_policy="none",
            size_limit=2**40,
            cull_limit=0,
            sqlite_synchronous=2,  # FULL
        )
        self._path = path
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One transaction, synchronised when it returns."""
        rows = np.ascontiguousarray(vectors)
        with self._cache.transact():
            for key, row in zip(keys, rows, strict=True):
                self._cache.set(key, row.tobytes())

    def _get(self, key: str) -> Vectors:
        return np.frombuffer(self._cache[key], np.float32)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A stacked copy, read in one transaction."""
        with self._cache.transact():
            return np.stack([self._get(key) for key in keys])

    def stored_bytes(self) -> int:
        """Bytes of all files, after SQLite's log was folded in."""
        self._cache.close()  # the last connection folds it in; the next call opens another one
        return sum(path.stat().st_size for path in self._path.rglob("*") if path.is_file())

    def close(self) -> None:
        """Close the cache; idempotent."""
        self._cache.close()
