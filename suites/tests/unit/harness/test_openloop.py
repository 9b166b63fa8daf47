"""Risk: coordinated omission; a load that was not kept up with, and looks as if it was."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from harness.openloop import Load, offer


def load_of(ended: list[float], rate: float = 100.0) -> Load:
    due = np.arange(len(ended)) / rate
    return Load(rate=rate, due_s=due, ended_s=np.array(ended), late_s=np.zeros(len(ended)))


def test_every_argument_is_called_once_in_order_and_none_early() -> None:
    seen: list[int] = []
    load = offer(seen.append, range(40), 400.0)
    assert seen == list(range(40))
    assert load.due_s == pytest.approx(np.arange(40) / 400)
    assert (load.late_s >= 0).all()
    assert (load.latency_s >= load.late_s).all()


def test_a_stall_is_charged_to_all_who_waited_for_it() -> None:
    def call(place: int) -> None:
        if place == 5:
            time.sleep(0.1)

    load = offer(call, range(40), 200.0)
    latency = load.latency_s
    assert latency[5] >= 0.1
    # 14 more were due before it ended; each waited for the rest of it
    for place in range(6, 15):
        assert latency[place] >= 0.1 - (place - 5) / 200 - 1e-6


def test_calls_that_fail_or_come_too_late_are_dropped() -> None:
    def call(place: int) -> None:
        if place == 3:
            raise ValueError("no answer")

    load = offer(call, range(10), 500.0)
    assert load.dropped(5.0).tolist() == [place == 3 for place in range(10)]
    assert load_of([0.001, 0.5, 0.021]).dropped(0.1).tolist() == [False, True, False]


def test_a_block_reaches_the_rate_exactly_if_it_ended_before_the_next_was_due() -> None:
    kept_up = load_of([0.009, 0.019, 0.029, 0.0399])
    assert kept_up.block_rates(4)[0] > 100
    behind = load_of([0.009, 0.019, 0.029, 0.0401])
    assert behind.block_rates(4)[0] < 100
    both = load_of([0.001, 0.011, 0.021, 0.031, 0.041, 0.051, 0.061, 0.2])
    first, second = both.block_rates(4)
    assert first > 100 > second
    assert load_of([0.001, float("nan")]).block_rates(2) == [0.0]
    assert len(load_of([0.001] * 7).block_rates(2)) == 3  # the rest of a block is left out


def test_several_threads_share_the_calls() -> None:
    names: set[str] = set()
    lock = threading.Lock()

    def call(_place: int) -> None:
        with lock:
            names.add(threading.current_thread().name)
        time.sleep(0.02)

    load = offer(call, range(40), 100.0, threads=4)
    assert len(names) == 4
    assert not load.dropped(10.0).any()
    # one thread alone would need 0.8 s for calls that are all due within 0.4 s
    alone = offer(call, range(40), 100.0)
    assert alone.latency_s[-1] > 0.35
