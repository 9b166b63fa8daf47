"""Risk: a total that falls, or that counts something twice: `rate()` would make a spike of it."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from titanstore.exporter.totals import _REMEMBERED_MAX, Totals
from titanstore.figures.latencies import BUCKETS
from titanstore.figures.layout import Figures


def figures(written: int, *, got: int = 0, names: Mapping[str, int] | None = None) -> Figures:
    counts = [0] * BUCKETS
    counts[7] = got
    return Figures(
        pid=1,
        namespace=1,
        opened_s=0.0,
        values={"written": written, **(names or {})},
        latencies={"put": counts},
        sampled={"put": 1},
    )


def test_what_was_there_before_counts_from_then_on_only() -> None:
    totals = Totals()
    totals.take({"old": figures(1000, got=90)})
    assert totals.counters()["written"] == 0
    totals.take({"old": figures(1007, got=92), "new": figures(5, got=1)})
    assert totals.counters()["written"] == 12
    assert totals.latencies()["put"][7] == 3


def test_a_process_that_ended_still_counts() -> None:
    totals = Totals()
    totals.take({})
    totals.take({"a": figures(10), "b": figures(3)})
    totals.take({"b": figures(4)})
    totals.take({})
    assert totals.counters()["written"] == 14


def test_a_process_whose_file_could_not_be_read_once_counts_once() -> None:
    totals = Totals()
    totals.take({"old": figures(100)})
    totals.take({})
    totals.take({"old": figures(101)})
    assert totals.counters()["written"] == 1


def test_every_counter_is_there_from_the_start_and_unknown_ones_are_not() -> None:
    totals = Totals()
    totals.take({})
    totals.take({"newer": figures(1, names={"of_a_later_release": 5})})
    assert "of_a_later_release" not in totals.counters()
    assert totals.counters()["searches"] == 0


def test_memory_does_not_grow_with_the_processes_that_came_and_went() -> None:
    totals = Totals()
    totals.take({})
    for number in range(2 * _REMEMBERED_MAX):
        totals.take({f"p{number}": figures(1)})
    assert len(totals._shares) <= _REMEMBERED_MAX + 1
    assert totals.counters()["written"] == 2 * _REMEMBERED_MAX


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)), max_size=20))
def test_totals_never_fall_whatever_the_files_hold(looks: list[dict[str, int]]) -> None:
    totals = Totals()
    before = 0
    for look in looks:
        totals.take({name: figures(value, got=value) for name, value in look.items()})
        now = totals.counters()["written"]
        assert now >= before
        before = now
