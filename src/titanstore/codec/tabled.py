"""Vectors of any float32, on a grid or not, whose exponents are coded by a table of the code.

Payloads are those of `planes`. An exponent e is coded as base - e modulo 256, with a base of the
vector's own that brings its exponents under the table. The table spares the one that zstd would
write and read for each vector.

FORMAT.md, "Tabled bodies"; reports/decisions/0020-shipped-tables.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from titanstore.codec.base import Vector
from titanstore.codec.frame import Buffer
from titanstore.codec.grid import FORMS, RECIPES, WIDTHS, Recipe, apply_recipe, find_grid
from titanstore.codec.planes import (
    SignificantBits,
    assemble,
    assemble_bfloat16,
    payload_bytes,
    split,
)
from titanstore.codec.tables import EXPONENTS
from titanstore.errors import CorruptionError, ErrorKind

_HEAD = struct.Struct("<BB")  # form, base
_SCALAR = struct.Struct("<f")
# Rows decoded at a time. Few for what documents and searches need, whose scratch stays with the
# process; more in large batches, where fewer calls count
_FEW_ROWS, _MANY_ROWS = 16, 64
_BATCH_IS_LARGE = 200
_MEAN_SYMBOL = 4.3  # any from 4.2 to 4.35 serves the vectors that the table was made from best
# What begins at 256 - base: base less 0 to 255, so exponents of symbols, and symbols of exponents;
# then such exponents in their place
_FALLING = (-np.arange(512) & 0xFF).astype(np.uint8).tobytes()
_EXPONENT_PLACES = np.frombuffer(_FALLING, np.uint8).astype(np.uint32) << np.uint32(23)


class TabledCodec:
    """Any float32; of 8, 11 or 24 significant bits, alone or times a scalar."""

    codec_id = 16
    name = "tabled"

    def encode(self, vector: Vector) -> bytes | None:
        """The body for the narrowest grid that holds the vector."""
        return self.encode_grid(*(find_grid(vector) or (vector, 24)))

    def encode_grid(
        self,
        grid: Vector,
        bits: SignificantBits,
        recipe: Recipe = Recipe.NONE,
        scalar: np.float32 | float = 1.0,
    ) -> bytes | None:
        """The body for grid values of `bits` significant bits and the recipe that scales them.

        None where zstd would not compress the exponents.
        """
        payload, exponents = split(grid.view(np.uint32), bits)
        base = round(int(exponents.sum()) / exponents.size + _MEAN_SYMBOL) % 256
        symbols = exponents.tobytes().translate(_FALLING[256 - base : 512 - base])
        block = EXPONENTS.compress(symbols)
        if block is None:
            return None
        head = _HEAD.pack(FORMS[bits, recipe], base)
        if recipe is not Recipe.NONE:
            head += _SCALAR.pack(scalar)
        return head + payload + block

    def decode_into(self, bodies: Sequence[Buffer], out: Vector) -> None:
        """Inverse of `encode` for many bodies of one dimension."""
        if len(bodies) == 1:
            _decode_one(bodies[0], out[0])
            return
        if min(map(len, bodies), default=_HEAD.size) < _HEAD.size:
            raise CorruptionError("tabled body without its head", ErrorKind.BAD_FRAME)
        for rows in blocks_of_rows(len(bodies)):
            forms = [body[0] for body in bodies[rows]]
            decode_by_form(bodies[rows], forms, _decode_alike, out[rows])


@lru_cache(maxsize=64)
def _layout(form: int, dimension: int) -> tuple[int, int]:
    """Where the payload and the block of bodies of a form begin."""
    width = form & 3
    if width == 3 or form >> 2 > 2:
        raise CorruptionError(f"tabled body of form {form}", ErrorKind.BAD_FRAME)
    start = _HEAD.size + (_SCALAR.size if form >> 2 else 0)
    return start, start + payload_bytes(WIDTHS[width], dimension)


def _check_length(shortest: int, block: int) -> None:
    if shortest <= block:
        raise CorruptionError("tabled body without its block", ErrorKind.BAD_FRAME)


def _decode_one(body: Buffer, out: Vector) -> None:
    """`_decode_alike` for one vector, since that is the latency that users feel."""
    if len(body) < _HEAD.size:
        raise CorruptionError("tabled body without its head", ErrorKind.BAD_FRAME)
    form, base = body[0], body[1]
    start, end = _layout(form, out.size)
    _check_length(len(body), end)
    symbols = EXPONENTS.decompress(body[end:], out.size)
    payload = np.frombuffer(body, np.uint8, end - start, start)
    if form & 3:
        exponents = symbols.translate(_FALLING[256 - base : 512 - base])
        assemble(np.frombuffer(exponents, np.uint8), payload, WIDTHS[form & 3], out)
    else:
        places = _EXPONENT_PLACES[256 - base : 512 - base]
        codes = np.frombuffer(symbols, np.uint8)
        assemble_bfloat16(places, codes, payload, out.view(np.uint32))
    if form >> 2:
        (scalar,) = _SCALAR.unpack_from(body, _HEAD.size)
        apply_recipe(RECIPES[form >> 2], out, np.float32(scalar), out=out)


def blocks_of_rows(count: int) -> Iterator[slice]:
    """The rows of a batch, as many at a time as are decoded at once."""
    size = _MANY_ROWS if count >= _BATCH_IS_LARGE else _FEW_ROWS
    for first in range(0, count, size):
        yield slice(first, first + size)


def decode_by_form(
    bodies: Sequence[Buffer],
    forms: Sequence[int],
    decode: Callable[[Sequence[Buffer], int, Vector], None],
    out: Vector,
) -> None:
    """Have the bodies of each form decoded together into their rows of `out`."""
    used = set(forms)
    if len(used) == 1:
        decode(bodies, forms[0], out)
        return
    for form in used:
        rows = [row for row, one in enumerate(forms) if one == form]
        part = np.empty((len(rows), out.shape[1]), np.float32)
        decode([bodies[row] for row in rows], form, part)
        out.view(np.uint32)[rows] = part.view(np.uint32)


def scalars_of(bodies: Sequence[Buffer], at: int) -> Vector:
    """The scalars of many bodies, in a column."""
    joined = b"".join([body[at : at + _SCALAR.size] for body in bodies])
    return np.frombuffer(joined, "<f4")[:, None]


def _decode_alike(bodies: Sequence[Buffer], form: int, out: Vector) -> None:
    """Decode bodies of one form into `out` of shape (len(bodies), dimension)."""
    count, dimension = out.shape
    start, end = _layout(form, dimension)
    _check_length(min(map(len, bodies)), end)
    blocks = [body[end:] for body in bodies]
    plain = EXPONENTS.decompress_many(blocks, np.full(count, dimension, np.uint64))
    symbols = np.frombuffer(plain, np.uint8).reshape(count, dimension)
    bases = np.frombuffer(b"".join([body[1:2] for body in bodies]), np.uint8)[:, None]
    joined = b"".join([body[start:end] for body in bodies])
    payload = np.frombuffer(joined, np.uint8).reshape(count, end - start)
    assemble(bases - symbols, payload, WIDTHS[form & 3], out)
    if form >> 2:
        apply_recipe(RECIPES[form >> 2], out, scalars_of(bodies, _HEAD.size), out=out)
