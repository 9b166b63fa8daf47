"""A zarr array with a chunk a vector, so that one can be read alone, and keys in a file of lines.

Codec: pcodec at its strongest level, which stores Titan's vectors in fewer bytes than Blosc with
zstd does, shuffled by bytes or by bits. zarr leaves the disk to the kernel: what it wrote is
fsync'd here before a put returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.subject import Vectors
from harness.subjects.disk import KeyLines, sync_files

__all__ = ["ZarrSubject"]

_ROWS_MAX = 2**24  # room in the shape; chunks that were never written take none
_LEVEL = 12


class ZarrSubject:
    """One array of one dimension. One thread."""

    name = "zarr-pcodec"
    capabilities = frozenset({"durable"})

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path / "rows.zarr"
        self._keys = KeyLines(path / "keys")
        self._next = 1 + max((row for (row,) in self._keys.places.values()), default=-1)
        self._array: Any = None
        if self._next:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that others may not know the codec
                import zarr  # a rival's package is loaded only when it is measured
                from zarr.codecs import numcodecs as _  # noqa: F401  # registers the codec

                self._array = zarr.open_array(self._path, mode="r+")
        self.get: Callable[[str], Vectors] = self._get

    def _create(self, dimension: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import zarr
            from zarr.codecs.numcodecs import PCodec

            self._array = zarr.create_array(
                self._path,
                shape=(_ROWS_MAX, dimension),
                chunks=(1, dimension),
                dtype="float32",
                serializer=PCodec(level=_LEVEL),
                compressors=None,
                # else a row of zeros is left out, and -0.0 equals 0.0
                config={"write_empty_chunks": True},
                overwrite=True,
            )
        sync_files([self._path / "zarr.json"])

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Chunks, fsync of each, keys, fsync."""
        if len(keys) != len(vectors):
            raise ValueError(f"{len(keys)} keys for {len(vectors)} vectors")
        if self._array is None:
            self._create(vectors.shape[1])
        rows = range(self._next, self._next + len(keys))
        self._array[rows.start : rows.stop] = vectors
        chunks = self._path / "c"
        # each file and its folder, the folder of those, and the one in which that was made
        sync_files([*(chunks / str(row) / "0" for row in rows), chunks])
        self._keys.append(keys, [(row,) for row in rows])
        self._next = rows.stop

    def _get(self, key: str) -> Vectors:
        found: Vectors = self._array[self._keys.places[key][0]]
        return found

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """One selection: zarr reads its chunks concurrently."""
        rows = [self._keys.places[key][0] for key in keys]
        found: Vectors = self._array.oindex[np.array(rows, dtype=np.int64)]
        return found

    def stored_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._path.parent.rglob("*") if path.is_file())

    def close(self) -> None:
        """Close the keys; idempotent."""
        self._keys.close()
