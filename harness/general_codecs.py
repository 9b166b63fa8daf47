"""What general codecs reach on the same vectors: the comparison row of `compression.saving`.

Frames of one vector each are what a store with random access must compare with; whole-set figures
are extras and say so in their name. Every compressed frame is decompressed again on the spot and
compared as 32-bit words: a rival that loses a bit has no size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from harness.errors import HarnessError

__all__ = ["CodecSize", "LossyError", "measure_codecs"]

Vectors = NDArray[np.float32]

ZSTD_LEVEL = 19  # 22 takes no byte less from a vector: its window is larger, not its search
BLOSC_LEVEL = 9  # its highest
PCODEC_LEVEL = 12  # its highest


class LossyError(HarnessError, ValueError):
    """A rival gave back other bits than it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSize:
    """Bytes per vector of one codec; None, with the reason, where it could not be measured."""

    name: str
    whole_set: bool
    version: str
    bytes_per_vector: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codec:
    name: str
    package: str
    compress: Callable[[Vectors], bytes]
    decompress: Callable[[bytes], bytes]


def measure_codecs(vectors: Vectors, *, whole_set: bool = True) -> tuple[CodecSize, ...]:
    """Sizes of every rival on float32 vectors of shape (rows, dimension), lossless or refused.

    Parameters
    ----------
    vectors
        Each row is compressed for itself, with all that its frame needs to be read alone.
    whole_set
        Also compress all rows as one block, under names that end in "whole set".

    Returns
    -------
    tuple of CodecSize
        A codec whose package is not installed has no size but a reason.

    Raises
    ------
    ValueError
        Not a non-empty float32 matrix.
    LossyError
        A codec did not give the same 32-bit words back.

    Notes
    -----
    Settings are each project's strongest documented level; one thread. Some ms a vector in all.
    """
    if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"{vectors.dtype} of shape {vectors.shape}; float32 (rows, dimension)")
    vectors = np.ascontiguousarray(vectors)
    sizes: list[CodecSize] = []
    for make in (_zstd, _blosc2, _pcodec):
        try:
            codecs = tuple(make())
        except ImportError as error:
            missing = error.name or str(error)
            sizes.append(
                CodecSize(
                    name=missing,
                    whole_set=False,
                    version="",
                    bytes_per_vector=None,
                    reason=f"package {missing} is not installed",
                )
            )
            continue
        sizes += [_measure(codec, vectors, whole=False) for codec in codecs]
        if whole_set:
            sizes += [_measure(codec, vectors, whole=True) for codec in codecs]
    return tuple(sizes)


def _measure(codec: _Codec, vectors: Vectors, *, whole: bool) -> CodecSize:
    blocks = [vectors.ravel()] if whole else list(vectors)
    total = 0
    for block in blocks:
        frame = codec.compress(block)
        if codec.decompress(frame) != block.tobytes():
            raise LossyError(f"{codec.name} changed bits of {block.size} values")
        total += len(frame)
    return CodecSize(
        name=f"{codec.name}, whole set" if whole else codec.name,
        whole_set=whole,
        version=f"{codec.package} {metadata.version(codec.package)}",
        bytes_per_vector=total / len(vectors),
    )


def _zstd() -> Iterable[_Codec]:
    """Plain, and over byte planes: all first bytes, then all second ones, and so on."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    decompressor = zstandard.ZstdDecompressor()

    def shuffled(block: Vectors) -> bytes:
        return compressor.compress(block.view(np.uint8).reshape(-1, 4).T.tobytes())

    def unshuffled(frame: bytes) -> bytes:
        planes = np.frombuffer(decompressor.decompress(frame), np.uint8)
        return planes.reshape(4, -1).T.tobytes()

    yield _Codec(
        name=f"zstd-{ZSTD_LEVEL}",
        package="zstandard",
        compress=lambda block: compressor.compress(block.tobytes()),
        decompress=decompressor.decompress,
    )
    yield _Codec(
        name=f"byte shuffle + zstd-{ZSTD_LEVEL}",
        package="zstandard",
        compress=shuffled,
        decompress=unshuffled,
    )


def _blosc2() -> Iterable[_Codec]:
    import blosc2  # a rival's package is loaded only when it is measured

    def codec(name: str, transform: Any) -> _Codec:
        settings = {
            "codec": blosc2.Codec.ZSTD,
            "clevel": BLOSC_LEVEL,
            "typesize": 4,
            "filters": [transform],
            "filters_meta": [0],
            "nthreads": 1,
        }
        return _Codec(
            name=name,
            package="blosc2",
            compress=lambda block: bytes(blosc2.compress2(block, **settings)),
            decompress=lambda frame: bytes(blosc2.decompress2(frame, nthreads=1)),
        )

    yield codec("blosc2 shuffle + zstd", blosc2.Filter.SHUFFLE)
    yield codec("blosc2 bitshuffle + zstd", blosc2.Filter.BITSHUFFLE)


def _pcodec() -> Iterable[_Codec]:
    from pcodec import ChunkConfig, standalone  # as for blosc2

    config = ChunkConfig(compression_level=PCODEC_LEVEL)
    yield _Codec(
        name=f"pcodec-{PCODEC_LEVEL}",
        package="pcodec",
        compress=lambda block: bytes(standalone.simple_compress(block, config)),
        decompress=lambda frame: bytes(standalone.simple_decompress(frame).tobytes()),
    )
