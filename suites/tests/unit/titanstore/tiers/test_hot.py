"""The hot tier keeps its budget, tells the truth about it, and admits nothing stale."""

from __future__ import annotations

import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from titanstore.metrics import Counters
from titanstore.tiers.hot import ROW_OVERHEAD_BYTES, HotTier
from titanstore.tiers.rows import RowPool


def make_row(tier: HotTier, dimension: int, value: float) -> NDArray[np.float32]:
    return tier.new_row(dimension, lambda out: out.fill(value))


@pytest.mark.parametrize("policy", ["probation", "lru"])
@given(
    bytes_max=st.sampled_from([0, 500, 2_000, 10_000]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "touch", "invalidate", "clear"]),
            st.integers(0, 15),
            st.sampled_from([1, 4, 100, 900]),
        ),
        max_size=100,
    ),
)
def test_never_beyond_its_budget(
    policy: str, bytes_max: int, steps: list[tuple[str, int, int]]
) -> None:
    counters = Counters()
    tier = HotTier(bytes_max, policy, counters)
    for step, number, dimension in steps:
        key = f"key {number}"
        if step == "admit":
            was = set(tier.keys())
            evicted = tier.admit(key, make_row(tier, dimension, number), tier.epoch)
            assert set(evicted) == was - set(tier.keys())
        elif step == "touch" and tier.lookup(key) is not None:
            tier.touch(key)
        elif step == "invalidate":
            tier.invalidate([key, "unknown"])
            assert tier.lookup(key) is None
        elif step == "clear":
            tier.clear()
            assert len(tier) == 0
        rows = [tier.lookup(key) for key in sorted(tier.keys())]
        assert tier.nbytes == sum(
            row.nbytes + ROW_OVERHEAD_BYTES for row in rows if row is not None
        )
        assert tier.nbytes <= bytes_max
    tier.clear()
    assert tier.nbytes == 0


def test_a_row_read_before_an_invalidation_is_refused() -> None:
    tier = HotTier(100_000, "probation", Counters())
    epoch = tier.epoch
    row = make_row(tier, 8, 1)
    tier.invalidate(["other"])
    assert tier.admit("key", row, epoch) == []
    assert tier.lookup("key") is None


def test_a_resident_row_is_not_replaced() -> None:
    tier = HotTier(100_000, "probation", Counters())
    row = make_row(tier, 8, 1)
    tier.admit("key", row, tier.epoch)
    tier.admit("key", make_row(tier, 8, 2), tier.epoch)
    assert tier.lookup("key") is row


@pytest.mark.parametrize("policy", ["probation", "lru"])
def test_eviction_counts_prefetched_rows_that_nobody_read(policy: str) -> None:
    counters = Counters()
    tier = HotTier(3 * (400 + ROW_OVERHEAD_BYTES), policy, counters)
    for number in range(3):
        tier.admit(f"key {number}", make_row(tier, 100, number), tier.epoch, prefetched=True)
    tier.touch("key 1")
    for number in range(3, 9):
        tier.admit(f"key {number}", make_row(tier, 100, number), tier.epoch)
    assert counters.hot_evictions == 6
    assert counters.prefetched_unread == 2


@pytest.mark.parametrize("count", [437, 1_300, 2_000])
@pytest.mark.parametrize("policy", ["probation", "lru"])
def test_the_overhead_of_a_row_is_what_it_takes(policy: str, count: int) -> None:
    """The heap grows by ROW_OVERHEAD_BYTES a row, within 15 %; the values lie beside it."""
    dimension = 1_024
    tier = HotTier(2 * count * (4 * dimension + ROW_OVERHEAD_BYTES), policy, Counters())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            # a key of 32 characters made afresh, as a caller's is
            key = f"{number:032x}"
            tier.admit(key, make_row(tier, dimension, number), tier.epoch)
            tier.touch(key)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(tier) == count
    assert grown / count == pytest.approx(ROW_OVERHEAD_BYTES, rel=0.15)


def test_rows_that_nobody_holds_come_from_the_pool_again() -> None:
    counters = Counters()
    tier = HotTier(2_000_000, "probation", counters)
    for number in range(3_000):
        tier.admit(f"key {number}", make_row(tier, 1_024, number), tier.epoch)
    assert counters.rows_beside_pool == 0
    assert isinstance(tier._pool, RowPool)
    assert tier._pool.nbytes <= 2_000_000
