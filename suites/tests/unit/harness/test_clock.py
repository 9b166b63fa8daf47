"""Risk: the timing loop times something else than the calls."""

from __future__ import annotations

import gc
import time

import pytest

from harness import clock
from harness.clock import batch_mean_s, call_times_s, timer_floor_s, without_gc

KEYS = ["a", "b", "c"] * 20


class Ticks:
    """A clock that a test turns on: one call of `work` takes 1 000 ns."""

    def __init__(self) -> None:
        self.now = 0
        self.seen: list[str] = []

    def perf_counter_ns(self) -> int:
        return self.now

    def work(self, key: str) -> None:
        self.now += 1_000
        self.seen.append(key)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    found = Ticks()
    monkeypatch.setattr(clock, "time", found)
    return found


def test_the_mean_of_a_batch_is_per_call_in_seconds(ticks: Ticks) -> None:
    assert batch_mean_s(ticks.work, KEYS) == pytest.approx(1e-6, abs=0, rel=1e-12)
    assert ticks.seen == KEYS


def test_the_time_of_each_call_is_its_own(ticks: Ticks) -> None:
    def uneven(key: str) -> None:
        ticks.now += 5_000 if key == "b" else 1_000

    times = call_times_s(uneven, ["a", "b", "c"])
    assert times == pytest.approx([1e-6, 5e-6, 1e-6], abs=0, rel=1e-12)


def test_real_calls_take_at_least_as_long_as_they_sleep() -> None:
    assert batch_mean_s(lambda _: time.sleep(1e-3), KEYS[:5]) >= 1e-3
    assert min(call_times_s(lambda _: time.sleep(1e-3), KEYS[:5])) >= 1e-3


def test_an_error_of_a_call_comes_through() -> None:
    empty: dict[str, int] = {}
    with pytest.raises(KeyError):
        batch_mean_s(empty.__getitem__, KEYS)
    with pytest.raises(KeyError):
        call_times_s(empty.__getitem__, KEYS)


def test_the_floor_is_the_clock_s_own_time() -> None:
    assert 0 <= timer_floor_s() < 1e-3


def test_no_collection_happens_inside() -> None:
    was_on = gc.isenabled()
    try:
        gc.enable()
        with without_gc():
            assert not gc.isenabled()
        assert gc.isenabled()
        with pytest.raises(ValueError, match="inside"), without_gc():
            raise ValueError("inside")
        assert gc.isenabled()
    finally:
        if not was_on:
            gc.disable()
