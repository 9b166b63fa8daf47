"""Timing loops. Nothing is allocated, logged or checked inside the timed part."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["batch_mean_s", "call_times_s", "timer_floor_s", "without_gc"]


def batch_mean_s(call: Callable[[str], Any], keys: Sequence[str]) -> float:
    """Seconds per call over one batch: the loop with the call minus the loop without it."""
    clock = time.perf_counter_ns
    begin = clock()
    for key in keys:
        call(key)
    middle = clock()
    for key in keys:  # noqa: B007  # the loop is what is measured
        pass
    end = clock()
    return max(0.0, (middle - begin) - (end - middle)) / len(keys) * 1e-9


def call_times_s(call: Callable[[Any], Any], arguments: Sequence[Any]) -> list[float]:
    """Seconds of each single call; the clock's own cost is in it (`timer_floor_s`)."""
    clock = time.perf_counter_ns
    times = [0] * len(arguments)
    for place, argument in enumerate(arguments):
        begin = clock()
        call(argument)
        times[place] = clock() - begin
    return [one * 1e-9 for one in times]


def timer_floor_s() -> float:
    """Median of the time between two readings of the clock with nothing in between."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(2_001):
        begin = clock()
        times.append(clock() - begin)
    return sorted(times)[1_000] * 1e-9


class without_gc:  # noqa: N801  # reads as a statement
    """Inside, the cyclic collector does not run: it belongs to no single call."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
