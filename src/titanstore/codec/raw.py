"""Codecs that look at no number: the float32 bytes as they are, and through zstd."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from titanstore.codec.base import Vector
from titanstore.codec.frame import Buffer
from titanstore.codec.zstd import ZstdCoder
from titanstore.errors import CorruptionError, ErrorKind


class RawCodec:
    """Little-endian float32, untouched: always works, and can be read in place."""

    codec_id = 0
    name = "raw"

    def encode(self, vector: Vector) -> bytes:
        """4 * dimension bytes."""
        return vector.astype("<f4", copy=False).tobytes()

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Copy each body as 32-bit words, so that no NaN is ever quietened."""
        for row, body in zip(out.view(np.uint32), bodies, strict=True):
            if len(body) != row.nbytes:
                raise CorruptionError(
                    f"raw body of {len(body)} bytes for {row.size} values", ErrorKind.BAD_FRAME
                )
            row[:] = np.frombuffer(body, dtype="<u4")


class PlainZstdCodec:
    """zstd level 19 over the float32 bytes: what the plan asked for, kept to show its ratio."""

    codec_id = 1
    name = "zstd"

    def __init__(self) -> None:
        self._coder = ZstdCoder(level=19, window_log=16, settings={})

    def encode(self, vector: Vector) -> bytes | None:
        """The float32 bytes through zstd."""
        return self._coder.compress(vector.astype("<f4", copy=False).tobytes())

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Decompress each body into exactly one row."""
        for row, body in zip(out.view(np.uint32), bodies, strict=True):
            row[:] = np.frombuffer(self._coder.decompress(body, row.nbytes), dtype="<u4")
