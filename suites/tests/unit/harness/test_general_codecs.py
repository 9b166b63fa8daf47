"""Rivals are measured by what they really give back."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import general_codecs
from harness.general_codecs import LossyError, measure_codecs

NAMES = [
    "zstd-19",
    "byte shuffle + zstd-19",
    "blosc2 shuffle + zstd",
    "blosc2 bitshuffle + zstd",
    "pcodec-12",
]


def vectors_of(rows: int, dimension: int = 256) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(rows, dimension)).astype(np.float32)


def test_every_rival_has_a_size_per_vector_and_per_set() -> None:
    sizes = measure_codecs(vectors_of(4))
    assert [size.name for size in sizes if not size.whole_set] == NAMES
    assert [size.name for size in sizes if size.whole_set] == [f"{n}, whole set" for n in NAMES]
    assert all(size.version for size in sizes)
    for size in sizes:
        assert size.bytes_per_vector is not None
        assert 0.7 * 1024 < size.bytes_per_vector < 1.1 * 1024 + 50


def test_a_frame_for_each_vector_costs_more_than_one_for_all() -> None:
    found = {size.name: size.bytes_per_vector for size in measure_codecs(vectors_of(50))}
    for name in NAMES:
        alone, together = found[name], found[f"{name}, whole set"]
        assert alone is not None
        assert together is not None
        assert alone > together


def test_the_extra_can_be_left_out() -> None:
    assert [size.name for size in measure_codecs(vectors_of(2), whole_set=False)] == NAMES


def test_odd_bits_come_back_from_every_rival() -> None:
    words = np.random.default_rng(2).integers(2**32, size=(3, 64), dtype=np.uint32)
    words[0, :4] = [0x7FC12345, 0x80000000, 0x00000001, 0xFF800000]  # NaN payload, -0, subnormal
    assert len(measure_codecs(words.view(np.float32))) == 2 * len(NAMES)


def test_a_lossy_rival_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds() -> Iterable[general_codecs._Codec]:
        yield general_codecs._Codec(
            name="rounds",
            package="numpy",
            compress=lambda block: block.astype(np.float16).tobytes(),
            decompress=lambda frame: np.frombuffer(frame, np.float16).astype(np.float32).tobytes(),
        )

    monkeypatch.setattr(general_codecs, "_pcodec", rounds)
    with pytest.raises(LossyError, match="rounds changed bits"):
        measure_codecs(vectors_of(2))


def test_a_missing_package_is_a_missing_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blosc2", None)
    sizes = measure_codecs(vectors_of(2), whole_set=False)
    absent = [size for size in sizes if size.bytes_per_vector is None]
    assert [size.name for size in absent] == ["blosc2"]
    assert "not installed" in absent[0].reason
    assert len(sizes) == len(NAMES) - 1


def test_what_is_no_matrix_of_float32_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        measure_codecs(np.zeros((2, 3)))  # type: ignore[arg-type]
