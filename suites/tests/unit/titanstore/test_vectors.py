"""Vectors are checked and never converted: the bits that come in are the bits that are kept."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from titanstore import InvalidInputError, StoreConfig
from titanstore.vectors import checked_vector, checked_vectors, same_bits

CONFIG = StoreConfig()
words = hnp.arrays(np.uint32, st.integers(1, 20))


@given(words=words, step=st.sampled_from([1, 2, -1, -3]))
def test_the_bits_stay(words: NDArray[np.uint32], step: int) -> None:
    vector = (
        words[::step].view(np.float32)
        if abs(step) == 1
        else np.repeat(words, abs(step)).view(np.float32)[:: abs(step)]
    )
    checked = checked_vector(vector, CONFIG)
    assert checked.flags.c_contiguous
    assert checked.tobytes() == vector.tobytes()


@given(one=words, other=words)
def test_same_bits_is_equality_of_bytes(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> None:
    seen = same_bits(one.view(np.float32), other.view(np.float32))
    assert seen == (one.tobytes() == other.tobytes())
    assert same_bits(one.view(np.float32), one.copy().view(np.float32))


def test_equal_numbers_with_other_bits_differ() -> None:
    zero = np.zeros(1, np.float32)
    assert not same_bits(zero, -zero)
    nans = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert not same_bits(nans[:1], nans[1:])


@pytest.mark.parametrize(
    "bad", [np.float32(np.inf), -np.float32(np.inf), np.float32(np.nan)], ids=str
)
def test_non_finite_values(bad: np.float32) -> None:
    vector = np.array([1, bad, 2], np.float32)
    assert checked_vector(vector, CONFIG) is not None
    with pytest.raises(InvalidInputError, match="NaN or infinity") as caught:
        checked_vector(vector, StoreConfig(refuse_non_finite=True))
    assert caught.value.kind == "non-finite"


def test_rows_of_an_array() -> None:
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert [row.tolist() for row in checked_vectors(whole, 3, CONFIG)] == whole.tolist()
    assert checked_vectors(whole[:0], 0, CONFIG) == []
    for bad in (whole[0], whole[None], np.array(1, np.float32)):
        with pytest.raises(InvalidInputError) as caught:
            checked_vectors(bad, 1, CONFIG)
        assert caught.value.kind == "wrong-shape"
    with pytest.raises(InvalidInputError, match=r"\(1 to 16383,\), got \(0,\)"):
        checked_vectors(whole[:, :0], 3, CONFIG)
    with pytest.raises(InvalidInputError, match="float64 array; convert it"):
        checked_vectors(whole.astype(np.float64), 3, CONFIG)
