"""Probation and LRU evict what their definitions say, whatever the order of calls."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given

from titanstore.tiers.policy import LruPolicy, Policy, ProbationPolicy, Victim, make_policy


class ReferenceLru:
    """A list from least to most recently used."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.unread: set[str] = set()

    def touch(self, key: str) -> None:
        self.order.remove(key)
        self.order.append(key)
        self.unread.discard(key)

    def admit(self, key: str, *, prefetched: bool) -> None:
        self.order.append(key)
        if prefetched:
            self.unread.add(key)

    def victim(self) -> Victim:
        key = self.order[0]
        was_read = key not in self.unread
        self.remove(key)
        return Victim(key, was_read)

    def remove(self, key: str) -> None:
        self.order.remove(key)
        self.unread.discard(key)


class ReferenceProbation:
    """Two plain lists, oldest first, and a set of marks."""

    def __init__(self) -> None:
        self.probation: list[str] = []
        self.main: list[str] = []
        self.marked: set[str] = set()

    def touch(self, key: str) -> None:
        self.marked.add(key)

    def admit(self, key: str, *, prefetched: bool) -> None:
        (self.probation if prefetched else self.main).append(key)

    def victim(self) -> Victim:
        total = len(self.probation) + len(self.main)
        while True:
            queue = self.probation if len(self.probation) > 0.3 * total else self.main
            if not self.main:
                queue = self.probation
            key = queue.pop(0)
            if key in self.marked:
                self.marked.remove(key)
                self.main.append(key)
            else:
                return Victim(key, queue is self.main)

    def remove(self, key: str) -> None:
        for queue in (self.probation, self.main):
            if key in queue:
                queue.remove(key)
        self.marked.discard(key)


class Driver:
    """Feeds the same calls to a policy and its reference."""

    def __init__(self, policy: Policy, reference: ReferenceLru | ReferenceProbation) -> None:
        self.policy = policy
        self.reference = reference
        self.resident: list[str] = []
        self.count = 0

    def admit(self, choice: int) -> None:
        self.count += 1
        # keys come back after they left
        key = f"key {self.count % 97}"
        if key in self.resident:
            return
        self.resident.append(key)
        self.policy.admit(key, prefetched=choice % 3 == 0)
        self.reference.admit(key, prefetched=choice % 3 == 0)

    def touch(self, choice: int) -> None:
        if self.resident:
            key = self.resident[choice % len(self.resident)]
            self.policy.touch(key)
            self.reference.touch(key)

    def evict(self, _: int) -> None:
        if self.resident:
            seen, wanted = self.policy.victim(), self.reference.victim()
            assert seen == wanted
            self.resident.remove(seen.key)

    def remove(self, choice: int) -> None:
        if self.resident:
            key = self.resident.pop(choice % len(self.resident))
            self.policy.remove(key)
            self.reference.remove(key)


calls = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "touch", "touch", "evict", "remove"]),
        st.integers(0, 10_000),
    ),
    max_size=400,
)


@pytest.mark.parametrize(
    ("make", "reference"), [(LruPolicy, ReferenceLru), (ProbationPolicy, ReferenceProbation)]
)
@given(calls=calls)
def test_evicts_as_defined(
    make: Callable[[], Policy],
    reference: Callable[[], ReferenceLru | ReferenceProbation],
    calls: list[tuple[str, int]],
) -> None:
    driver = Driver(make(), reference())
    for name, choice in calls:
        getattr(driver, name)(choice)
    while driver.resident:
        driver.evict(0)
    with pytest.raises(IndexError):
        driver.policy.victim()


@pytest.mark.parametrize("name", ["probation", "lru"])
def test_bookkeeping_does_not_grow_with_evictions(name: str) -> None:
    policy = make_policy(name)
    for turn in range(20_000):
        policy.admit(f"key {turn}", prefetched=turn % 2 == 0)
        if turn >= 50:
            policy.touch(f"key {turn - 10}")
            gone = policy.victim().key
            policy.touch(gone)  # a hit that raced with the eviction
    sizes = [len(part) for part in vars(policy).values() if hasattr(part, "__len__")]
    assert max(sizes) < 250


@pytest.mark.parametrize("name", ["probation", "lru"])
def test_a_hit_or_removal_of_a_key_that_is_gone_is_ignored(name: str) -> None:
    policy = make_policy(name)
    policy.admit("here")
    policy.touch("gone")
    policy.remove("gone")
    assert policy.victim() == Victim("here", True)
    with pytest.raises(IndexError, match="resident"):
        policy.victim()


def test_unread_siblings_push_out_each_other_and_not_what_is_in_use() -> None:
    probation, lru = ProbationPolicy(), LruPolicy()
    left = {}
    for name, policy in (("probation", probation), ("lru", lru)):
        for key in ("in use 1", "in use 2", "in use 3", "in use 4"):
            policy.admit(key)
        for turn in range(6):  # scattered reads, each of which brings in one sibling
            policy.admit(f"sibling {turn}", prefetched=True)
        left[name] = {policy.victim().key for _ in range(6)}
    assert left["probation"] >= {f"sibling {turn}" for turn in range(4)}
    assert left["lru"] >= {"in use 1", "in use 2", "in use 3", "in use 4"}


def test_a_second_chance_for_what_was_read() -> None:
    policy = ProbationPolicy()
    for key in "abc":
        policy.admit(key)
    policy.touch("a")
    assert [policy.victim().key for _ in range(3)] == ["b", "c", "a"]


@pytest.mark.parametrize("name", ["probation", "lru"])
def test_only_a_prefetched_key_can_leave_unread(name: str) -> None:
    policy = make_policy(name)
    policy.admit("asked for")
    policy.admit("brought in", prefetched=True)
    policy.admit("brought in and read", prefetched=True)
    policy.touch("brought in and read")
    unread = {victim.key for _ in range(3) if not (victim := policy.victim()).was_read}
    assert unread == {"brought in"}
