"""Sliced bodies whose rests and depths are coded by a table that ships with the code.

Codes, rests and depths are those of `sliced`; so is what the codes are for. What differs is what
lies beside them: a shorter head, and blocks that need no Huffman table of their own, which spares
25 bytes a vector and the time to read a table of 128 symbols before each vector.

FORMAT.md, "Sliced tabled bodies"; reports/decisions/0020-shipped-tables.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import SLICED_TABLED_CODEC_ID, Buffer
from titanstore.codec.grid import RECIPES, WIDTHS, Recipe, apply_recipe
from titanstore.codec.sliced import SlicedCodec, add_low_bits, cut, low_bits, low_bytes
from titanstore.codec.tables import RESTS
from titanstore.errors import CorruptionError, ErrorKind

_HEAD = struct.Struct("<Bb")  # form, exponent j of the step
_SCALAR = struct.Struct("<f")
_STEP_MIN, _STEP_MAX = -125, 121  # outside, values of half a step would not be normal numbers
_KEPT = 256  # words: 1 kB
_BLOCK_ROWS = 16  # decoded at a time: at 32 the scratch leaves the second-level cache


def _code_words() -> NDArray[np.uint32]:
    """For each code as an unsigned byte the word of that many steps of 1; of half a one for 0."""
    magnitudes = np.arange(128, dtype=np.float32)
    magnitudes[0] = 0.5
    words = magnitudes.view(np.uint32)
    return np.concatenate([words, words[::-1] | np.uint32(1 << 31)])


_CODE_WORDS = _code_words()


class _Head(NamedTuple):
    form: int
    step: int
    scalar: float
    low: int  # where the low bits begin
    block: int  # where the block begins


class SlicedTabledCodec(SlicedCodec):
    """As `SlicedCodec`, its rests and depths by a table."""

    codec_id = SLICED_TABLED_CODEC_ID
    name = "sliced-tabled"

    def encode_grid(
        self,
        grid: Vector,
        bits: int,
        recipe: Recipe = Recipe.NONE,
        scalar: np.float32 | float = 1.0,
    ) -> bytes | None:
        """As `SlicedCodec.encode_grid`; None also where zstd would not compress."""
        if not np.isfinite(grid).all():
            return None
        codes, step, rests, depths = cut(grid)
        if not _STEP_MIN <= step <= _STEP_MAX:
            return None
        block = RESTS.compress(rests + depths)
        if block is None:
            return None
        head = _HEAD.pack(WIDTHS.index(bits) | RECIPES.index(recipe) << 2, step)
        if recipe is not Recipe.NONE:
            head += _SCALAR.pack(scalar)
        return codes.tobytes() + head + low_bits(grid, bits) + block

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        if len(bodies) == 1:
            _decode_one(bodies[0], out[0])
            return
        for first in range(0, len(bodies), _BLOCK_ROWS):
            _decode_block(bodies[first : first + _BLOCK_ROWS], out[first : first + _BLOCK_ROWS])


def _parse(body: Buffer, dimension: int) -> _Head:
    low = dimension + _HEAD.size
    if len(body) < low:
        raise CorruptionError("sliced body without its head", ErrorKind.BAD_FRAME)
    form, step = _HEAD.unpack_from(body, dimension)
    width = form & 3
    if width == 3 or form >> 2 > 2 or not _STEP_MIN <= step <= _STEP_MAX:
        raise CorruptionError(f"sliced body of form {form}, step {step}", ErrorKind.BAD_FRAME)
    scalar = 1.0
    if form >> 2:
        if len(body) < low + _SCALAR.size:
            raise CorruptionError("sliced body without its scalar", ErrorKind.BAD_FRAME)
        (scalar,) = _SCALAR.unpack_from(body, low)
        low += _SCALAR.size
    block = low + low_bytes(width, dimension)
    if len(body) <= block:
        raise CorruptionError("sliced body without its block", ErrorKind.BAD_FRAME)
    return _Head(form, step, scalar, low, block)


def _decode_one(body: Buffer, out: Vector) -> None:
    """`_decode_block` for one vector, since that is the latency that users feel."""
    dimension = out.size
    form, step, scalar, low, start = _parse(body, dimension)
    codes = np.frombuffer(body, np.uint8, dimension)
    words = out.view(np.uint32)
    # "clip" spares a check that no byte can fail
    _CODE_WORDS.take(codes, out=words, mode="clip")
    words += np.uint32((step << 23) % 2**32)
    small = (codes + 1 < 2).nonzero()[0]  # code 0 or -1
    plain = RESTS.decompress(body[start:], dimension + small.size)
    _add_rests(np.frombuffer(plain, np.uint8, dimension), words)
    if small.size:
        _lower(small, np.frombuffer(plain, np.uint8, -1, dimension), words)
    if form & 3:
        add_low_bits(form, body[low:start], words)
    if form >> 2:
        apply_recipe(RECIPES[form >> 2], out, np.float32(scalar), out=out)


def _decode_block(bodies: Sequence[Buffer], out: Vector) -> None:
    """Decode into `out` of shape (len(bodies), dimension)."""
    dimension = out.shape[1]
    heads = [_parse(body, dimension) for body in bodies]
    codes = np.frombuffer(b"".join([body[:dimension] for body in bodies]), np.uint8)
    codes = codes.reshape(out.shape)
    words = out.view(np.uint32)
    _CODE_WORDS.take(codes, out=words, mode="clip")
    steps = np.array([[head.step] for head in heads], np.int32)
    steps <<= 23
    words += steps.view(np.uint32)
    is_small = codes + 1 < 2
    sizes = np.count_nonzero(is_small, axis=1) + dimension
    blocks = [body[head.block :] for body, head in zip(bodies, heads, strict=True)]
    plain = RESTS.decompress_many(blocks, sizes.astype(np.uint64))
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]]
    rests = b"".join([plain[start : start + dimension] for start in starts])
    _add_rests(np.frombuffer(rests, np.uint8).reshape(out.shape), words)
    depths = [plain[start + dimension : end] for start, end in zip(starts, ends, strict=True)]
    small = is_small.reshape(-1).nonzero()[0]
    if small.size:
        _lower(small, np.frombuffer(b"".join(depths), np.uint8), words.reshape(-1))
    for row, head in enumerate(heads):
        if head.form & 3:
            add_low_bits(head.form, bodies[row][head.low : head.block], words[row])
    recipes = {head.form >> 2 for head in heads}
    if recipes != {0}:
        scalars = np.array([[head.scalar] for head in heads], np.float32)
        for recipe in recipes - {0}:
            # all rows at once where they agree, as the vectors of one model do
            rows = slice(None) if len(recipes) == 1 else [h.form >> 2 == recipe for h in heads]
            out[rows] = apply_recipe(RECIPES[recipe], out[rows], scalars[rows])


def _add_rests(rests: NDArray[np.uint8], words: NDArray[np.uint32]) -> None:
    wide = rests.astype(np.uint32)
    wide <<= 16
    words |= wide


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
