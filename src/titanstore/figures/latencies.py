"""Latencies in buckets of a fixed number: four to each doubling, so within a fifth. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

BUCKETS = 96
_FIRST_BITS = 8  # of the smallest latency told apart: 128 ns


def bucket_of(latency_ns: int) -> int:
    """Number of the bucket, 0 to BUCKETS - 1. All below 160 ns are in the first."""
    octave = latency_ns.bit_length() - _FIRST_BITS
    if octave < 0:
        return 0
    # the two bits below the highest one
    place = 4 * octave + (latency_ns >> (octave + _FIRST_BITS - 3) & 3)
    return place if place < BUCKETS else BUCKETS - 1


def bound_ns(bucket: int) -> float:
    """What every latency of a bucket is below; infinity for the last, which begins at 1.88 s."""
    if bucket >= BUCKETS - 1:
        return math.inf
    octave, quarter = divmod(bucket + 1, 4)
    return (4 + quarter) << (octave + _FIRST_BITS - 3)


def quantile_ns(counts: Sequence[int], share: float) -> float | None:
    """What `share` of the latencies are below, rounded up to a bound; None where there are none."""
    total = sum(counts)
    if total <= 0:
        return None
    wanted = math.ceil(share * total)
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return bound_ns(bucket)
    return math.inf
