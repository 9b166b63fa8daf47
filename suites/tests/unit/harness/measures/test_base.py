"""Risk: measurements that share workers also share their failures, or each other's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.measurement import Process
from harness.measures.base import Context, Plan


def plan(name: str, *numbers: float, broken: bool = False) -> Plan:
    """Workers that answer what tests of workers let them answer."""

    def take(processes: Sequence[Process]) -> Mapping[str, Any]:
        return {"processes": processes, "context": {"name": name}}

    # memory's sample fails at once for a job without a population
    tasks = [("memory", {"control": False})] if broken else []
    tasks += [("preparing", job(number)) for number in numbers]
    return Plan(name=name, unit="count", evidence="emulated", population={}, tasks=tasks, take=take)


def job(number: float) -> dict[str, Any]:
    """Makes nothing, of a corpus of as many files."""
    return {
        "corpus": None,
        "files": int(number),
        "chunks": 2,
        "serving": "titan-embed-text-v1",
        "population": False,
        "edits": int(number),
        "seed": 1,
    }


@pytest.mark.xdist_group("measures")
def test_each_plan_gets_its_own_answers_and_its_own_failure(context: Context) -> None:
    plans = [plan("a", 1, 2), plan("b", 1, broken=True), plan("c"), plan("d", 3)]
    folders = iter(range(100))
    plans = [
        Plan(
            name=one.name,
            unit=one.unit,
            evidence=one.evidence,
            population=one.population,
            tasks=[
                (measure, {**task, "folder": str(context.work / f"folder-{next(folders)}")})
                for measure, task in one.tasks
            ],
            take=one.take,
        )
        for one in plans
    ]
    found = context.together(plans)
    assert [one.id for one in found] == ["a", "b", "c", "d"]
    assert [len(one.processes) for one in found] == [2, 0, 0, 1]
    assert [bool(one.failure) for one in found] == [False, True, False, False]
    assert found[1].failure.startswith("memory: exit status 1")
    values = [[process.values[0] for process in one.processes] for one in found]
    assert values[0][0] >= 1  # an edit changes 1 to 3 chunks
    assert values[3][0] >= 3
    assert {one.config_digest for one in found} == {context.config_digest}
