"""What every tier in memory promises: its budget, no stale value, nothing lost but by eviction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from titanstore.metrics import Counters
from titanstore.tiers.hot import ROW_OVERHEAD_BYTES, HotTier
from titanstore.tiers.warm import FRAME_OVERHEAD_BYTES, WarmTier


class Tier(Protocol):
    """A tier behind one face: values are numbers, told by every byte that is kept."""

    overhead: int

    @property
    def tier(self) -> HotTier | WarmTier: ...

    def admit(self, key: str, value: int, size: int, epoch: int) -> None: ...

    def read(self, key: str) -> int | None: ...


class Hot:
    overhead = ROW_OVERHEAD_BYTES

    def __init__(self, bytes_max: int, policy: str) -> None:
        self.tier = HotTier(bytes_max, policy, Counters())

    def admit(self, key: str, value: int, size: int, epoch: int) -> None:
        row = self.tier.new_row(size // 4, lambda out: out.fill(value))
        self.tier.admit(key, row, epoch)

    def read(self, key: str) -> int | None:
        row = self.tier.lookup(key)
        if row is None:
            return None
        self.tier.touch(key)
        assert (row == row[0]).all()
        return int(row[0])


class Warm:
    overhead = FRAME_OVERHEAD_BYTES + 4

    def __init__(self, bytes_max: int, policy: str) -> None:
        self.tier = WarmTier(lambda: bytes_max, policy, Counters())

    def admit(self, key: str, value: int, size: int, epoch: int) -> None:
        self.tier.admit(key, bytes([value]) * size, epoch, value)

    def read(self, key: str) -> int | None:
        taken = self.tier.take(key)
        if taken is None:
            return None
        frame, document = taken
        assert set(frame) == {document}
        epoch = self.tier.epoch
        self.tier.admit(key, frame, epoch, document)  # reading is a move: put it back
        return document


TIERS: tuple[Callable[[int, str], Tier], ...] = (Hot, Warm)
every_tier = pytest.mark.parametrize("make", TIERS)
every_policy = pytest.mark.parametrize("policy", ["probation", "lru"])
keys = st.integers(0, 12).map("key {}".format)
steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "read", "read", "invalidate", "clear", "late"]),
        keys,
        st.integers(0, 200),
        st.sampled_from([4, 40, 400, 4_000]),
    ),
    max_size=80,
)


@every_tier
@every_policy
@given(steps=steps, bytes_max=st.sampled_from([0, 1_000, 3_000, 9_000]))
def test_what_is_read_is_what_was_admitted_last(
    make: Callable[[int, str], Tier],
    policy: str,
    steps: list[tuple[str, str, int, int]],
    bytes_max: int,
) -> None:
    tier = make(bytes_max, policy)
    current: dict[str, int] = {}
    for step, key, value, size in steps:
        if step == "admit":
            epoch = tier.tier.epoch
            if key in current and tier.read(key) is not None:
                continue  # resident: only an invalidation changes a value
            current[key] = value
            tier.admit(key, value, size, epoch)
            fits = size + tier.overhead <= bytes_max
            assert tier.read(key) == (value if fits else None)
        elif step == "late":
            epoch = tier.tier.epoch
            tier.tier.invalidate([key])
            current.pop(key, None)
            tier.admit(key, value, size, epoch)
            assert tier.read(key) is None
        elif step == "invalidate":
            tier.tier.invalidate([key])
            current.pop(key, None)
        elif step == "clear":
            tier.tier.clear()
            current.clear()
            assert (len(tier.tier), tier.tier.nbytes) == (0, 0)
        seen = tier.read(key)
        assert seen is None or seen == current[key]
        assert tier.tier.nbytes <= bytes_max
        assert len(tier.tier) <= len(current)


@every_tier
@every_policy
def test_a_tier_with_room_keeps_everything(make: Callable[[int, str], Tier], policy: str) -> None:
    tier = make(200 * (400 + 1_000), policy)
    for number in range(200):
        tier.admit(f"key {number}", number, 400, tier.tier.epoch)
    assert [tier.read(f"key {number}") for number in range(200)] == list(range(200))


@every_tier
@every_policy
def test_threads_that_admit_read_and_invalidate(
    make: Callable[[int, str], Tier], policy: str
) -> None:
    """A key's value is a function of the key, so a mixture or a wrong row would show."""
    tier = make(20_000, policy)
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for turn in range(1_500):
                number = int(rng.integers(0, 60))
                key = f"key {number}"
                seen = tier.read(key)
                assert seen in (None, number)
                if seen is None:
                    tier.admit(key, number, 4 * (1 + number), tier.tier.epoch)
                if turn % 50 == seed:
                    tier.tier.invalidate([key])
                if turn % 400 == seed:
                    tier.tier.clear()
                assert tier.tier.nbytes <= 20_000
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    tier.tier.clear()
    assert tier.tier.nbytes == 0
