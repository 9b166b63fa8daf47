"""Means over a few float16 token states, normalised: Titan text-v2 since 2025 on short texts.

Titan sums T values of float16 precision into q, and serves f32(f32(f32(q / T) / n1) / n2). For
texts of a few tokens q has few significant bits, most of all the values that nearly cancelled: one
of the smallest values is a small odd integer times a power of two, so 64 scales for each of four
such values are tried on the next larger ones. The right scale puts most of them on a grid of 11
bits, a wrong one 1 in 1 000. With it T, n1 and n2 are found by trying, and each value gets the
shortest q that gives its bits. Powers of two cancel, so T stands for its odd part.

FORMAT.md, "Lattice bodies"; reports/decisions/0002-short-token-lattice.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import Buffer
from titanstore.codec.grid import is_on_grid
from titanstore.codec.planes import EXPONENTS
from titanstore.errors import CorruptionError, ErrorKind

_Wide = NDArray[np.float64]
_HEAD = struct.Struct("<BffH")  # T, n1, n2, bytes of the zstd part
_PIVOTS, _PROBES = 4, 24
_PROBE_STRIDE = 6
_VALUES_MIN = _PIVOTS + _PROBE_STRIDE * _PROBES
_INTEGERS = np.arange(1, 128, 2, dtype=np.float64)
_PROBE_BITS, _SURE_BITS = 11, 13
_HITS_MIN = 6  # of 24 probes; v2 texts of 100 and more tokens reach 2
_TOLERANCE = 2.0**-22  # four roundings to 2^-24: the pivot's and the recipe's three
_PEAK_MIN, _PEAK_MAX = 2.0**-100, 2.0**100
_SAMPLE = 32  # values on which scalars are tried before the whole vector is
_ULPS = np.arange(-4, 5, dtype=np.int32)
_TOKENS = tuple(range(1, 16, 2))
_SECOND_NORMS = np.array([1, 1 - 2.0**-24, 1 + 2.0**-23], dtype=np.float32)
_KEPT = 256  # float32 values: 1 kB
_BLOCK_ROWS = 8  # some 30 bytes of scratch a value; at 32 rows it takes 1.6 times as long


class Recipe(NamedTuple):
    """What turns sums into served values."""

    tokens: int  # odd part of T
    first_norm: np.float32
    second_norm: np.float32

    def served(self, sums: Vector) -> Vector:
        """float32 arithmetic with three roundings."""
        return sums / np.float32(self.tokens) / self.first_norm / self.second_norm


def _shortest(scaled: _Wide, tolerance: float) -> Vector:
    """For positive values: the number of fewest significant bits within about `tolerance`."""
    words = scaled.view(np.uint64)
    margin = np.uint64(tolerance * 2**52)
    high = words + margin
    differing = ((words - margin) ^ high).astype(np.float64)
    _, exponents = np.frexp(differing)
    cut = (exponents - 1).astype(np.uint64)
    shortened: Vector = (high >> cut << cut).view(np.float64).astype(np.float32)
    return shortened


def _padded(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """The same places, some of them more than once.

    numpy keeps freed arrays below 1 kB, some of every size in bytes that there was. What is worked
    out at these places has a multiple of 1 kB, and is not kept.
    """
    return np.resize(places, -(-places.size // _KEPT) * _KEPT)


def find_lattice(vector: Vector) -> tuple[Recipe, Vector] | None:
    """The recipe and the sums that it turns into `vector` bit for bit, or None.

    Notes
    -----
    Refuses a vector without a lattice in about 0.03 ms; None for fewer than 148 values that are
    not zero, and for most texts of more than 8 tokens, whose sums have too many bits.
    """
    magnitudes = np.abs(vector)
    used = magnitudes[magnitudes > 0]
    if used.size < _VALUES_MIN or not _PEAK_MIN < magnitudes.max() < _PEAK_MAX:
        return None
    scale = _find_scale(used)
    if scale is None:
        return None
    wide = used.astype(np.float64)
    for bits in (_PROBE_BITS, _SURE_BITS):  # the pivot gave the scale to 2^-23 only
        sure = np.flatnonzero(is_on_grid(wide * scale, bits, _TOLERANCE))
        if not sure.size:
            return None
        some = _padded(sure)
        sums = _shortest(wide[some] * scale, _TOLERANCE)
        scale = float(np.mean((sums / wide[some])[: sure.size]))
    recipe = _find_recipe(used[some], sums, scale)
    if recipe is None:
        return None
    found = _find_sums(magnitudes, scale, recipe)
    return None if found is None else (recipe, np.copysign(found, vector))


def _find_scale(used: Vector) -> float | None:
    """A scale in [1, 2) that puts most of the smaller values on a grid."""
    smallest = np.sort(used)[:_VALUES_MIN].astype(np.float64)
    scales = (_INTEGERS / smallest[:_PIVOTS, None]).reshape(-1, 1)
    probes = smallest[_PIVOTS::_PROBE_STRIDE]
    hits = is_on_grid(scales * probes, _PROBE_BITS, _TOLERANCE).sum(axis=1)
    best = int(hits.argmax())
    if hits[best] < _HITS_MIN:
        return None
    return 2 * float(np.frexp(scales[best, 0])[0])


def _find_recipe(served: Vector, sums: Vector, scale: float) -> Recipe | None:
    """T, n1 and n2 that give all of `served`; n1 is searched around scale / T."""
    some = slice(None, None, max(1, served.size // _SAMPLE))
    target = served[some]
    for tokens in _TOKENS:
        near = np.float32(scale / tokens).view(np.int32) + _ULPS
        norms = near.view(np.float32)
        once = (sums[some] / np.float32(tokens)) / norms[:, None]
        good = (once[:, None] / _SECOND_NORMS[:, None] == target).all(axis=-1)
        for first, second in np.argwhere(good):
            recipe = Recipe(tokens, norms[first], _SECOND_NORMS[second])
            if np.array_equal(recipe.served(sums), served):
                return recipe
    return None


def _find_sums(magnitudes: Vector, scale: float, recipe: Recipe) -> Vector | None:
    """The shortest sum for each value that gives its bits."""
    wide = magnitudes.astype(np.float64) * scale
    wide[magnitudes == 0] = 1
    sums = _shortest(wide, _TOLERANCE)
    sums[magnitudes == 0] = 0
    for tolerance in (_TOLERANCE / 2, _TOLERANCE / 4, _TOLERANCE / 8):
        missing = np.flatnonzero(recipe.served(sums) != magnitudes)
        if not missing.size:
            return sums
        some = _padded(missing)
        sums[some] = _shortest(wide[some], tolerance)
    return sums if np.array_equal(recipe.served(sums), magnitudes) else None


def _encode_sums(sums: Vector) -> tuple[bytes | None, bytes]:
    """The zstd part and the bits part."""
    words = sums.view(np.uint32)
    exponents = (words >> 23).astype(np.uint8)
    fractions = words & 0x7FFFFF
    # bits of the fraction up to its last 1, which is not stored
    _, lowest = np.frexp((fractions & -fractions).astype(np.float32))
    lengths = np.where(fractions == 0, 0, 24 - lowest).astype(np.uint8)
    coded = EXPONENTS.compress_parts(exponents.tobytes(), (exponents - lengths).tobytes())
    tops = words & 0x80000000 | fractions << 8
    places = np.unpackbits(tops.astype(">u4").view(np.uint8)).reshape(-1, 32)
    stored = np.maximum(lengths, 1)
    return coded, np.packbits(places[np.arange(32) < stored[:, None]]).tobytes()


class LatticeCodec:
    """Sums of a few float16 values, their recipe in front."""

    codec_id = 9
    name = "lattice"

    def encode(self, vector: Vector) -> bytes | None:
        """The body, or None when no lattice was found."""
        found = find_lattice(vector)
        if found is None:
            return None
        recipe, sums = found
        coded, bits = _encode_sums(sums)
        if coded is None or len(coded) > 0xFFFF:
            return None
        return _HEAD.pack(*recipe, len(coded)) + coded + bits

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        for first in range(0, len(bodies), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            _decode_block(bodies[rows], out[rows])


def _decode_block(bodies: Sequence[Buffer], out: Vector) -> None:
    count, dimension = out.shape
    plain, bits, recipes = [], [], []
    for body in bodies:
        if len(body) < _HEAD.size:
            raise CorruptionError("lattice body without its head", ErrorKind.BAD_FRAME)
        *recipe, coded_bytes = _HEAD.unpack_from(body)
        start = _HEAD.size + coded_bytes
        plain.append(EXPONENTS.decompress(body[_HEAD.size : start], 2 * dimension))
        bits.append(body[start:])
        recipes.append(recipe)
    planes = np.frombuffer(b"".join(plain), np.uint8).reshape(count, 2, dimension)
    exponents = planes[:, 0]
    lengths = exponents - planes[:, 1]
    if lengths.max() > 23:
        raise CorruptionError("lattice body with a fraction of 24 bits", ErrorKind.BAD_FRAME)
    _assemble(exponents, lengths, bits, out)
    with np.errstate(all="ignore"):  # as in grid.py
        for divisors in zip(*recipes, strict=True):
            if set(divisors) != {1}:
                out /= np.array(divisors, dtype=np.float32)[:, None]


def _assemble(
    exponents: NDArray[np.uint8], lengths: NDArray[np.uint8], bits: list[Buffer], out: Vector
) -> None:
    """Put exponents, fractions and signs together to the sums."""
    stored = np.maximum(lengths, 1)
    starts = stored.cumsum(axis=1, dtype=np.int32)
    if any(len(part) != (size + 7) // 8 for part, size in zip(bits, starts[:, -1], strict=True)):
        raise CorruptionError("lattice body of another length", ErrorKind.BAD_FRAME)
    starts -= stored
    if len(bits) > 1:
        starts += np.cumsum([0, *(8 * len(part) for part in bits[:-1])], dtype=np.int32)[:, None]
    # a window of 32 bits from every byte on: at most 7 bits too early, 23 wanted
    joined = b"".join([*bits, bytes(3)])
    windows = np.ndarray(len(joined) - 3, "<u4", joined, strides=(1,))
    work = starts >> 3
    values = windows.take(work)
    values.byteswap(inplace=True)
    starts &= 7
    values <<= starts.view(np.uint32)
    words = out.view(np.int32)
    np.right_shift(values.view(np.int32), 8, out=words)  # spreads the sign over the exponent
    words &= -0x7F800001
    # all but what follows the last 1
    np.right_shift(np.int32(-1 << 23), lengths, out=work, dtype=np.int32)
    words &= work
    words |= np.negative(work, out=work)
    if not lengths.all():
        words[lengths == 0] &= -1 << 31
    words |= np.left_shift(exponents, 23, out=work, dtype=np.int32)
