"""A latency is in one bucket, whose bound is above it by less than a quarter."""

from __future__ import annotations

import math

import hypothesis.strategies as st
from hypothesis import given

from titanstore.figures.latencies import BUCKETS, bound_ns, bucket_of, quantile_ns

LAST = BUCKETS - 1


@given(st.integers(0, 2**63))
def test_a_bucket_holds_what_is_below_its_bound(latency_ns: int) -> None:
    bucket = bucket_of(latency_ns)
    assert latency_ns < bound_ns(bucket)
    if bucket:
        assert latency_ns >= bound_ns(bucket - 1)
    if 0 < bucket < LAST:
        assert bound_ns(bucket) <= 1.25 * bound_ns(bucket - 1)


def test_bounds_grow_and_end_where_the_docs_say() -> None:
    bounds = [bound_ns(bucket) for bucket in range(BUCKETS)]
    assert bounds == sorted(set(bounds))
    assert (bounds[0], bounds[-1]) == (160, math.inf)
    assert round(bounds[-2] * 1e-9, 2) == 1.88


@given(st.lists(st.integers(0, 2**30), min_size=1), st.sampled_from([0.5, 0.99, 1.0]))
def test_a_quantile_is_the_bound_above_the_true_one(values: list[int], share: float) -> None:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    true = sorted(values)[math.ceil(share * len(values)) - 1]
    assert quantile_ns(counts, share) == bound_ns(bucket_of(true))


def test_no_latencies_have_no_quantile() -> None:
    assert quantile_ns([0] * BUCKETS, 0.5) is None
