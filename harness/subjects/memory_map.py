"""One float32 matrix in a file, mapped by numpy, and the row of each key in a file of lines.

It is what people write who want no database. Rows are appended and fsync'd, then their keys. A get
copies the row: a view would be read from the disk only when it is used, and the file would be kept
open by whoever holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.subject import Vectors
from harness.subjects.disk import KeyLines, sync_files

__all__ = ["MemoryMapSubject"]

_DIMENSION = "dimension"


class MemoryMapSubject:
    """A matrix of one dimension. One thread."""

    name = "numpy-memmap"
    capabilities = frozenset({"durable"})

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path / "rows.f32"
        self._keys = KeyLines(path / "keys")
        is_new = not self._path.exists()
        self._file = self._path.open("a+b", buffering=0)
        if is_new:
            sync_files([self._path])
        # a batch that a crash cut off leaves rows that no key leads to; a piece of a row is cut off
        self._width = self._keys.places.get(_DIMENSION, (0,))[0]
        if self._width:
            size = self._path.stat().st_size
            self._file.truncate(size - size % (4 * self._width))
        self._mapped: Vectors = np.empty((0, self._width), np.float32)
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Rows, fsync, keys, fsync."""
        if not self._width:
            self._width = vectors.shape[1]
            self._file.truncate(0)
            self._keys.append([_DIMENSION], [(self._width,)])
        first = self._path.stat().st_size // (4 * self._width)
        self._file.write(np.ascontiguousarray(vectors).tobytes())
        os.fsync(self._file.fileno())
        self._keys.append(keys, [(first + place,) for place in range(len(keys))])

    def _rows(self) -> Vectors:
        self._mapped = np.memmap(self._path, np.float32, mode="r").reshape(-1, self._width)
        self._mapped = self._mapped.view(np.ndarray)
        return self._mapped

    def _get(self, key: str) -> Vectors:
        (row,) = self._keys.places[key]
        mapped = self._mapped
        if row >= len(mapped):
            mapped = self._rows()
        found: Vectors = mapped[row].copy()
        return found

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A gathered copy."""
        rows = [self._keys.places[key][0] for key in keys]
        mapped = self._mapped if max(rows, default=0) < len(self._mapped) else self._rows()
        return mapped[rows]

    def stored_bytes(self) -> int:
        """Bytes of both files."""
        return sum(path.stat().st_size for path in self._path.parent.iterdir())

    def close(self) -> None:
        """Close both files; idempotent."""
        self._mapped = np.empty((0, self._width), np.float32)
        self._file.close()
        self._keys.close()
