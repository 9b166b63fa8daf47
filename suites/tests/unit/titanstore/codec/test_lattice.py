"""Short-text means: the recipe is found, or refused at little cost; bodies follow FORMAT.md."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard

from titanstore.codec import lattice
from titanstore.codec.base import Vector
from titanstore.codec.frame import build_frame
from titanstore.codec.lattice import LatticeCodec, find_lattice
from titanstore.codec.planes import EXPONENTS
from titanstore.errors import CorruptionError, ErrorKind

CODEC = LatticeCodec()


def short_text(seed: int, tokens: int, *, second: float = 1.0) -> Vector:
    """As Titan v2 is thought to serve a text of few tokens; states of float16 precision."""
    rng = np.random.default_rng(seed)
    states = 0.6 * rng.standard_normal(1024) + 0.8 * rng.standard_normal((tokens, 1024))
    sums = np.add.reduce(states.astype(np.float16).astype(np.float32), dtype=np.float32)
    mean = sums / np.float32(tokens)
    once = mean / np.float32(np.linalg.norm(mean.astype(np.float64)))
    vector: Vector = once / np.float32(second)
    return vector


def decoded(body: bytes, dimension: int) -> Vector:
    out = np.empty((1, dimension), dtype=np.float32)
    CODEC.decode_into((body,), out)
    vector: Vector = out[0]
    return vector


@pytest.mark.parametrize("tokens", [2, 3, 4, 5])
def test_nearly_all_short_texts_are_found(tokens: int) -> None:
    found = 0
    for seed in range(25):
        vector = short_text(seed, tokens, second=1 - 2.0**-24 if seed % 2 else 1.0)
        body = CODEC.encode(vector)
        if body is not None:
            found += 1
            assert np.array_equal(decoded(body, 1024).view(np.uint32), vector.view(np.uint32))
            assert len(body) < 0.65 * vector.nbytes
    assert found >= 20


@pytest.mark.parametrize("tokens", [2, 3, 5])
def test_tokens_stand_for_their_odd_part(tokens: int) -> None:
    vector = short_text(3, tokens)
    found = find_lattice(vector)
    assert found is not None
    recipe, sums = found
    assert recipe.tokens == {2: 1, 3: 3, 5: 5}[tokens]
    assert np.array_equal(recipe.served(sums), vector)


def test_zeros_of_either_sign_and_powers_of_two() -> None:
    """Fractions without a bit take the one path that is not arithmetic."""
    states = np.random.default_rng(4).standard_normal((2, 1024)).astype(np.float16)
    sums = np.add.reduce(states.astype(np.float32), dtype=np.float32)
    sums[:6] = (0.0, -0.0, 0.5, -0.25, 1.0, -2.0)
    vector = sums / np.float32(17.3)
    body = CODEC.encode(vector)
    assert body is not None
    assert np.array_equal(decoded(body, 1024).view(np.uint32), vector.view(np.uint32))


def test_body_is_that_of_the_format_page() -> None:
    """Read back value by value, in plain Python, as "Lattice bodies" describes it."""
    vector = short_text(5, 5)
    body = CODEC.encode(vector)
    assert body is not None
    tokens, first, second, coded_bytes = struct.unpack_from("<BffH", body)
    unpack = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS).decompress
    planes = unpack(b"\x00\x08" + body[11 : 11 + coded_bytes], max_output_size=2048)
    stream = "".join(f"{byte:08b}" for byte in body[11 + coded_bytes :])
    at, words = 0, []
    for exponent, end in zip(planes[:1024], planes[1024:], strict=True):
        length = (exponent - end) % 256
        sign, fraction = stream[at], stream[at + 1 : at + max(length, 1)]
        at += max(length, 1)
        digits = fraction + "1" if length else ""
        words.append(int(f"{sign}{exponent:08b}{digits:0<23}", 2))
    assert len(stream) - at < 8
    sums = np.array(words, dtype=np.uint32).view(np.float32)
    served = sums / np.float32(tokens) / np.float32(first) / np.float32(second)
    assert np.array_equal(served.view(np.uint32), vector.view(np.uint32))


def test_many_bodies_decode_as_one_by_one() -> None:
    vectors = [short_text(seed, 2 + seed % 4) for seed in range(90)]
    kept = [(vector, body) for vector in vectors if (body := CODEC.encode(vector)) is not None]
    assert len(kept) > lattice._BLOCK_ROWS
    out = np.empty((len(kept), 1024), dtype=np.float32)
    CODEC.decode_into([body for _, body in kept], out)
    for row, (vector, body) in zip(out, kept, strict=True):
        assert np.array_equal(row.view(np.uint32), vector.view(np.uint32))
        assert np.array_equal(row, decoded(body, 1024))


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_vectors_are_refused_by_the_first_test(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("an ordinary vector got past the probes")

    monkeypatch.setattr(lattice, "_find_recipe", never)
    vector = np.random.default_rng(seed).standard_normal(1024).astype(np.float32)
    assert find_lattice(vector) is None
    assert find_lattice(short_text(seed, 200)) is None


def test_one_foreign_value_is_refused() -> None:
    words = short_text(6, 2).view(np.uint32).copy()
    assert find_lattice(words.view(np.float32)) is not None
    for word in (0x7FC00000, 0x7F800000, 0xFF800001, 0x7F7FFFFF):
        words[500] = word
        assert find_lattice(words.view(np.float32)) is None


def test_damaged_bodies_are_refused() -> None:
    body = CODEC.encode(short_text(7, 2))
    assert body is not None
    coded_bytes = int.from_bytes(body[9:11], "little")
    exponents = EXPONENTS.compress_parts(bytes([100] * 1024), bytes([76] * 1024))
    assert exponents is not None
    long_fraction = body[:9] + len(exponents).to_bytes(2, "little") + exponents + bytes(4096)
    cases = {
        "no head": body[:10],
        "no bits": body[: 11 + coded_bytes],
        "bits short": body[:-1],
        "bits long": body + b"\0",
        "coded short": body[:9] + (coded_bytes - 1).to_bytes(2, "little") + body[11:],
        "coded long": body[:9] + b"\xff\xff" + body[11:],
        "24 bits": long_fraction,
    }
    for name, damaged in cases.items():
        with pytest.raises(CorruptionError) as caught:
            decoded(damaged, 1024)
        assert caught.value.kind is ErrorKind.BAD_FRAME, name
    assert build_frame(9, 1024, body)
