"""A vector cut in two: int8 codes that search scans, and the rest that makes them exact.

The codes are the top bits of the values in fixed point: with the vector's own step 2^j, chosen so
that the largest magnitude lies in [64, 128) steps, a value's code is n = floor(|value| / 2^j), or
its bitwise complement for a negative value, so that sign, exponent and leading mantissa bits can be
read off the code. What is left of the mantissa is cut out bit by bit and stored beside it: nothing
is kept twice, so that a plane of codes that NumKong's int8 kernels scan costs a vector only the
difference between 8 bits and their entropy (reports/decisions/0010-sliced-frames.md).

The body begins with the codes; the segment writer moves them into the plane file.
FORMAT.md, "Sliced bodies".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import SLICED_CODEC_ID, Buffer
from titanstore.codec.grid import FORMS, RECIPES, Recipe, apply_recipe, find_grid
from titanstore.codec.planes import EXPONENTS, SignificantBits
from titanstore.errors import CorruptionError, ErrorKind

Codes = NDArray[np.int8]
_Words = NDArray[np.uint32]
# form, exponent j of the step, scalar (1 where there is none), values below one step
_HEAD = struct.Struct("<BhfH")
_STEP_MIN, _STEP_MAX = -126, 121  # outside, values of one step would not be normal numbers
_EXPONENT_BIAS = 127
_TOP = _EXPONENT_BIAS - 1  # plus the step: the largest exponent of a value below one step
_NO_DEPTHS = np.empty(0, np.uint8)
_KEPT = 256  # words: 1 kB
_BLOCK_ROWS = 16  # decoded at a time: at 32 the scratch leaves the second-level cache
# by magnitude: the mask of what is left of the 7 mantissa bits in the upper half of a word
_REST_MASKS = np.array([(1 << (8 - max(1, n.bit_length()))) - 1 for n in range(128)], np.uint8)


class Slices(NamedTuple):
    """Codes of one vector, and what they are multiples of."""

    codes: Codes  # shape (dimension,)
    step: int  # j: value i lies in [codes[i], codes[i] + 1] * 2^j, unless j < -126


def slice_words(words: _Words) -> Slices:
    """Codes of a vector of finite float32 words, shape (dimension,). About 15 us.

    Every magnitude below one step, zero and subnormal values among them, has code 0 or -1.
    """
    exponents = (words >> 23).astype(np.uint8).astype(np.int16)
    largest = int(exponents.max())
    below = np.minimum(largest - exponents, 7)
    mantissas = words & 0x7FFFFF | 0x800000
    magnitudes = (mantissas >> (17 + below).astype(np.uint32)).astype(np.int8)
    magnitudes[exponents == 0] = 0
    signs = (words.view(np.int32) >> 31).astype(np.int8)
    return Slices(magnitudes ^ signs, largest - _EXPONENT_BIAS - 6)


class Cut(NamedTuple):
    """A vector in its parts, the low bits left out."""

    codes: Codes
    step: int
    rests: bytes  # what the codes lack of the upper half of each word, one byte a value
    depths: bytes  # of the values below one step: how far their exponent is below


def cut(grid: Vector) -> Cut:
    """Codes, rests and depths of a vector of finite values; those for the codecs' steps only."""
    words = grid.view(np.uint32)
    codes, step = slice_words(words)
    magnitudes = codes ^ (codes >> 7)
    rests = (words >> 16).astype(np.uint8) & _REST_MASKS.take(magnitudes)
    depths = words[magnitudes == 0]
    depths >>= 23
    depths &= 0xFF
    np.subtract(np.uint32((step + _TOP) % 2**32), depths, out=depths)
    # the lowest byte of each
    return Cut(codes, step, rests.tobytes(), depths.astype("<u4").tobytes()[::4])


