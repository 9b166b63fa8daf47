"""A response body as what it was printed from: a form, the vector, the token count.

A form is the body with its numbers taken out. It is learnt from a body and accepted only if it
gives the same bytes again; so a body that Titan prints some other way has no form, and whoever
keeps it keeps its bytes. Bodies of one model and one set of options share a form.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import orjson

from titanstore.clients.bedrock.digits import Digits, render_numbers, render_signs
from titanstore.codec.base import Vector

_ARRAY = re.compile(rb"\[[^\[\]]*\]")
_TOKENS = re.compile(rb'"inputTextTokenCount"\s*:\s*(\d+)')
_TEXT_BYTES_MAX = 600  # of a form; Titan's longest is 90
_HEAD = struct.Struct("<BBB")
_PIECE = struct.Struct("<BH")
TOKENS_MAX = 2**32 - 2


class Slot(IntEnum):
    """What a piece of a form stands for; the numbers are stored."""

    TEXT = 0
    NUMBERS = 1
    SIGNS = 2
    TOKENS = 3


class Embedded(NamedTuple):
    """What a body says."""

    vector: Vector  # float32, finite, read-only
    token_count: int | None  # inputTextTokenCount


class Form(NamedTuple):
    """How a body is printed."""

    digits: Digits
    is_spaced: bool  # ", " between values, else ","
    pieces: tuple[tuple[Slot, bytes], ...]

    def render(self, vector: Vector, token_count: int | None) -> bytes:
        """The body of a vector and a token count. About 60 us for 1 024 values."""
        separator = b", " if self.is_spaced else b","
        printed: dict[Slot, bytes] = {}
        parts = []
        for slot, text in self.pieces:
            if slot is Slot.TEXT:
                parts.append(text)
                continue
            if slot not in printed:
                printed[slot] = (
                    render_numbers(vector, self.digits, separator)
                    if slot is Slot.NUMBERS
                    else render_signs(vector, separator)
                    if slot is Slot.SIGNS
                    else str(token_count).encode()
                )
            parts.append(printed[slot])
        return b"".join(parts)

    def to_bytes(self) -> bytes:
        """FORMAT.md, "Answers, version 1"."""
        parts = [_HEAD.pack(self.digits, self.is_spaced, len(self.pieces))]
        for slot, text in self.pieces:
            parts += (_PIECE.pack(slot, len(text)), text)
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Form:
        """Inverse of `to_bytes`; raises ValueError or struct.error for anything else."""
        digits, is_spaced, count = _HEAD.unpack_from(data)
        at, pieces = _HEAD.size, []
        for _ in range(count):
            slot, size = _PIECE.unpack_from(data, at)
            at += _PIECE.size
            pieces.append((Slot(slot), data[at : at + size]))
            at += size
        if at != len(data):
            raise ValueError(f"a form of {at} bytes in {len(data)}")
        return cls(Digits(digits), bool(is_spaced), tuple(pieces))


def read_body(body: bytes, dimension: int) -> Embedded | None:
    """The vector and token count of a body; None if there is no whole, finite vector in it.

    None for `{}`, for what is no JSON, for NaN and numbers beyond float32, for a vector of another
    dimension. Such an answer is never kept.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    values = fields.get("embedding") if isinstance(fields, dict) else None
    if not isinstance(values, list) or len(values) != dimension:
        return None
    if not {type(value) for value in values} <= {int, float}:
        return None
    try:
        wide = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    with np.errstate(over="ignore"):
        vector = wide.astype(np.float32)
    if not np.isfinite(vector).all():
        return None
    vector.flags.writeable = False
    count = fields.get("inputTextTokenCount")
    is_count = type(count) is int and 0 <= count <= TOKENS_MAX
    return Embedded(vector, count if is_count else None)


def learn_form(body: bytes, embedded: Embedded) -> Form | None:
    """The form that prints this body, or None if none of those we know does, byte for byte."""
    first = _ARRAY.search(body)
    if first is None:
        return None
    is_spaced = b", " in first[0]
    separator = b", " if is_spaced else b","
    signs = render_signs(embedded.vector, separator)
    for digits in Digits:
        numbers = render_numbers(embedded.vector, digits, separator)
        spans = [
            (found.start(), found.end(), slot)
            for found in _ARRAY.finditer(body)
            for slot, text in ((Slot.NUMBERS, numbers), (Slot.SIGNS, signs))
            if found[0] == text
        ]
        if not any(slot is Slot.NUMBERS for _, _, slot in spans):
            continue
        if embedded.token_count is not None:
            spans += [
                (found.start(1), found.end(1), Slot.TOKENS) for found in _TOKENS.finditer(body)
            ]
        form = Form(digits, is_spaced, _pieces(body, spans))
        size = sum(len(text) for _, text in form.pieces)
        is_short = size <= _TEXT_BYTES_MAX and len(form.pieces) < 256
        if is_short and form.render(*embedded) == body:
            return form
    return None


def _pieces(body: bytes, spans: list[tuple[int, int, Slot]]) -> tuple[tuple[Slot, bytes], ...]:
    pieces = []
    at = 0
    for start, end, slot in sorted(spans):
        pieces += [(Slot.TEXT, body[at:start]), (slot, b"")]
        at = end
    return (*pieces, (Slot.TEXT, body[at:]))
