"""Sliced bodies whose rests and depths are coded by a table that ships with the code.

Codes, rests and depths are those of `sliced`; so is what the codes are for. What differs is what
lies beside them: a shorter head, and blocks that need no Huffman table of their own, which spares
25 bytes a vector and the time to read a table of 128 symbols before each vector.

FORMAT.md, "Sliced tabled bodies"; reports/decisions/0020-shipped-tables.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import SLICED_TABLED_CODEC_ID, Buffer
from titanstore.codec.grid import FORMS, RECIPES, Recipe, apply_recipe
from titanstore.codec.planes import SignificantBits
from titanstore.codec.sliced import (
    Cut,
    SlicedCodec,
    add_low_bits,
    cut,
    low_bits,
    low_bytes,
    powers_of_two,
)
from titanstore.codec.tabled import blocks_of_rows, decode_by_form, scalars_of
from titanstore.codec.tables import RESTS
from titanstore.errors import CorruptionError, ErrorKind

_HEAD = struct.Struct("<Bb")  # form, exponent j of the step
_SCALAR = struct.Struct("<f")
_STEP_MIN, _STEP_MAX = -125, 121  # outside, values of half a step would not be normal numbers
_KEPT = 256  # words: 1 kB
_HALF = np.float32(0.5)
_IS_SMALL = bytes(code in (0, 255) for code in range(256))  # code 0 or -1


def cut_by_half(grid: Vector) -> Cut:
    """As `cut`, but rests are what tells the upper half of each word from that of code + 1/2."""
    words = grid.view(np.uint32)
    codes, step, _, depths = cut(grid)
    middles = codes + _HALF  # of steps of 1: a step changes no mantissa
    rests = (words ^ middles.view(np.uint32)) >> 16
    rests &= 0x7F
    return Cut(codes, step, rests.astype(np.uint8).tobytes(), depths)


class SlicedTabledCodec(SlicedCodec):
    """As `SlicedCodec`, its rests and depths by a table."""

    codec_id = SLICED_TABLED_CODEC_ID
    name = "sliced-tabled"

    def encode_grid(
        self,
        grid: Vector,
        bits: SignificantBits,
        recipe: Recipe = Recipe.NONE,
        scalar: np.float32 | float = 1.0,
    ) -> bytes | None:
        """As `SlicedCodec.encode_grid`; None also where zstd would not compress."""
        if not np.isfinite(grid).all():
            return None
        codes, step, rests, depths = cut_by_half(grid)
        if not _STEP_MIN <= step <= _STEP_MAX:
            return None
        block = RESTS.compress(rests + depths)
        if block is None:
            return None
        head = _HEAD.pack(FORMS[bits, recipe], step)
        if recipe is not Recipe.NONE:
            head += _SCALAR.pack(scalar)
        return codes.tobytes() + head + low_bits(grid, bits) + block

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        if len(bodies) == 1:
            _decode_one(bodies[0], out[0])
            return
        head = out.shape[1] + _HEAD.size
        if min(map(len, bodies), default=head) < head:
            raise CorruptionError("sliced body without its head", ErrorKind.BAD_FRAME)
        for rows in blocks_of_rows(len(bodies)):
            forms = [body[out.shape[1]] for body in bodies[rows]]
            decode_by_form(bodies[rows], forms, _decode_alike, out[rows])


@lru_cache(maxsize=64)
def _layout(form: int, dimension: int) -> tuple[int, int]:
    """Where the low bits and the block of bodies of a form begin."""
    width = form & 3
    if width == 3 or form >> 2 > 2:
        raise CorruptionError(f"sliced body of form {form}", ErrorKind.BAD_FRAME)
    low = dimension + _HEAD.size + (_SCALAR.size if form >> 2 else 0)
    return low, low + low_bytes(width, dimension)


@lru_cache(maxsize=16)
def _middles(step: int) -> NDArray[np.uint32]:
    """For each code, as an unsigned byte, the word of code + 1/2 steps; 1 kB."""
    codes = np.arange(256, dtype=np.uint8).view(np.int8)
    return ((codes + _HALF) * np.float32(2.0**step)).view(np.uint32)


def _check_length(shortest: int, block: int) -> None:
    if shortest <= block:
        raise CorruptionError("sliced body without its block", ErrorKind.BAD_FRAME)


def _decode_one(body: Buffer, out: Vector) -> None:
    """`_decode_alike` for one vector, since that is the latency that users feel."""
    dimension = out.size
    if len(body) < dimension + _HEAD.size:
        raise CorruptionError("sliced body without its head", ErrorKind.BAD_FRAME)
    form, step = _HEAD.unpack_from(body, dimension)
    low, start = _layout(form, dimension)
    _check_length(len(body), start)
    if not _STEP_MIN <= step <= _STEP_MAX:
        raise CorruptionError(f"sliced body of step {step}", ErrorKind.BAD_FRAME)
    words = out.view(np.uint32)
    # few calls: each takes a microsecond or two, whatever it does
    _middles(step).take(np.frombuffer(body, np.uint8, dimension), out=words, mode="clip")
    small = np.frombuffer(bytes(body[:dimension]).translate(_IS_SMALL), np.bool_).nonzero()[0]
    plain = RESTS.decompress(body[start:], dimension + small.size)
    uppers = out.view(np.uint8)[2::4]
    uppers ^= np.frombuffer(plain, np.uint8, dimension)
    if small.size:
        _lower(small, np.frombuffer(plain, np.uint8, -1, dimension), words)
    if form & 3:
        add_low_bits(form, body[low:start], words)
    if form >> 2:
        (scalar,) = _SCALAR.unpack_from(body, dimension + _HEAD.size)
        apply_recipe(RECIPES[form >> 2], out, np.float32(scalar), out=out)


def _decode_alike(bodies: Sequence[Buffer], form: int, out: Vector) -> None:
    """Decode bodies of one form into `out` of shape (len(bodies), dimension)."""
    count, dimension = out.shape
    low, start = _layout(form, dimension)
    _check_length(min(map(len, bodies)), start)
    heads = b"".join([body[dimension + 1 : dimension + 2] for body in bodies])
    steps = np.frombuffer(heads, np.int8).astype(np.int32)[:, None]
    if steps.min() < _STEP_MIN or steps.max() > _STEP_MAX:
        raise CorruptionError("sliced body of a step that none has", ErrorKind.BAD_FRAME)
    joined = b"".join([body[:dimension] for body in bodies])
    codes = np.frombuffer(joined, np.int8)
    small = (codes.view(np.uint8) + 1 < 2).nonzero()[0]  # code 0 or -1
    rows = np.arange(count + 1) * dimension
    sizes = np.diff(small.searchsorted(rows)) + dimension
    plain = RESTS.decompress_many([body[start:] for body in bodies], sizes.astype(np.uint64))
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]]
    rests = b"".join([plain[first : first + dimension] for first in starts])
    depths = b"".join([plain[at + dimension : end] for at, end in zip(starts, ends, strict=True)])
    np.add(codes.reshape(out.shape), _HALF, out=out)
    out *= powers_of_two(steps)
    words = out.view(np.uint32)
    _add_rests(np.frombuffer(rests, np.uint8).reshape(out.shape), words)
    if small.size:
        _lower(small, np.frombuffer(depths, np.uint8), words.reshape(-1))
    if form & 3 == 2:
        add_low_bits(form, b"".join([body[low:start] for body in bodies]), words)
    elif form & 3:
        for body, row in zip(bodies, words, strict=True):
            add_low_bits(form, body[low:start], row)
    if form >> 2:
        scalars = scalars_of(bodies, dimension + _HEAD.size)
        apply_recipe(RECIPES[form >> 2], out, scalars, out=out)


def _add_rests(rests: NDArray[np.uint8], words: NDArray[np.uint32]) -> None:
    wide = rests.astype(np.uint32)
    wide <<= 16
    words ^= wide


def _lower(places: NDArray[np.intp], depths: NDArray[np.uint8], words: NDArray[np.uint32]) -> None:
    """Lower the exponents of the values below one step, which so far are those of half a step."""
    count = places.size
    # numpy keeps freed arrays below 1 kB, some of every size in bytes that there was: arrays as
    # long as `places` would add up to half a megabyte, so these are parts of longer ones
    by, lowered = np.empty((2, -(-count // _KEPT) * _KEPT), np.uint32)[:, :count]
    np.left_shift(depths, 23, out=by, dtype=np.uint32)
    words.take(places, out=lowered, mode="clip")
    lowered -= by
    words.put(places, lowered, mode="clip")