class SlicedCodec:
    """Vectors of finite values; on a grid of 8 or 11 bits, alone or scaled, or of 24 bits."""

    codec_id = SLICED_CODEC_ID
    name = "sliced"

    def encode(self, vector: Vector) -> bytes | None:
        """The body for the narrowest grid that holds the vector, or None."""
        return self.encode_grid(*(find_grid(vector) or (vector, 24)))

    def encode_grid(
        self,
        grid: Vector,
        bits: SignificantBits,
        recipe: Recipe = Recipe.NONE,
        scalar: np.float32 | float = 1.0,
    ) -> bytes | None:
        """The body for grid values of `bits` significant bits and the recipe that scales them.

        None for values that are not finite, and for vectors of subnormal or of huge ones only.
        """
        if not np.isfinite(grid).all():
            return None
        codes, step, rests, depths = cut(grid)
        if not _STEP_MIN <= step <= _STEP_MAX:
            return None
        packed = EXPONENTS.compress(rests + depths)
        if packed is None:
            return None
        head = _HEAD.pack(FORMS[bits, recipe], step, scalar, len(depths))
        return codes.tobytes() + head + low_bits(grid, bits) + packed

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        if len(bodies) == 1:
            _decode_one(bodies[0], out[0])
            return
        for first in range(0, len(bodies), _BLOCK_ROWS):
            _decode_block(bodies[first : first + _BLOCK_ROWS], out[first : first + _BLOCK_ROWS])


def low_bits(grid: Vector, bits: SignificantBits) -> bytes:
    """What float32 values have below the upper half of their words."""
    words = grid.view(np.uint32)
    if bits == 24:
        return words.astype("<u2").tobytes()
    if bits == 11:
        three = (words >> np.array([[13], [14], [15]], dtype=np.uint32)).astype(np.uint8) & 1
        return np.packbits(three, axis=1).tobytes()
    return b""


def _parse(body: Buffer, dimension: int) -> tuple[int, int, float, int, bytes]:
    """Form, step, scalar, end of the low bits, and what zstd packed: rests, then depths."""
    start = dimension + _HEAD.size
    if len(body) < start:
        raise CorruptionError("sliced body without its head", ErrorKind.BAD_FRAME)
    form, step, scalar, small = _HEAD.unpack_from(body, dimension)
    width = form & 3
    if width == 3 or form >> 2 > 2 or not _STEP_MIN <= step <= _STEP_MAX or small > dimension:
        raise CorruptionError(f"sliced body of form {form}, step {step}", ErrorKind.BAD_FRAME)
    start += low_bytes(width, dimension)
    return form, step, scalar, start, EXPONENTS.decompress(body[start:], dimension + small)


def _decode_one(body: Buffer, out: Vector) -> None:
    """`_decode_block` for one vector, since that is the latency that users feel: 15 us."""
    dimension = out.size
    form, step, scalar, end, plain = _parse(body, dimension)
    codes = np.frombuffer(body, np.int8, dimension)
    signed = codes >> 7
    np.subtract(codes, signed, out=signed)  # n or -n: the magnitude with its sign
    np.multiply(signed, np.float32(2.0**step), out=out)  # exact: only the exponents shift
    words = out.view(np.uint32)
    rests = np.frombuffer(plain, np.uint8, dimension).astype(np.uint32)
    rests <<= 16
    words |= rests
    _put_small(
        (signed == 0).nonzero()[0],
        step + _TOP,
        np.frombuffer(plain, np.uint8, -1, dimension) if len(plain) > dimension else _NO_DEPTHS,
        codes,
        words,
    )
    if form & 3:
        add_low_bits(form, body[dimension + _HEAD.size : end], words)
    if form >> 2:
        apply_recipe(RECIPES[form >> 2], out, np.float32(scalar), out=out)


