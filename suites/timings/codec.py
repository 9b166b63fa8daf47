"""Frames: made one by one, read one by one and as a batch, for each way Titan served vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from . import prepared

repeat = prepared.REPEAT  # asv reads it here
_ENCODED = 8
_DECODED = 32


@cache
def _frames(serving: str, encode: Callable[..., bytes]) -> list[bytes]:
    return [encode(row, with_codes=True) for row in prepared.vectors_of(serving)[:_DECODED]]


class Encode:
    """`encode_frame` of 8 vectors, as a store with search does it: chosen and verified."""

    core = True
    version = prepared.version(1)
    params = prepared.KINDS
    param_names = ("serving",)

    def setup(self, serving: str) -> None:
        self.encode, self.decode = prepared.needed("codec.choose", "encode_frame", "decode_frame")
        self.vectors = prepared.vectors_of(serving)[:_ENCODED]
        self.rows = list(self.vectors)
        self.answer: list[bytes] = []

    def time_encode_8(self, serving: str) -> None:
        encode = self.encode
        self.answer = [encode(row, with_codes=True) for row in self.rows]

    def teardown(self, serving: str) -> None:
        if self.answer:
            decoded = np.stack([self.decode(frame) for frame in self.answer])
            prepared.check_bits(decoded, self.vectors)


class EncodeWithoutSearch(Encode):
    """The same where no codes are kept beside the frames (setting `search` off)."""

    core = False

    def time_encode_8(self, serving: str) -> None:
        encode = self.encode
        self.answer = [encode(row) for row in self.rows]


class _Frames:
    params = prepared.KINDS
    param_names = ("serving",)

    def setup(self, serving: str) -> None:
        encode, self.decode, self.decode_many = prepared.needed(
            "codec.choose", "encode_frame", "decode_frame", "decode_frames"
        )
        self.vectors = prepared.vectors_of(serving)[:_DECODED]
        self.frames = _frames(serving, encode)
        self.out = np.full_like(self.vectors, np.nan)
        self.has_run = False

    def teardown(self, serving: str) -> None:
        if self.has_run:
            prepared.check_bits(self.out, self.vectors)


class Decode(_Frames):
    """`decode_frame` of 32 frames, one after the other."""

    core = True
    version = prepared.version(1)

    def time_decode_32(self, serving: str) -> None:
        decode = self.decode
        for frame, row in zip(self.frames, self.out, strict=True):
            decode(frame, row)
        self.has_run = True


class DecodeMany(_Frames):
    """`decode_frames` of 32 frames in one call."""

    core = True
    version = prepared.version(1)

    def time_decode_32_at_once(self, serving: str) -> None:
        self.decode_many(self.frames, self.out)
        self.has_run = True
