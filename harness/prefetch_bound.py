"""The most hits that prefetching a document's other chunks can give, as a proven bound.

Policies meant: rows come into the cache only by a miss or a write of their document, when any of
its chunks may come in, at once and for nothing; the rest is free: eviction, which siblings,
knowledge of the future. Bringing in a document before it is asked for is not covered.

Proof. Cut the trace into visits: maximal runs of accesses of one operation on one document.
A read visit is free (without a miss) only if all the rows it reads are resident when it begins,
since within it nothing comes in without a miss; so each of them has been resident ever since the
document's last visit with a miss or write. Take the free visits between two such visits of a
document: at every moment between, the rows of those still to come are held. At every moment all
documents together hold at most `capacity` rows, and every visit that is not free costs at least
one miss.

The fewest visits with a miss under these rules are bounded from below by Lagrange: whatever the
prices p(t) >= 0 of holding one row for moment t, they are at least
    sum over documents of the cheapest plan (visits with a miss + price of the rows held)
    - capacity * sum of p,
and a document's cheapest plan is a shortest path over its visits. Bad prices make the bound loose,
never false; they are improved by multiplicative subgradient steps. To keep paths short, a document
may also bring in what it likes for nothing after every `chain` visits: a gift to the policy, so
the bound stays one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.workload.trace import Operation, Trace

__all__ = ["fewest_misses", "run_starts"]

_CHAIN_MAX = 64
_TABLE_MAX = 10**7  # entries of all tables: they bound memory to about 200 MB
_BATCH_MAX = 10**6  # entries worked on at a time
_WORK_MAX = 3 * 10**8  # entries times steps: some seconds
_STEPS_MIN, _STEPS_MAX = 12, 120
_BLOCKS = 256  # moments that share a price


def run_starts(trace: Trace) -> NDArray[np.bool_]:
    """Where a maximal run of accesses of one operation on one document begins."""
    changed = np.ones(len(trace), np.bool_)
    same_document = trace.document[1:] == trace.document[:-1]
    changed[1:] = ~(same_document & (trace.operation[1:] == trace.operation[:-1]))
    return changed


def fewest_misses(trace: Trace, capacity: int) -> int:
    """No policy of the kind above has fewer misses on this trace with `capacity` >= 1 rows."""
    forced, segments, moments = _segments(trace, capacity)
    if not segments:
        return forced
    prices = _Prices(moments)
    scale = _typical_price(segments, capacity, moments)
    best, start = 0.0, scale
    for factor in 4.0 ** np.arange(-4, 2):
        prices.set_constant(scale * factor)
        value, _ = _dual(segments, prices, capacity)
        if value > best:
            best, start = value, scale * float(factor)
    prices.set_constant(start)
    work = sum(batch.rows_held.size for batch in segments)
    for step in range(max(_STEPS_MIN, min(_STEPS_MAX, _WORK_MAX // work))):
        value, load = _dual(segments, prices, capacity)
        best = max(best, value)
        prices.move(load / capacity - 1, rate=0.5 / np.sqrt(step + 1))
    # misses are whole; float64 sums of up to 10^7 terms err by far less than the margin
    return forced + int(np.ceil(best - 1e-6 * max(1.0, best)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Segments of one padded length: the read visits of a document between two free loads.

    Gap g lies before visit g (from 0) and covers the moments begins to ends - 1, padding none.
    `rows_held[s, g, e]` are the distinct rows that visits g to e read, 0 for e < g.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    rows_held: NDArray[np.int32]


class _Prices:
    """Price of one row for each moment, constant within blocks."""

    def __init__(self, moments: int) -> None:
        blocks = min(moments, _BLOCKS)
        self._edges = np.linspace(0, moments, blocks + 1).astype(np.int64)
        self._lengths = np.diff(self._edges)
        self.set_constant(0.0)

    def set_constant(self, price: float) -> None:
        self._price = np.full(len(self._lengths), price)
        self._sum()

    def move(self, excess: NDArray[np.float64], *, rate: float) -> None:
        """Raise prices where the capacity is exceeded, lower them where it is not used up."""
        mean = np.add.reduceat(excess, self._edges[:-1]) / self._lengths
        self._price = self._price * np.exp(rate * np.clip(mean, -1, 1))
        self._sum()

    def _sum(self) -> None:
        self.until = np.concatenate(([0.0], np.cumsum(np.repeat(self._price, self._lengths))))


def _typical_price(segments: list[_Batch], capacity: int, moments: int) -> float:
    """The constant price at which holding rows for one visit each about fills the cache."""
    areas = np.concatenate(
        [
            (np.diagonal(batch.rows_held, axis1=1, axis2=2) * (batch.ends - batch.begins)).ravel()
            for batch in segments
        ]
    )
    ordered = np.sort(areas[areas > 0])
    within = int(np.searchsorted(np.cumsum(ordered), capacity * moments))
    return 1.0 / float(ordered[min(within, len(ordered) - 1)])


def _dual(
    segments: list[_Batch], prices: _Prices, capacity: int
) -> tuple[float, NDArray[np.float64]]:
    """The bound at these prices, and the rows that the cheapest plans hold at each moment."""
    moments = len(prices.until) - 1
    value = -capacity * float(prices.until[-1])
    change = np.zeros(moments + 1)
    for batch in segments:
        cost, held = _cheapest(prices.until[batch.ends] - prices.until[batch.begins], batch)
        value += float(cost.sum())
        weights = held.ravel()
        change += np.bincount(batch.begins.ravel(), weights, minlength=moments + 1)
        change -= np.bincount(batch.ends.ravel(), weights, minlength=moments + 1)
    return value, np.cumsum(change)[:-1]


def _cheapest(
    gap_price: NDArray[np.float64], batch: _Batch
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each segment's shortest path, and the rows its plan holds in each gap.

    Node 0 is the load before the segment, node j a miss at visit j - 1. From node m, the visits
    m to e - 1 are free at the price of `holding[m, e]`.
    """
    count, visits = gap_price.shape
    each = gap_price[:, :, None] * batch.rows_held
    holding = np.zeros((count, visits + 1, visits + 1))
    holding[:, :visits, 1:] = np.cumsum(each[:, ::-1], axis=1)[:, ::-1]
    cost = np.zeros((count, visits + 1))
    came_from = np.zeros((count, visits + 1), np.int64)
    every = np.arange(count)
    for node in range(1, visits + 1):
        through = cost[:, :node] + holding[:, :node, node - 1]
        came_from[:, node] = np.argmin(through, axis=1)
        cost[:, node] = 1.0 + through[every, came_from[:, node]]
    through = cost + holding[:, :, visits]
    start = np.argmin(through, axis=1)
    total = through[every, start]
    held = np.zeros((count, visits))
    gaps = np.arange(visits)
    end = np.full(count, visits)  # visits start to end - 1 are free
    while True:
        inside = (gaps >= start[:, None]) & (gaps < end[:, None])
        rows = np.take_along_axis(batch.rows_held, np.maximum(end - 1, 0)[:, None, None], axis=2)
        held += np.where(inside, rows[:, :, 0], 0)
        if not start.any():
            return total, held
        # node 0 stays where it is, with nothing before it
        end = np.where(start > 0, start - 1, 0)
        start = came_from[every, start]


