"""The warm tier lives in what the hot tier leaves, and admits nothing stale."""

from __future__ import annotations

import tracemalloc

import hypothesis.strategies as st
import pytest
from hypothesis import given

from titanstore.metrics import Counters
from titanstore.tiers.warm import FRAME_OVERHEAD_BYTES, WarmTier


@pytest.mark.parametrize("policy", ["probation", "lru"])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["admit", "admit", "admit", "take", "invalidate", "limit"]),
            st.integers(0, 15),
            st.integers(0, 3_000),
        ),
        max_size=100,
    )
)
def test_never_beyond_what_is_left(policy: str, steps: list[tuple[str, int, int]]) -> None:
    limit = 3_000
    tier = WarmTier(lambda: limit, policy, Counters())
    content: dict[str, bytes] = {}
    for step, number, size in steps:
        key, frame = f"key {number}", bytes([number]) * size
        if step == "admit":
            if tier.admit(key, frame, tier.epoch, number):
                content[key] = frame
        elif step == "take":
            taken = tier.take(key)
            if taken is not None:
                assert (bytes(taken[0]), taken[1]) == (content.pop(key), number)
            assert tier.take(key) is None
        elif step == "invalidate":
            tier.invalidate([key])
            assert tier.take(key) is None
        else:
            limit = size
            tier.shrink()
        assert tier.nbytes <= max(limit, 0)
        assert tier.nbytes == sum(len(f) + FRAME_OVERHEAD_BYTES for f in tier._frames.values())
    tier.clear()
    assert (tier.nbytes, len(tier)) == (0, 0)


def test_a_frame_found_before_an_invalidation_is_refused() -> None:
    tier = WarmTier(lambda: 10_000, "probation", Counters())
    epoch = tier.epoch
    tier.invalidate(["other"])
    assert not tier.admit("key", b"old", epoch)
    assert tier.take("key") is None


def test_without_room_nothing_is_admitted() -> None:
    tier = WarmTier(lambda: FRAME_OVERHEAD_BYTES, "probation", Counters())
    assert not tier.has_room()
    assert not tier.admit("key", b"1", tier.epoch)


@pytest.mark.parametrize("policy", ["probation", "lru"])
def test_the_overhead_of_a_frame_is_what_it_takes(policy: str) -> None:
    count, size = 2_000, 1_000
    tier = WarmTier(lambda: 10_000_000, policy, Counters())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            tier.admit(f"{number:032x}", bytes(memoryview(bytes(size))), tier.epoch)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(tier) == count
    # reckoned a little high, never low
    assert 0.4 * FRAME_OVERHEAD_BYTES < grown / count - size <= FRAME_OVERHEAD_BYTES