def _decode_block(bodies: Sequence[Buffer], out: Vector) -> None:
    """Decode into `out` of shape (len(bodies), dimension)."""
    dimension = out.shape[1]
    heads = [_parse(body, dimension) for body in bodies]
    steps = np.array([head[1] for head in heads], np.int32)
    codes = np.frombuffer(b"".join([body[:dimension] for body in bodies]), np.int8)
    signed = codes >> 7
    np.subtract(codes, signed, out=signed)
    np.multiply(signed.reshape(out.shape), powers_of_two(steps)[:, None], out=out)
    words = out.view(np.uint32)
    plains = [head[4] for head in heads]
    joined = b"".join([plain[:dimension] for plain in plains])
    rests = np.frombuffer(joined, np.uint8).astype(np.uint32)
    rests <<= 16
    words |= rests.reshape(out.shape)
    _put_small(
        (signed == 0).nonzero()[0],
        np.repeat(steps + np.int32(_TOP), [len(plain) - dimension for plain in plains]),
        np.frombuffer(b"".join([plain[dimension:] for plain in plains]), np.uint8),
        codes,
        words.reshape(-1),
    )
    for row, (form, _, _, end, _) in enumerate(heads):
        if form & 3:
            add_low_bits(form, bodies[row][dimension + _HEAD.size : end], words[row])
    recipes = {head[0] >> 2 for head in heads}
    if recipes != {0}:
        scalars = np.array([[head[2]] for head in heads], np.float32)
        for recipe in recipes - {0}:
            # all rows at once where they agree, as the vectors of one model do
            rows = slice(None) if len(recipes) == 1 else [h[0] >> 2 == recipe for h in heads]
            out[rows] = apply_recipe(RECIPES[recipe], out[rows], scalars[rows])


def powers_of_two(steps: NDArray[np.int32]) -> Vector:
    """2^j as float32 for each step, by its bits: no library's exp2 decides what is read back."""
    return ((steps + np.int32(_EXPONENT_BIAS)) << np.int32(23)).view(np.float32)


def _put_small(
    places: NDArray[np.intp],
    tops: int | NDArray[np.int32],
    depths: NDArray[np.uint8],
    codes: Codes,
    words: _Words,
) -> None:
    """Give the values below one step, which so far are their rests, exponents and signs."""
    if depths.size != places.size:
        raise CorruptionError("sliced body: its small values do not count up", ErrorKind.BAD_FRAME)
    count = places.size
    if not count:
        return
    # numpy keeps freed arrays below 1 kB, some of every size in bytes that there was: arrays as
    # long as `places` would add up to half a megabyte, so these are parts of longer ones
    fields, others = np.empty((2, -(-count // _KEPT) * _KEPT), np.int32)[:, :count]
    signs = np.empty(-(-count // _KEPT) * 4 * _KEPT, np.int8)[:count]
    np.subtract(tops, depths, out=fields, dtype=np.int32)
    fields <<= 23
    words.view(np.int32).take(places, out=others, mode="clip")
    others &= 0x7F0000
    fields |= others
    codes.take(places, out=signs, mode="clip")
    # of a code that is 0 or -1, the sign is every bit
    np.bitwise_and(signs, np.int32(-(2**31)), out=others)
    fields |= others
    words.put(places, fields.view(np.uint32), mode="clip")


def low_bytes(width: int, dimension: int) -> int:
    """Bytes that the low bits of one vector take; `width` is the lower two bits of its form."""
    return (0, 3 * -(-dimension // 8), 2 * dimension)[width]


def add_low_bits(form: int, low: Buffer, words: _Words) -> None:
    """Put back what `low_bits` took; not for a width of 8 bits, for rows only at one of 24."""
    if form & 3 == 2:
        words |= np.frombuffer(low, "<u2").reshape(words.shape)
    else:
        _add_three_bits(low, words)


def _add_three_bits(low: Buffer, words: _Words) -> None:
    for place, plane in enumerate(np.frombuffer(low, np.uint8).reshape(3, -1)):
        ones = np.unpackbits(plane, count=words.size).astype(np.uint32)
        ones <<= 13 + place
        words |= ones
