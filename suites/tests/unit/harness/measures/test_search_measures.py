"""Risk: search, updates and versions are measured on something else than what they promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.measurement import Measurement
from harness.measures import queries, rollback, searching, throughput, updates
from harness.measures.base import Context
from harness.subjects.reference import ReferenceSubject
from suites.tests.unit.harness.measures.measured import assert_whole, by_id

pytestmark = pytest.mark.xdist_group("search measures")
MEASURES: dict[str, Callable[[Context], list[Measurement]]] = {
    "searching": searching.measure,
    "queries": queries.measure,
    "throughput": throughput.measure,
    "updates": updates.measure,
    "rollback": rollback.measure,
}


@pytest.fixture(scope="session")
def taken(shared_context: Context) -> dict[str, list[Measurement]]:
    """Every measure once; the tests only read."""
    return {name: measure(shared_context) for name, measure in MEASURES.items()}


@pytest.mark.parametrize("name", MEASURES)
def test_every_measurement_is_whole_and_says_what_it_belongs_to(
    taken: dict[str, list[Measurement]], shared_context: Context, name: str
) -> None:
    assert_whole(taken[name], shared_context)


def test_searches_are_compared_by_every_metric_and_way(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["searching"])
    assert found.keys() == {"quality.search-recorded", "quality.search-264"}
    for one in found.values():
        values = [value for process in one.processes for value in process.values]
        assert values == [0.0] * 60
        # three metrics, batches, and every query a second time
        assert one.context["searches"] == 60 * 7
        assert one.context["cosines_compared"] == 60
        assert one.context["first_mismatch"] == "none"
    assert found["quality.search-recorded"].evidence == "recorded"


class Forgetful(ReferenceSubject):
    """Finds nothing under keys that begin with a zero."""

    def search(self, query: Any, k: int = 10, metric: str = "cosine") -> Any:
        return [hit for hit in super().search(query, k, metric) if not hit[0].startswith("0")]


def test_a_search_that_leaves_one_out_is_counted_and_named(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = [one for one in searching.plan(context) if one.name == "quality.search-264"]
    job = dict(plan.tasks[0][1])
    monkeypatch.setattr(searching, "ReferenceSubject", Forgetful)
    answer = searching.sample(job)
    assert 0 < sum(answer["values"]) <= 60
    first = answer["facts"]["errors"][0]
    assert "as stored, cosine, query " in first
    assert "wanted ('0" in first


def test_every_debt_has_its_own_samples(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["queries"])
    assert len(found) == 2 * 3
    for path, count in (("flat", 30), ("lance", 20)):
        for debt in queries.DEBTS:
            one = found[f"query.latency-{path}-264-{debt}"]
            assert [len(process.values) for process in one.processes] == [count]
            assert one.population["updates"] == debt
            # each process compares the answers of one debt; here there is only one process
            assert one.context["answers_compared"] == (20 if debt == 600 else 0)
    flat = found["query.latency-flat-264-600"]
    assert flat.context["answers_as_the_oracle"] == 20
    assert [rival.subject for rival in flat.beside] == ["lancedb-flat", "numpy-float32"]
    assert flat.context["times_faster_than_lancedb-flat"] > 0
    assert flat.config_digest != found["query.latency-lance-264-600"].config_digest
    pools = [tuple(found[f"query.latency-flat-264-{d}"].processes[0].values) for d in (0, 100)]
    assert pools[0] != pools[1]


def test_times_of_stale_searches_do_not_count(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stale(ReferenceSubject):
        def search(self, query: Any, k: int = 10, metric: str = "cosine") -> Any:
            return [("gone", 0.0), *super().search(query, k - 1, metric)]

    population = context.populations["files-1024"]
    job = {
        "population": str(population.folder),
        "edits": str(context.edits[population.name]),
        "settings": dict(context.settings),
        "folder": str(context.work / "queries"),
        "debts": [0, 20],
        "queries": 5,
        "seed": 1,
        "first": 0,
    }
    queries.sample({**job, "kind": "prepare"})
    monkeypatch.setattr(queries, "ReferenceSubject", Stale)
    with pytest.raises(AssertionError, match="gone was found, and is no longer stored"):
        queries.sample({**job, "kind": "time"})


def test_a_load_says_what_was_offered_and_what_was_kept_up_with(
    taken: dict[str, list[Measurement]],
) -> None:
    found = by_id(taken["throughput"])
    rate, dropped = found["query.throughput-short"], found["query.dropped-short"]
    assert [len(process.values) for process in rate.processes] == [1]
    assert rate.population["rate"] == 100
    assert rate.population["seconds"] == 1.0
    assert 0 < rate.processes[0].values[0] < 102
    assert rate.context["latency_p50_s"] <= rate.context["latency_p99_s"]
    curve = rate.context["knee_curve"]
    assert [point[0] for point in curve] == [200.0 * 2**step for step in range(len(curve))]
    assert [len(process.values) for process in dropped.processes] == [100]


def test_an_update_is_timed_with_its_maintenance(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["updates"])
    lost = found.pop("update.lost")
    assert [sum(process.values) for process in lost.processes] == [0, 0, 0]
    assert all(len(process.values) == 264 for process in lost.processes)
    assert len(found) == 3
    for one in found.values():
        (process,) = one.processes
        assert len(process.values) == 80
        (maintenance,) = process.facts["maintenance_s"]
        assert process.values[updates.MAINTAIN_EVERY - 1] > maintenance > 0
        assert one.context["keys_lost"] == 0
        assert one.context["keys_compared"] == 264
        assert one.context["floor_p99_s"] > 0


def test_a_lost_update_is_found(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(ReferenceSubject):
        def update_document(self, document: str, chunks: Any) -> None:
            if document != "3.py":
                super().update_document(document, chunks)

    population = context.populations["files-1024"]
    job = {
        "population": str(population.folder),
        "edits": str(context.edits[population.name]),
        "source": str(context.stores[population.name]),
        "store": str(context.work / "updated"),
        "settings": dict(context.settings),
        "updates": 40,
        "kind": "time",
    }
    monkeypatch.setattr(updates, "ReferenceSubject", Careless)
    facts = updates.sample(job)["facts"]
    assert sum(facts["differs"]) == len(facts["first_lost"]) or len(facts["first_lost"]) == 5
    assert sum(facts["differs"]) > 0


def test_rollbacks_are_killed_at_every_step(taken: dict[str, list[Measurement]]) -> None:
    (one,) = taken["rollback"]
    assert sum(sum(process.values) for process in one.processes) == 0
    facts = one.context
    assert facts["write_calls"] > 10
    assert facts["kill_points"] == facts["write_calls"] + 2
    assert "fdatasync" in facts["calls"]
    assert facts["old_version_found"] > 0
    assert facts["new_version_found"] > 0
    assert facts["first_errors"] == []


def test_a_rollback_that_forgets_a_key_is_counted(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgets(ReferenceSubject):
        def rollback(self, version: int) -> None:
            super().rollback(version)
            self.delete([next(key for keys in self.documents().values() for key in keys)])

    (plan,) = rollback.plan(context)
    monkeypatch.setattr(rollback, "ReferenceSubject", Forgets)
    answer = rollback.sample(plan.tasks[0][1])
    assert sum(answer["values"]) > 0
    assert answer["facts"]["errors"]
