"""Laws without locality: their frequencies are those of the law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.workload.trace import Trace
from harness.workload.zipf import scan_polluted, uniform, zipf


def frequencies(trace: Trace) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.sort(np.bincount(trace.key, minlength=trace.keys))[::-1]


@pytest.mark.parametrize("make", [zipf, uniform, scan_polluted])
def test_a_seed_names_one_trace(make: Callable[..., Trace]) -> None:
    first, again, other = (make(seed, reads=500) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest


def test_zipf_frequencies_fall_with_rank() -> None:
    counts = frequencies(zipf(5, s=1.0, reads=200_000))
    expected = 200_000 / np.sum(1 / np.arange(1, 2201))
    assert counts[0] == pytest.approx(expected, rel=0.05)
    assert counts[9] == pytest.approx(expected / 10, rel=0.1)


def test_zipf_zero_is_uniform() -> None:
    for trace in (zipf(5, s=0.0, reads=220_000), uniform(5, reads=220_000)):
        counts = frequencies(trace)
        assert np.var(counts) == pytest.approx(100, rel=0.15)  # as of independent draws


def test_popular_chunks_are_not_siblings() -> None:
    trace = zipf(5, s=1.2)
    popular = np.argsort(np.bincount(trace.key, minlength=trace.keys))[::-1][:22]
    assert len(set((popular // 22).tolist())) > 11


def test_scans_pass_over_everything_in_order() -> None:
    trace = scan_polluted(1, documents=3, chunks_per_document=4, scan_every=10, reads=25)
    assert len(trace) == 25 + 2 * 12
    for start in (10, 32):
        assert trace.key[start : start + 12].tolist() == list(range(12))


@pytest.mark.parametrize(
    "make",
    [
        lambda: zipf(1, s=-1.0),
        lambda: zipf(1, s=float("nan")),
        lambda: zipf(1, reads=0),
        lambda: uniform(1, documents=0),
        lambda: uniform(1, reads=10**9),
        lambda: scan_polluted(1, scan_every=0),
        lambda: scan_polluted(1, scan_every=1, documents=10**4),
    ],
)
def test_impossible_laws_are_refused(make: Callable[[], Trace]) -> None:
    with pytest.raises(ValueError):
        make()
