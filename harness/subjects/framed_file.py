"""A codec without a store of its own, blosc2 or pcodec, in the simplest container: a file.

Each vector is compressed for itself and appended; where it is stands in a file of lines that is
read whole at the start. Both files are fsync'd, the frames first. Settings of the codecs are their
strongest documented level; of blosc2's filters the one that does best on most Titan vectors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.subject import Vectors
from harness.subjects.disk import KeyLines, sync_files

__all__ = ["FramedFileSubject"]

_BLOSC_LEVEL = 9
_PCODEC_LEVEL = 12

_Codec = tuple[Callable[[Vectors], bytes], Callable[[bytes], Vectors]]


class FramedFileSubject:
    """Frames in one file, their places in another. One thread.

    Parameters
    ----------
    codec
        "blosc2" or "pcodec".
    """

    capabilities = frozenset({"durable"})

    def __init__(self, path: Path, codec: str) -> None:
        self.name = f"{codec}-file"
        self._encode, self._decode = _CODECS[codec]()
        path.mkdir(parents=True, exist_ok=True)
        self._frames = path / "frames"
        self._keys = KeyLines(path / "keys")
        is_new = not self._frames.exists()
        self._file = self._frames.open("a+b", buffering=0)
        if is_new:
            sync_files([self._frames])
        self._end = self._frames.stat().st_size
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Frames, fsync, places, fsync."""
        frames = [self._encode(row) for row in np.ascontiguousarray(vectors)]
        places = []
        for frame in frames:
            places.append((self._end, len(frame)))
            self._end += len(frame)
        self._file.write(b"".join(frames))
        os.fsync(self._file.fileno())
        self._keys.append(keys, places)

    def _get(self, key: str) -> Vectors:
        place, length = self._keys.places[key]
        return self._decode(os.pread(self._file.fileno(), length, place))

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A stacked copy."""
        return np.stack([self._get(key) for key in keys])

    def stored_bytes(self) -> int:
        """Bytes of both files."""
        return sum(path.stat().st_size for path in self._frames.parent.iterdir())

    def close(self) -> None:
        """Close both files; idempotent."""
        self._file.close()
        self._keys.close()


def _blosc2() -> _Codec:
    import blosc2  # a rival's package is loaded only when it is measured

    settings = {
        "codec": blosc2.Codec.ZSTD,
        "clevel": _BLOSC_LEVEL,
        "typesize": 4,
        "filters": [blosc2.Filter.BITSHUFFLE],
        "filters_meta": [0],
        "nthreads": 1,
    }

    def encode(row: Vectors) -> bytes:
        return bytes(blosc2.compress2(row, **settings))

    def decode(frame: bytes) -> Vectors:
        return np.frombuffer(blosc2.decompress2(frame, nthreads=1), np.float32)

    return encode, decode


def _pcodec() -> _Codec:
    from pcodec import ChunkConfig, standalone  # as for blosc2

    config = ChunkConfig(compression_level=_PCODEC_LEVEL)

    def encode(row: Vectors) -> bytes:
        return bytes(standalone.simple_compress(row, config))

    def decode(frame: bytes) -> Vectors:
        found: Vectors = standalone.simple_decompress(frame)
        return found

    return encode, decode


_CODECS: dict[str, Callable[[], _Codec]] = {"blosc2": _blosc2, "pcodec": _pcodec}
