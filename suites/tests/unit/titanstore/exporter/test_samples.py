"""Values that are exported are those that were seen."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from titanstore.exporter.samples import histogram
from titanstore.figures.latencies import BUCKETS, bound_ns, bucket_of


@given(st.lists(st.integers(0, 10**9), max_size=50))
def test_each_latency_is_below_the_bound_of_its_bucket(latencies: list[int]) -> None:
    counts = [0] * BUCKETS
    for latency in latencies:
        counts[bucket_of(latency)] += 1
    found = histogram(counts)
    for bound_s, count in found.below:
        limit_ns = bound_s * 1e9
        # the bounds are bounds of the finer buckets too, so nothing is on the wrong side
        assert count == sum(latency < round(limit_ns, 3) for latency in latencies)


@given(st.lists(st.integers(1_000, 10**9), min_size=1, max_size=50))
@example([1024])  # the first value of a bucket is off by exactly an eighth
def test_the_sum_is_right_within_an_eighth(latencies: list[int]) -> None:
    counts = [0] * BUCKETS
    for latency in latencies:
        counts[bucket_of(latency)] += 1
    rounding = 1e-12
    wanted = pytest.approx(sum(latencies) * 1e-9, rel=0.125 + rounding)
    assert histogram(counts).sum_s == wanted


def test_the_last_bound_is_infinity_and_bounds_double() -> None:
    bounds = [bound for bound, _ in histogram([0] * BUCKETS).below]
    assert math.isinf(bounds[-1])
    assert len(bounds) == BUCKETS // 4
    assert all(high == 2 * low for low, high in pairwise(bounds[:-1]))
    assert bounds[0] == bound_ns(3) * 1e-9


def test_a_call_longer_than_all_bounds_counts() -> None:
    counts = [0] * BUCKETS
    counts[-1] = 3
    found = histogram(counts)
    assert found.below[-1] == (math.inf, 3)
    assert found.below[-2][1] == 0
    assert found.sum_s > 3
