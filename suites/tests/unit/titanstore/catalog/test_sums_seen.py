"""What a process has found right of versions: only that, and in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np

from titanstore.catalog.change_sums import SHARES, Seen

SIZE = 8 * (len(SHARES) + 1)
ALL = (1 << len(SHARES)) - 1


def sums(seed: int) -> bytearray:
    return bytearray(np.random.default_rng(seed).bytes(SIZE))


def test_a_sum_that_changed_is_to_be_counted_again_and_no_other() -> None:
    seen, version, right = Seen(), b"\0\0\0\1", sums(1)
    assert not seen.has(version, SHARES, right)
    seen.note(version, ALL, right)
    assert seen.has(version, SHARES, right)
    assert not seen.has(b"\0\0\0\2", SHARES, right)
    right[8 * 5 + 3] ^= 1
    assert not seen.has(version, SHARES, right)
    for share in SHARES:
        assert seen.has(version, range(share, share + 1), right) is (share != 5)
    seen.note(version, 1 << 7, right)  # another one was counted: 5 is as unknown as before
    assert not seen.has(version, range(5, 6), right)
    seen.note(version, 1 << 5, right)
    assert seen.has(version, SHARES, right)


def test_shares_that_were_not_counted_are_not_right() -> None:
    seen, version, right = Seen(), b"\0\0\0\1", sums(2)
    seen.note(version, 0b1110, right)
    assert seen.has(version, range(1, 4), right)
    assert not seen.has(version, range(4), right)
    assert not seen.has(version, range(3, 5), right)
    right[-1] ^= 1  # the version's own value is nobody's share
    assert seen.has(version, range(1, 4), right)


def test_very_many_versions_take_little_and_the_newest_are_known() -> None:
    """A set of sums took 2.1 MB, and 46 bytes for each: more than the whole store is to take."""
    seen = Seen()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1_000):
            seen.note(number.to_bytes(4, "big"), ALL, sums(3))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(seen) == 256
    assert taken < 400_000
    for number in range(1_000):
        assert seen.has(number.to_bytes(4, "big"), SHARES, sums(3)) is (number >= 744)
