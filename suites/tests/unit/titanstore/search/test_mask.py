"""Flags of rows: where the last one is, and that long masks are like short ones."""

from __future__ import annotations

import numpy as np
import pytest

from titanstore.search.mask import blank_mask
from titanstore.search.scope import end_of_marked

LENGTHS = [0, 1, 4_095, 4_096, 4_097, 8_192, 65_535, 65_536, 70_001]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_blank_mask_is_down_and_can_be_written(length: int) -> None:
    mask = blank_mask(length)
    assert mask.shape == (length,)
    assert mask.dtype == np.bool_
    assert not mask.any()
    mask[:] = True
    assert np.count_nonzero(mask) == length
    assert not blank_mask(length).any()  # its pages are not given again as they were


@pytest.mark.parametrize("length", LENGTHS)
def test_the_last_flag_is_found_at_each_border(length: int) -> None:
    assert end_of_marked(blank_mask(length)) == 0
    borders = {0, 1, length - 4_097, length - 4_096, length - 4_095, length - 2, length - 1}
    for last in sorted(place for place in borders if 0 <= place < length):
        mask = blank_mask(length)
        mask[[0, last]] = True
        assert end_of_marked(mask) == last + 1
