"""Risk: a measure gives numbers of something else than it says."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.measurement import Measurement
from harness.measures import disk, hits, hot, quality, saving, searching, sharing
from harness.measures.base import SIZES, Context
from harness.subjects.reference import ReferenceSubject, effective_config, effective_settings
from suites.tests.unit.harness.measures.measured import (
    MEASURES,
    assert_whole,
    by_id,
    treated,
    usual,
)

pytestmark = pytest.mark.xdist_group("measures")


def pooled(context: Context) -> Context:
    """With a hot tier of the usual size that processes share."""
    usual_settings, _ = effective_config(None)
    settings, _ = effective_settings(usual_settings, shared_pool=True)
    return replace(context, settings=settings)


SETTINGS: dict[str, Callable[[Context], Context]] = {"hot": usual, "sharing": pooled}


@pytest.fixture(scope="session")
def taken(shared_context: Context) -> dict[str, list[Measurement]]:
    """Every measure once; the tests only read."""
    return {
        name: measure(SETTINGS[name](shared_context) if name in SETTINGS else shared_context)
        for name, measure in MEASURES.items()
    }


@pytest.mark.parametrize("name", MEASURES)
def test_every_measurement_is_whole_and_says_what_it_belongs_to(
    taken: dict[str, list[Measurement]], shared_context: Context, name: str
) -> None:
    assert_whole(taken[name], shared_context)


def test_hot_takes_one_sample_a_batch(taken: dict[str, list[Measurement]]) -> None:
    (one,) = taken["hot"]
    assert [len(process.values) for process in one.processes] == [40]
    # on a busy machine the loop without gets may take longer than the one with: 0, never less
    assert all(0 <= value < math.inf for process in one.processes for value in process.values)
    assert [rival.subject for rival in one.beside] == ["current"]
    assert one.context["single_call"]["p50"] <= one.context["single_call"]["max"]


def test_disk_leaves_out_what_the_hot_tier_served(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["disk"])
    warm = found["latency.disk-files-1024"]
    for process in warm.processes:
        # those that the machine interrupted are among both
        assert process.facts["not_hot"] + process.facts["hot"] == pytest.approx(300, abs=15)
        assert len(process.values) == process.facts["not_hot"] > 100
        assert min(process.values) > 1e-6
    assert warm.population["page cache"] == "warm"


def test_a_cold_read_never_follows_one_of_its_document(
    taken: dict[str, list[Measurement]], context: Context
) -> None:
    cold = by_id(taken["disk"])["latency.disk-cold-files-1024"]
    assert [len(process.values) for process in cold.processes] == [12]
    more = replace(context, sizes=replace(context.sizes, cold_gets=500))
    again = by_id(disk.measure(more))["latency.disk-cold-files-1024"]
    assert [len(process.values) for process in again.processes] == [12]


def test_hits_are_zero_or_one_and_within_the_bound(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["hits"])
    one = found["hit_ratio.hot-editing"]
    assert [process.block for process in one.processes] == [22]
    values = [value for process in one.processes for value in process.values]
    assert set(values) <= {0.0, 1.0}
    assert len(values) >= 200
    assert one.bound is not None
    assert np.mean(values) <= one.bound.value
    assert 0 < np.mean(values) < 1
    assert one.context["ours"]["hit_ratio"] == pytest.approx(np.mean(values))


def test_a_history_is_replayed_where_one_is_given(context: Context) -> None:
    root = context.work / "repository"
    root.mkdir()
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        (root / "a.py").write_text("a = 1")
        (root / "b.py").write_text("b = 2")
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True)
    small = replace(context, sizes=replace(context.sizes, trace_reads=50), git=root)
    one = by_id(hits.measure(small))["hit_ratio.hot-git"]
    assert one.failure == ""
    assert one.population["reads"] == len(one.processes[0].values)


def test_hits_of_a_larger_tier_than_promised_do_not_count(context: Context) -> None:
    larger = replace(context, settings={**context.settings, "hot_bytes_max": 2_000_001})
    for one in hits.measure(larger):
        assert one.processes == ()
        assert "a hot tier of 2000001 bytes" in one.failure


def test_memory_is_compared_with_as_many_controls(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["memory"])
    assert {one.id.partition("-")[0] for one in found.values()} == {
        "memory.steady",
        "memory.clean",
        "memory.engine",
    }
    for one in [found["memory.steady-files-1024"]]:
        assert one.context["searches_done"] > 0
        # what only the store loads would be counted as the store's memory
        assert one.context["modules_beyond_the_control"] == "none"
        assert [process.control for process in one.processes] == [False, True]
        assert all(process.values[0] > 1_000_000 for process in one.processes)
        pages = one.context["by_page_type"]
        assert set(pages) == {"treatment", "control"}
        counted = sum(pages["treatment"].values()) - pages["treatment"]["clean file pages"]
        mean = np.mean([process.values[0] for process in treated(one)])
        assert counted == pytest.approx(mean)
        assert any(name.startswith("titanstore") for name in one.context["by_module"])
        rival = one.beside[0]
        assert {process.control for process in rival.processes} == {False, True}


def test_shared_readers_copy_nothing_and_leave_nothing(
    taken: dict[str, list[Measurement]],
) -> None:
    (one,) = taken["sharing"]
    readers = [process.facts["readers"] for process in one.processes if "readers" in process.facts]
    assert readers == [1, 2, 2, *[4] * 4, *[8] * 8]
    assert all(set(process.values) == {0.0} for process in one.processes)
    assert len(one.processes[0].values) == one.population["rows of the hot set"]
    pages = one.context["shared_pages_of_all_readers"]
    assert 0 < pages["8"] <= 1.1 * pages["1"]
    assert one.context["killed_readers"] == 5
    assert one.context["slabs_left_by_killed_readers"] == 0


def test_private_readers_copy_every_row(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gate must be able to see: the same measure without the pool."""
    monkeypatch.setattr(sharing, "_READERS", (1, 2))
    monkeypatch.setattr(sharing, "_KILLS", 1)
    (one,) = sharing.measure(usual(context))
    assert one.failure == ""
    reading = [process for process in one.processes if "readers" in process.facts]
    row_bytes = 4.0 * context.populations["files-1024"].dimension
    assert {value for process in reading for value in process.values} == {row_bytes}


