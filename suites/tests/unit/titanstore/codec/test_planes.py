"""Plane bodies against FORMAT.md, written out value by value in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from titanstore.codec.planes import (
    SignificantBits,
    decode_planes,
    dropped_bits,
    encode_planes,
    payload_bytes,
)
from titanstore.errors import CorruptionError, ErrorKind

each_width = pytest.mark.parametrize("bits", [8, 11, 24])


def planes_by_the_page(words: list[int], bits: int) -> tuple[bytes, bytes]:
    """Payload and exponents as "Plane bodies" describes them."""
    rotated = []
    for word in words:
        sign, exponent, mantissa = word >> 31, word >> 23 & 255, word & 0x7FFFFF
        rotated.append(exponent << bits | mantissa >> (24 - bits) << 1 | sign)
    exponents = bytes(value >> bits for value in rotated)
    if bits == 8:
        return bytes(value & 255 for value in rotated), exponents
    if bits == 24:
        low = b"".join((value & 0xFFFF).to_bytes(2, "little") for value in rotated)
        return low + bytes(value >> 16 & 255 for value in rotated), exponents
    payload = bytes(value & 255 for value in rotated)
    for place in (8, 9, 10):
        digits = "".join(str(value >> place & 1) for value in rotated)
        digits += "0" * (-len(digits) % 8)
        payload += bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8))
    return payload, exponents


def unpack_exponents(stored: bytes) -> bytes:
    """With the two constants put back: window 2^11, no size, no checksum."""
    decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    return decompressor.decompress(b"\x00\x08" + stored, max_output_size=1 << 16)


@each_width
@settings(max_examples=60, deadline=None)
@given(raw=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=100))
def test_body_is_that_of_the_format_page(bits: SignificantBits, raw: list[int]) -> None:
    drop = dropped_bits(bits)
    words = [word >> drop << drop for word in raw]
    body = encode_planes(np.array(words, dtype=np.uint32), bits)
    assert body is not None
    payload, exponents = planes_by_the_page(words, bits)
    assert len(payload) == payload_bytes(bits, len(words))
    assert body[: len(payload)] == payload
    assert unpack_exponents(body[len(payload) :]) == exponents
    out = np.empty((1, len(words)), dtype=np.float32)
    decode_planes([body], bits, out)
    assert out.view(np.uint32)[0].tolist() == words


@each_width
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 130])
def test_blocks_of_rows(bits: SignificantBits, count: int) -> None:
    """Rows are decoded in blocks of 64: none lost or swapped at their borders."""
    rng = np.random.default_rng(count)
    drop = dropped_bits(bits)
    words = rng.integers(0, 2**32, (count, 37), dtype=np.uint32) >> drop << drop
    bodies = [encode_planes(row, bits) for row in words]
    assert None not in bodies
    out = np.empty((count, 37), dtype=np.float32)
    decode_planes(bodies, bits, out)  # type: ignore[arg-type]
    assert np.array_equal(out.view(np.uint32), words)


@each_width
def test_short_body_in_a_block_is_refused(bits: SignificantBits) -> None:
    body = encode_planes(np.zeros(37, dtype=np.uint32), bits)
    assert body is not None
    for bodies in ([body[:-1]], [body, body[: payload_bytes(bits, 37)], body], [b""]):
        out = np.empty((len(bodies), 37), dtype=np.float32)
        with pytest.raises(CorruptionError) as caught:
            decode_planes(bodies, bits, out)
        assert caught.value.kind is ErrorKind.BAD_FRAME
