"""What caches could reach on a trace: pure simulations and proven bounds on hits.

Capacity is in rows (decoded vectors). Only reads are counted; a write hands its row to the cache
for nothing. Every cache starts empty. Four yardsticks:

- `lru_chunk`: least recently used, each row for itself.
- `belady_chunk`: the optimum of every policy without prefetch, a proven bound.
- `lru_document`: least recently used, and a miss brings the document's other chunks in at once.
- `document_bound`: a proven bound for every policy whose misses bring siblings in, however clever;
  `belady_document` is a policy that reaches what it can knowing the future. The truth about
  prefetch lies between those two.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.prefetch_bound import fewest_misses, run_starts
from harness.workload.trace import Operation, Trace

__all__ = [
    "POLICIES",
    "Hits",
    "belady_chunk",
    "belady_document",
    "capacity_rows",
    "curves",
    "document_bound",
    "lru_chunk",
    "lru_document",
]

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Outcome of one simulation, in numbers of reads and rows.

    `visits` are maximal runs of reads of one document, ended by any other access; a visit with a
    miss is one in which at least one read missed. `prefetched` rows were brought in unasked, and
    `prefetched_unread` of them left, or stayed to the end, without being read. What was not
    counted is None: a bound describes no single run of a cache.
    """

    reads: int
    hits: int
    visits: int | None = None
    visits_with_miss: int | None = None
    prefetched: int | None = None
    prefetched_unread: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.reads:
            raise ValueError(f"{self.hits} hits of {self.reads} reads")

    @property
    def misses(self) -> int:
        return self.reads - self.hits

    @property
    def ratio(self) -> float | None:
        """Hits over reads; None when nothing was read."""
        return self.hits / self.reads if self.reads else None

    @property
    def misses_per_visit(self) -> float | None:
        """Misses over document visits; None where visits were not counted."""
        return self.misses / self.visits if self.visits else None


def capacity_rows(trace: Trace, capacity_bytes: int) -> int:
    """Whole rows of the trace that fit into a tier of so many bytes."""
    return capacity_bytes // trace.row_bytes


def lru_chunk(trace: Trace, capacity: int) -> Hits:
    """Least recently used, without prefetch. O(1) an access, about 0.3 us."""
    _check(capacity)
    cache: OrderedDict[int, None] = OrderedDict()
    outcome = _Outcome(trace)
    for key, written in zip(trace.key.tolist(), trace.operation.tolist(), strict=True):
        if key in cache:
            cache.move_to_end(key)
            outcome.record(True)
            continue
        outcome.record(bool(written))
        cache[key] = None
        if len(cache) > capacity:
            cache.popitem(last=False)
    return outcome.finish()


def lru_document(trace: Trace, capacity: int) -> Hits:
    """Least recently used; a read that misses brings in all chunks of its document at once.

    Siblings that are not in the cache enter it just before the wanted row, in order; those that
    are keep their place. Of a document larger than the cache, the siblings that fit come in.
    """
    _check(capacity)
    cache: OrderedDict[int, bool] = OrderedDict()  # value: brought in unasked and not yet read
    outcome = _Outcome(trace)
    current = _Current(trace)
    prefetched = unread = 0
    for key, document, chunk, written in _accesses(trace):
        if written:
            current.write(document, chunk, key)
            cache[key] = False
            outcome.record(True)
        elif key in cache:
            cache[key] = False
            cache.move_to_end(key)
            outcome.record(True)
        else:
            outcome.record(False)
            absent = [row for row in current.rows(document) if row not in cache and row != key]
            for row in absent[: capacity - 1]:
                cache[row] = True
                prefetched += 1
            cache[key] = False
        while len(cache) > capacity:
            unread += cache.popitem(last=False)[1]
    unread += sum(cache.values())
    return outcome.finish(prefetched=prefetched, prefetched_unread=unread)


def belady_chunk(trace: Trace, capacity: int) -> Hits:
    """The most hits of any policy that brings in only the row just read or written.

    Notes
    -----
    Belady's MIN with bypass: of the rows at hand, keep those read soonest. Between two reads of a
    row it is either kept throughout, which earns one hit, or not: so the question is the largest
    set of intervals of which at most `capacity` overlap, and dropping the one that ends last is
    optimal (Carlisle and Lloyd, 1995). O(log capacity) an access.
    """
    _check(capacity)
    cache = _Soonest(capacity)
    outcome = _Outcome(trace)
    following = _next_reads(trace).tolist()
    columns = zip(trace.key.tolist(), trace.operation.tolist(), following, strict=True)
    for key, written, upcoming in columns:
        outcome.record(key in cache.kept or bool(written))
        cache.keep(key, upcoming)
    return outcome.finish()