def test_bits_are_compared_by_every_path(taken: dict[str, list[Measurement]]) -> None:
    found = by_id(taken["quality"])
    for one in found.values():
        assert sum(sum(process.values) for process in one.processes) == 0
        assert one.context["first_errors"] == []
        assert one.context["compared_vectors"] == sum(len(p.values) for p in one.processes)
    paths = found["quality.bits-emulated"].context["paths"]
    for word in (
        "cold",
        "hot",
        "warm",
        "batch",
        "just written",
        "uncompressed",
        "stored",
        "migrated",
    ):
        assert any(word in path and number for path, number in paths.items()), word
    assert found["quality.bits-hostile"].evidence == "synthetic"
    assert found["quality.bits-recorded"].evidence == "recorded"
    assert sum(len(p.values) for p in found["quality.bits-hostile"].processes) >= 400


def test_what_this_machine_recorded_is_live_evidence(context: Context) -> None:
    """By --titan=live alone: a folder's own word is not enough."""
    for tier in ("recorded", "live"):
        asked = replace(context, recorded_tier=tier)
        plans = [*quality.plan(asked), *saving.plan(asked), *searching.plan(asked)]
        tiers = {plan.name: plan.evidence for plan in plans}
        assert tiers["quality.bits-recorded"] == tiers["quality.search-recorded"] == tier
        assert tiers["compression.saving-v1_chunks"] == tier
        assert {found for name, found in tiers.items() if "emulated" in name} == {"emulated"}