def _segments(trace: Trace, capacity: int) -> tuple[int, list[_Batch], int]:
    """Misses that no plan avoids, the segments by padded length, and the number of moments.

    A moment is the beginning of a visit. A read visit that is its document's first, or reads more
    rows than the cache holds, is a miss anyway and ends a segment like a write does.
    """
    starts = run_starts(trace)
    moment = np.cumsum(starts) - 1
    document = trace.document[starts]
    moments = len(document)
    if not moments:
        return 0, [], 0
    chunks = trace.chunks_per_document
    # inside a segment nothing is written, so a chunk is a row
    slots = np.unique(moment * chunks + trace.chunk)
    sizes = np.bincount(slots // chunks, minlength=moments)
    order = np.argsort(document, kind="stable")
    first = np.r_[True, document[order][1:] != document[order][:-1]]
    is_read = (trace.operation[starts] == Operation.READ)[order]
    loads = ~is_read | first | (sizes[order] > capacity)
    forced = int(np.count_nonzero(loads & is_read))
    places = np.arange(moments)
    since_load = places - np.maximum.accumulate(np.where(loads, places, 0))
    chain = _chain(moments)
    inside = np.flatnonzero(~loads)  # the visit before one of these is of the same document
    position = (since_load[inside] - 1) % chain
    segment = np.cumsum(position == 0) - 1
    if not len(inside):
        return forced, [], moments
    lengths = np.bincount(segment)
    rows = np.split(slots % chunks, np.cumsum(sizes)[:-1])
    found: list[_Batch] = []
    padded = 2 ** np.ceil(np.log2(lengths)).astype(np.int64)
    heads = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    for length in np.unique(padded).tolist():
        alike = np.flatnonzero(padded == length)
        for part in _parts(alike, max(1, _BATCH_MAX // (length * max(length, chunks)))):
            visits = [order[inside[heads[s] : heads[s] + lengths[s]]] for s in part]
            before = [order[inside[heads[s] : heads[s] + lengths[s]] - 1] for s in part]
            found.append(_batch(visits, before, rows, length, chunks))
    return forced, found, moments


def _chain(moments: int) -> int:
    """The longest segment that keeps all tables within bounds, a power of two."""
    affordable: int = max(1, _TABLE_MAX // moments)
    return min(_CHAIN_MAX, 1 << (affordable.bit_length() - 1))


def _parts(items: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _batch(
    visits: list[NDArray[np.int64]],
    before: list[NDArray[np.int64]],
    rows: list[NDArray[np.int64]],
    length: int,
    chunks: int,
) -> _Batch:
    begins = np.zeros((len(visits), length), np.int64)
    ends = np.zeros((len(visits), length), np.int64)
    reads = np.zeros((len(visits), length, chunks), np.bool_)
    for place, (these, earlier) in enumerate(zip(visits, before, strict=True)):
        begins[place, : len(these)] = earlier + 1
        ends[place, : len(these)] = these + 1
        for gap, visit in enumerate(these.tolist()):
            reads[place, gap, rows[visit]] = True
    held = np.zeros((len(visits), length, length), np.int32)
    for gap in range(length):
        together = np.logical_or.accumulate(reads[:, gap:], axis=1)
        held[:, gap, gap:] = np.count_nonzero(together, axis=2)
    return _Batch(begins=begins, ends=ends, rows_held=held)