def belady_document(trace: Trace, capacity: int) -> Hits:
    """A policy with prefetch that knows the future: what can certainly be reached.

    A miss offers all current rows of its document to a cache that keeps the rows read soonest.
    Not optimal (a row kept alone may save no miss), so it bounds nothing from above.
    """
    _check(capacity)
    cache = _Soonest(capacity)
    outcome = _Outcome(trace)
    current = _Current(trace)
    following = _next_reads(trace)
    reads_of = _reads_by_key(trace)
    places = zip(_accesses(trace), following.tolist(), strict=True)
    for place, ((key, document, chunk, written), upcoming) in enumerate(places):
        if written:
            current.write(document, chunk, key)
        hit = key in cache.kept or bool(written)
        outcome.record(hit)
        cache.keep(key, upcoming)
        if hit:
            continue
        for row in current.rows(document):
            if row != key and row not in cache.kept:
                coming = reads_of.get(row, ())
                after = np.searchsorted(coming, place)
                cache.keep(row, int(coming[after]) if after < len(coming) else NEVER)
    return outcome.finish()


def document_bound(trace: Trace, capacity: int) -> Hits:
    """No policy has more hits whose rows come in only by a miss or write of their document.

    Proof, and how the bound is computed, in `harness.prefetch_bound`. Takes some seconds on a
    trace of 10^5 accesses whose visits are single reads, less where documents are read whole.
    """
    _check(capacity)
    return Hits(reads=trace.reads, hits=trace.reads - fewest_misses(trace, capacity))


POLICIES: Mapping[str, Callable[[Trace, int], Hits]] = {
    "LRU per chunk": lru_chunk,
    "Belady per chunk": belady_chunk,
    "LRU per document": lru_document,
    "Belady per document": document_bound,
}


def curves(
    trace: Trace, capacities: Sequence[int], policies: Mapping[str, Callable[[Trace, int], Hits]]
) -> dict[str, list[Hits]]:
    """Each policy's outcome at each capacity in rows, in the order given."""
    return {name: [run(trace, rows) for rows in capacities] for name, run in policies.items()}


def _check(capacity: int) -> None:
    if capacity < 1:
        raise ValueError(f"a cache of {capacity} rows, at least 1 wanted")


def _accesses(trace: Trace) -> zip[tuple[int, int, int, int]]:
    columns = (trace.key, trace.document, trace.chunk, trace.operation)
    return zip(*(column.tolist() for column in columns), strict=True)


class _Current:
    """The newest key of every chunk of the documents that were written to."""

    def __init__(self, trace: Trace) -> None:
        self._chunks = trace.chunks_per_document
        self._changed: dict[int, list[int]] = {}

    def rows(self, document: int) -> Sequence[int]:
        first = document * self._chunks
        return self._changed.get(document) or range(first, first + self._chunks)

    def write(self, document: int, chunk: int, key: int) -> None:
        self._changed.setdefault(document, list(self.rows(document)))[chunk] = key


class _Outcome:
    """Counts hits, and misses by document visit, in the order of the trace."""

    def __init__(self, trace: Trace) -> None:
        self._is_read = trace.operation == Operation.READ
        self._visit = np.cumsum(run_starts(trace))
        self._hit: list[bool] = []
        self.record = self._hit.append

    def finish(
        self, *, prefetched: int | None = None, prefetched_unread: int | None = None
    ) -> Hits:
        hit = np.array(self._hit, np.bool_)
        visits = self._visit[self._is_read]
        return Hits(
            reads=len(visits),
            hits=int(np.count_nonzero(hit & self._is_read)),
            visits=len(np.unique(visits)),
            visits_with_miss=len(np.unique(self._visit[self._is_read & ~hit])),
            prefetched=prefetched,
            prefetched_unread=prefetched_unread,
        )


class _Soonest:
    """At most `capacity` rows: of all that were offered, those whose next read comes first."""

    def __init__(self, capacity: int) -> None:
        self.kept: dict[int, int] = {}
        self._capacity = capacity
        self._last_first: list[tuple[int, int]] = []

    def keep(self, key: int, upcoming: int) -> None:
        """Offer a row, or tell that one in the cache is read again at `upcoming`."""
        self.kept.pop(key, None)
        if upcoming == NEVER:
            return
        self.kept[key] = upcoming
        heapq.heappush(self._last_first, (-upcoming, key))
        while len(self.kept) > self._capacity:
            farthest, victim = heapq.heappop(self._last_first)
            if self.kept.get(victim) == -farthest:  # else an entry that the row has outlived
                del self.kept[victim]


def _next_reads(trace: Trace) -> NDArray[np.int64]:
    """For each access, the place of the next read of its key, or NEVER."""
    order = np.argsort(trace.key, kind="stable")
    keys = trace.key[order]
    following = np.full(len(trace), NEVER)
    # a key is written once, before its first read, so whatever follows in its group is a read
    same = np.flatnonzero(keys[1:] == keys[:-1])
    following[order[same]] = order[same + 1]
    return following


def _reads_by_key(trace: Trace) -> dict[int, NDArray[np.int64]]:
    places = np.flatnonzero(trace.operation == Operation.READ)
    order = places[np.argsort(trace.key[places], kind="stable")]
    if not len(order):
        return {}
    keys, starts = np.unique(trace.key[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(order, starts[1:]), strict=True))