def test_saving_counts_every_byte_of_a_vector(
    taken: dict[str, list[Measurement]], shared_context: Context
) -> None:
    found = by_id(taken["saving"])
    one = found["compression.saving-files-1024"]
    facts = one.context
    raw = facts["raw_bytes_per_vector"]
    assert raw == 4 * 64
    mean = np.mean(one.processes[0].values)
    assert mean == pytest.approx(1 - facts["bytes_per_vector"] / raw)
    kept = facts["record_bytes_per_vector"] + facts["catalog_bytes_per_key"]
    assert kept == pytest.approx(facts["bytes_per_vector"])
    assert one.bound is not None
    assert mean < one.bound.value
    # the store's own sum: records and their catalog cannot be smaller than what was counted
    subject = ReferenceSubject(shared_context.stores["files-1024"], read_only=True)
    try:
        space = subject.space()
    finally:
        subject.close()
    counted = facts["record_bytes_per_vector"] * space["vectors"]
    assert counted == pytest.approx(space["segments"] + space["planes"], rel=0.02)
    whole = found["space.search-v1_chunks"]
    assert whole.processes[0].values == [
        found["compression.saving-v1_chunks"].context["space_with_search"]
    ]
    assert "space.search-files-1024" not in found
    assert found["compression.saving-v1_chunks"].evidence == "recorded"
    assert found["compression.saving-files-1024"].evidence == "emulated"


def test_starts_are_fresh_processes_of_the_run_s_configuration(
    taken: dict[str, list[Measurement]],
) -> None:
    found = by_id(taken["startup"])
    for cache in ("warm", "cold"):
        one = found[f"startup.time-files-{cache}"]
        assert [len(process.values) for process in one.processes] == [1]
        assert all(0.01 < process.values[0] < 60 for process in one.processes)
        assert one.population["files"] == 12
        assert one.context["slowest_s"] == max(p.values[0] for p in one.processes)
    large = found["startup.time-million-warm"]
    assert large.population["vectors"] == large.context["store_vectors"] == 500
    assert "files" not in large.population


def hot_job(context: Context) -> dict[str, Any]:
    return {
        "population": str(context.populations["files-1024"].folder),
        "store": str(context.stores["files-1024"]),
        "settings": dict(context.settings),
        "subject": "titanstore",
        "batches": 3,
        "gets": 50,
        "seed": 1,
    }


def test_the_hot_set_fits_into_a_tier_of_any_size(shared_context: Context) -> None:
    sets = []
    for size in (20_000, 60_000, 10_000_000):
        settings = {**shared_context.settings, "hot_bytes_max": size}
        answer = hot.sample(hot_job(replace(shared_context, settings=settings)))
        sets.append(answer["facts"]["working_set"])
    assert 0 < sets[0] < sets[1] < sets[2] == 264


def test_gets_that_were_not_hot_do_not_count_as_hot(
    shared_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "_WORKING_SET_SHARE", 10.0)
    with pytest.raises(AssertionError, match="were not hot"):
        hot.sample(hot_job(shared_context))


@pytest.mark.parametrize("profile", ["ci", "nightly", "release"])
def test_every_profile_measures_as_much_as_the_specification_wants(profile: str) -> None:
    sizes = SIZES[profile]
    assert sizes.files == 100
    assert sizes.processes >= 5
    assert sizes.hot_batches >= 1_000
    assert sizes.hot_batch_gets >= 10_000
    assert sizes.memory_operations >= 100_000
    assert sizes.starts >= 20
    assert sizes.catalog_keys >= 100_000
    assert sizes.search_queries >= 1_000
    assert sizes.search_sizes == (2_200, 10_000)
    assert sizes.query_samples >= 1_000
    assert sizes.updates >= (1_000 if profile == "ci" else 2_000)
    assert sizes.throughput_s * sizes.processes >= (20 if profile == "ci" else 60)
    assert (sizes.search_vectors_large == 100_000) is (profile != "ci")
    assert sizes.trace_reads >= 1_000
    assert sizes.cold_gets <= sizes.files
    assert (sizes.large_vectors == 1_000_000) is (profile != "ci")
    if profile == "release":
        assert sizes.hostile_vectors >= 1_000_000
