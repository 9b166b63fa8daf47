"""Risk: a measure goes on over a wrong answer, or over none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.measures import hot, quality
from harness.measures.base import Context
from harness.population import build_store
from harness.subjects.reference import ReferenceSubject
from harness.worker import WorkerError
from suites.tests.unit.harness.measures.measured import MEASURES, by_id, usual

pytestmark = pytest.mark.xdist_group("measures")


def damaged_copy(context: Context, name: str, damage: Callable[[Path], None]) -> Context:
    """The context with a copy of one store, damaged."""
    target = context.work / "damaged"
    shutil.copytree(context.stores[name], target)
    damage(target)
    return replace(context, stores={**context.stores, name: target})


def flip(store: Path) -> None:
    """One bit near the end of the last frame's body."""
    path = max((store / "segments").glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def wrong(context: Context, name: str) -> Context:
    """A store that is whole, and holds other vectors under these keys."""
    population = context.populations[name]
    other = replace(population, keys=(*population.keys[1:], population.keys[0]))
    target = context.work / "wrong"
    build_store(other, target, dict(context.settings))
    return replace(context, stores={**context.stores, name: target})


def test_one_flipped_bit_is_counted(context: Context) -> None:
    found = by_id(quality.measure(damaged_copy(context, "files-1024", flip)))
    one = found["quality.bits-emulated"]
    assert one.failure == ""
    assert sum(sum(process.values) for process in one.processes) >= 1
    assert one.context["first_errors"]
    assert sum(sum(p.values) for p in found["quality.bits-hostile"].processes) == 0


def test_vectors_under_other_keys_are_counted_word_by_word(context: Context) -> None:
    found = by_id(quality.measure(replace(wrong(context, "files-1024"), recorded=[])))
    differing = sum(sum(process.values) for process in found["quality.bits-emulated"].processes)
    assert differing > 264 * 32
    assert "quality.bits-recorded" not in found


@pytest.mark.parametrize("name", ["hot", "disk"])
@pytest.mark.parametrize("harm", ["wrong vectors", "a vector is gone"])
def test_times_of_wrong_answers_do_not_count(context: Context, name: str, harm: str) -> None:
    context = usual(context) if name == "hot" else context
    if harm == "wrong vectors":
        broken = wrong(context, "files-1024")
    else:

        def lose(store: Path) -> None:
            subject = ReferenceSubject(store, context.settings)
            subject.store.delete([context.populations["files-1024"].keys[3]])
            subject.close()

        broken = damaged_copy(context, "files-1024", lose)
    one = by_id(MEASURES[name](broken))[f"latency.{name}-files-1024"]
    assert one.processes == ()
    assert ("differs" in one.failure) is (harm == "wrong vectors")
    assert one.failure


def test_a_store_that_cannot_be_opened_is_a_failure_with_a_reason(context: Context) -> None:
    gone = replace(context, stores=dict.fromkeys(context.stores, context.work / "none"))
    small = replace(gone, sizes=replace(context.sizes, large_vectors=0))
    (one,) = hot.measure(small)
    assert one.processes == ()
    assert "none" in one.failure


def test_a_failed_worker_is_the_failure_of_its_measurement_alone(context: Context) -> None:
    def take() -> dict[str, object]:
        raise WorkerError("hot: killed by signal 9")

    one = context.measured("latency.hot-x", unit="s", evidence="emulated", population={}, take=take)
    assert (one.failure, one.processes) == ("hot: killed by signal 9", ())
    assert one.commit == context.code.commit
