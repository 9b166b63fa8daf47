"""Simulations agree with brute force, and the bounds hold for every policy tried against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import prefetch_bound
from harness.simulate import (
    POLICIES,
    Hits,
    belady_chunk,
    belady_document,
    capacity_rows,
    curves,
    document_bound,
    lru_chunk,
    lru_document,
)
from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import Operation, Trace
from harness.workload.zipf import scan_polluted, uniform, zipf

Step = tuple[int, int, int]
Rows = frozenset[int]
Policy = Callable[[Trace, int], Hits]


def make_trace(steps: list[Step], *, documents: int = 3, chunks: int = 3) -> Trace:
    columns = np.array(steps, np.int64).reshape(-1, 3)
    return Trace(
        name="made by hand",
        seed=0,
        documents=documents,
        chunks_per_document=chunks,
        row_bytes=4096,
        time_s=np.arange(len(steps), dtype=np.float64),
        document=columns[:, 0].astype(np.int32),
        chunk=columns[:, 1].astype(np.int32),
        operation=columns[:, 2].astype(np.uint8),
        visit=np.arange(len(steps), dtype=np.int32),
    )


def reads(*slots: int) -> Trace:
    return make_trace([(slot // 3, slot % 3, 0) for slot in slots])


def steps_of(length: int) -> st.SearchStrategy[list[Step]]:
    operation = st.sampled_from([0, 0, 0, 1])
    return st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), operation), max_size=length, min_size=1
    )


def subsets(rows: Rows, size: int) -> Iterator[Rows]:
    for count in range(min(size, len(rows)) + 1):
        yield from map(frozenset, combinations(sorted(rows), count))


def exhaustive(trace: Trace, capacity: int, *, prefetch: bool, on_write: bool = False) -> int:
    """The most hits of any policy, by trying every set of rows to keep after every access."""
    accesses = list(trace)
    current = [list(range(first, first + 3)) for first in range(0, 9, 3)]
    offered: list[Rows] = []
    for access in accesses:
        current[access.document][access.chunk] = access.key
        offered.append(frozenset(current[access.document]))

    @cache
    def best(place: int, resident: Rows) -> int:
        if place == len(accesses):
            return 0
        access = accesses[place]
        written = access.operation is Operation.WRITE
        hit = not written and access.key in resident
        whole = prefetch and (on_write if written else not hit)
        at_hand = resident | (offered[place] if whole else {access.key})
        return hit + max(best(place + 1, kept) for kept in subsets(at_hand, capacity))

    return best(0, frozenset())


def test_lru_by_hand() -> None:
    assert lru_chunk(reads(0, 3, 0, 6, 3, 0), 2) == Hits(
        reads=6, hits=1, visits=6, visits_with_miss=5
    )


def test_lru_per_document_by_hand() -> None:
    # 0 brings in 1 and 2; 3 brings in 4 and 5, and 2 and 0 leave: 1 was read last, so it stays
    assert lru_document(reads(0, 1, 3, 4, 1), 4) == Hits(
        reads=5, hits=3, visits=3, visits_with_miss=2, prefetched=4, prefetched_unread=2
    )


def test_belady_by_hand() -> None:
    trace = reads(0, 3, 6, 0, 3, 6, 0, 3, 6)
    assert lru_chunk(trace, 2).hits == 0
    assert belady_chunk(trace, 2).hits == 4


def test_a_written_row_is_hot_and_its_old_content_is_not_read_again() -> None:
    trace = make_trace([(0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 1, 0)])
    for policy in (lru_chunk, belady_chunk):
        assert policy(trace, 4).hits == 1
    for policy in (lru_document, belady_document, document_bound):
        assert policy(trace, 4).hits == 2


def test_visits_end_where_the_document_changes() -> None:
    result = lru_document(reads(0, 1, 2, 3, 4, 0, 1), 9)
    assert (result.visits, result.visits_with_miss, result.hits) == (3, 2, 5)
    assert result.misses_per_visit == pytest.approx(2 / 3)


@given(steps_of(9), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_belady_is_the_optimum_without_prefetch(steps: list[Step], capacity: int) -> None:
    trace = make_trace(steps)
    assert belady_chunk(trace, capacity).hits == exhaustive(trace, capacity, prefetch=False)


@given(steps_of(8), st.integers(1, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_prefetching_policy_beats_the_bound(
    steps: list[Step], capacity: int, on_write: bool
) -> None:
    trace = make_trace(steps)
    optimum = exhaustive(trace, capacity, prefetch=True, on_write=on_write)
    assert document_bound(trace, capacity).hits >= optimum
    if not on_write:
        assert belady_document(trace, capacity).hits <= optimum
        assert lru_document(trace, capacity).hits <= optimum


@given(steps_of(200), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_order_of_the_yardsticks(steps: list[Step], capacity: int) -> None:
    trace = make_trace(steps)
    bound = document_bound(trace, capacity).hits
    optimum = belady_chunk(trace, capacity).hits
    assert lru_chunk(trace, capacity).hits <= optimum <= bound
    assert max(lru_document(trace, capacity).hits, belady_document(trace, capacity).hits) <= bound
    assert belady_chunk(trace, capacity + 1).hits >= optimum


@given(steps_of(150), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_random_policies_stay_below_the_bound(steps: list[Step], capacity: int, seed: int) -> None:
    trace = make_trace(steps)
    rng = np.random.default_rng(seed)
    current = [list(range(first, first + 3)) for first in range(0, 9, 3)]
    resident: set[int] = set()
    hits = 0
    for access in trace:
        current[access.document][access.chunk] = access.key
        if access.operation is Operation.READ and access.key in resident:
            hits += 1
            continue
        resident.update(row for row in current[access.document] if rng.random() < 0.8)
        while len(resident) > capacity:
            resident.remove(int(rng.choice(sorted(resident))))
    assert hits <= document_bound(trace, capacity).hits


def test_the_bound_is_near_what_is_reached_on_the_gated_workload() -> None:
    trace = editing_session(1, EditingSession(reads=20_000))
    for capacity in (100, 488):
        reached = belady_document(trace, capacity).ratio
        bound = document_bound(trace, capacity).ratio
        assert reached is not None
        assert bound is not None
        assert 0 <= bound - reached < 0.015


def test_short_chains_only_loosen_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = uniform(3, documents=8, chunks_per_document=4, reads=2000)
    reached = belady_document(trace, 12).hits
    tight = document_bound(trace, 12).hits
    monkeypatch.setattr(prefetch_bound, "_CHAIN_MAX", 2)
    assert reached <= tight <= document_bound(trace, 12).hits


def test_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = editing_session(1, EditingSession(reads=5000))
    whole = document_bound(trace, 200).hits
    monkeypatch.setattr(prefetch_bound, "_BATCH_MAX", 1000)
    assert document_bound(trace, 200).hits == whole


@pytest.mark.parametrize("policy", [*POLICIES.values(), belady_document])
def test_everything_fits_leaves_only_what_no_one_can_avoid(policy: Policy) -> None:
    trace = zipf(1, documents=10, chunks_per_document=5, reads=3000)
    first = len(np.unique(trace.key if policy in (lru_chunk, belady_chunk) else trace.document))
    assert policy(trace, 50).misses == first


@pytest.mark.parametrize("policy", [*POLICIES.values(), belady_document])
def test_empty_traces_and_caches(policy: Policy) -> None:
    nothing = policy(make_trace([]), 4)
    assert (nothing.reads, nothing.ratio) == (0, None)
    only_writes = policy(make_trace([(0, 0, 1), (1, 1, 1)]), 4)
    assert (only_writes.reads, only_writes.ratio) == (0, None)
    with pytest.raises(ValueError, match="0 rows"):
        policy(reads(0), 0)


def test_a_document_larger_than_the_cache() -> None:
    trace = reads(0, 1, 2, 0, 1, 2)
    assert lru_document(trace, 2).hits <= belady_document(trace, 2).hits
    assert belady_document(trace, 2).hits <= document_bound(trace, 2).hits <= 5


def test_scans_hurt_lru_but_not_the_optimum() -> None:
    trace = scan_polluted(1, documents=20, chunks_per_document=5, scan_every=100, reads=2000)
    assert belady_chunk(trace, 20).hits > 1.5 * lru_chunk(trace, 20).hits


def test_curves_keep_names_and_order() -> None:
    trace = reads(0, 3, 0, 1)
    assert capacity_rows(trace, 2 * 10**6) == 488
    drawn = curves(trace, [1, 2, 9], POLICIES)
    assert list(drawn) == list(POLICIES)
    assert [result.hits for result in drawn["LRU per chunk"]] == [0, 1, 1]


def test_impossible_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2 reads"):
        Hits(reads=2, hits=3)
