"""Values in LMDB: float32 as it is, or through zstd.

Settings as LMDB's documentation recommends: synchronous commits, short read transactions (py-lmdb
keeps one ready), the map large enough never to be resized, no read-ahead (values lie at random).
zstd at its strongest documented level, which costs time when writing only, and with its checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
import numpy as np
import zstandard

from harness.subject import Vectors

__all__ = ["LmdbSubject"]

_MAP_BYTES = 2**33
_LEVEL = 19


class LmdbSubject:
    """One environment (key, value). One thread.

    Parameters
    ----------
    form
        "raw", "zstd", or "shuffle-zstd": all first bytes, then all second ones, and so on.
    """

    capabilities = frozenset({"durable", "shared"})

    def __init__(self, path: Path, form: str = "raw") -> None:
        self.name = f"lmdb-{form}"
        self._path = path
        path.mkdir(parents=True, exist_ok=True)
        self._environment = lmdb.open(str(path), map_size=_MAP_BYTES, readahead=False)
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        decompressor = zstandard.ZstdDecompressor()
        forms: dict[str, tuple[Callable[[Vectors], bytes], Callable[[bytes], Vectors]]] = {
            "raw": (lambda row: row.tobytes(), lambda value: np.frombuffer(value, np.float32)),
            "zstd": (
                lambda row: compressor.compress(row.tobytes()),
                lambda value: np.frombuffer(decompressor.decompress(value), np.float32),
            ),
            "shuffle-zstd": (
                lambda row: compressor.compress(row.view(np.uint8).reshape(-1, 4).T.tobytes()),
                lambda value: _joined(decompressor.decompress(value)),
            ),
        }
        self._encode, self._decode = forms[form]
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One transaction, synchronised when it returns."""
        rows = np.ascontiguousarray(vectors)
        with self._environment.begin(write=True) as transaction:
            for key, row in zip(keys, rows, strict=True):
                transaction.put(key.encode(), self._encode(row))

    def _get(self, key: str) -> Vectors:
        with self._environment.begin() as reader:
            value = reader.get(key.encode())
        if value is None:
            raise KeyError(key)
        return self._decode(value)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A stacked copy, read in one transaction."""
        with self._environment.begin() as reader:
            found = {key: reader.get(key.encode()) for key in keys}
        values = {key: value for key, value in found.items() if value is not None}
        return np.stack([self._decode(values[key]) for key in keys])

    def stored_bytes(self) -> int:
        """Pages that are in use."""
        info = self._environment.info()
        return int((info["last_pgno"] + 1) * self._environment.stat()["psize"])

    def close(self) -> None:
        """Close the environment; idempotent."""
        self._environment.close()


def _joined(planes: bytes) -> Vectors:
    words = np.frombuffer(planes, np.uint8).reshape(4, -1).T
    return np.ascontiguousarray(words).view(np.float32).ravel()
