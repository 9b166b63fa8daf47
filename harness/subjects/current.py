"""The plan's "current" column: float32 arrays in a dictionary, least recently used first out.

It is what people write before they look for a store: nothing is compressed, nothing is on the
disk, and what leaves the cache is gone. Source: spec/original-plan.md, "SUCCESS METRICS".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.subject import Vectors

__all__ = ["CurrentSubject"]

_BYTES_MAX = 10_310_000  # the plan's own figure: "Current: 10.31 MB for 116 files"


class CurrentSubject:
    """An LRU of float32 arrays within a budget of bytes. One thread."""

    name = "current"
    capabilities: frozenset[str] = frozenset()

    def __init__(self, _path: Path) -> None:
        self._rows: OrderedDict[str, Vectors] = OrderedDict()
        self._documents: dict[str, list[str]] = {}
        self._bytes = 0
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Keep a copy of each vector; the oldest ones leave."""
        for key, vector in zip(keys, vectors, strict=True):
            old = self._rows.pop(key, None)
            self._bytes -= 0 if old is None else old.nbytes
            self._rows[key] = vector.copy()
            self._bytes += vector.nbytes
        while self._bytes > _BYTES_MAX:
            self._bytes -= self._rows.popitem(last=False)[1].nbytes

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vectors]]) -> None:
        """Store the chunks; those that the document had before and has no more go."""
        keys = [key for key, _ in chunks]
        for key in set(self._documents.get(document, ())) - set(keys):
            old = self._rows.pop(key, None)
            self._bytes -= 0 if old is None else old.nbytes
        self._documents[document] = keys
        for key, vector in chunks:
            if key not in self._rows:
                self.put_many([key], vector[None, :])

    def _get(self, key: str) -> Vectors:
        row = self._rows[key]
        self._rows.move_to_end(key)
        return row

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A stacked copy."""
        return np.stack([self._get(key) for key in keys])

    def stored_bytes(self) -> int:
        """Bytes of the arrays' values."""
        return self._bytes

    def close(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self._documents.clear()
        self._bytes = 0
