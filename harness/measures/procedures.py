"""ops.ready: every runbook of docs/operations carried out in this run, as it is written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.environment import project_root
from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan
from harness.procedures.carry_out import carry_out
from harness.procedures.runbook import REQUIRED, RunbookError, pages, parse
from harness.worker import Task

__all__ = ["measure", "plan", "sample"]

_FIRST_ERRORS = 5


def measure(context: Context) -> list[Measurement]:
    """One measurement: procedures that failed, or are not there."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """The same, to be run beside others; one worker a page."""
    return [plan_of(project_root() / "docs" / "operations", context.work)]


def plan_of(folder: Path, work: Path) -> Plan:
    """What carries out the pages of a folder; one that is required and missing is a failure."""
    found = pages(folder)
    missing = [name for name in REQUIRED if name not in found]
    tasks: list[Task] = [
        ("procedures", {"page": str(page), "work": str(work)}) for page in found.values()
    ]
    if missing:
        tasks.append(("procedures", {"missing": missing}))

    def take(processes: Sequence[Process]) -> dict[str, Any]:
        facts = [process.facts for process in processes]
        return {
            "processes": processes,
            "context": {
                "procedures": ", ".join(fact["name"] for fact in facts if fact["steps"]),
                "steps": sum(fact["steps"] for fact in facts),
                "first_errors": [each for fact in facts for each in fact["faults"]][:_FIRST_ERRORS],
            },
        }

    return Plan(
        name="ops.ready",
        unit="count",
        evidence="live",
        population={"procedures": len(found) + len(missing)},
        tasks=tasks,
        take=take,
    )


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """One value a procedure: 0 where every step of its page ended as it says, else 1."""
    if "missing" in job:
        faults = [f"{name}: no page docs/operations/{name}.md" for name in job["missing"]]
        facts = {"name": ", ".join(job["missing"]), "steps": 0, "faults": faults}
        return {"values": [1.0] * len(faults), "facts": facts}
    page = Path(job["page"])
    steps_done, fault = _carried_out(page, job["work"])
    facts = {
        "name": page.stem,
        "steps": steps_done,
        "faults": [f"{page.stem}{fault}"] if fault else [],
    }
    return {"values": [float(bool(fault))], "facts": facts}


def _carried_out(page: Path, work: str) -> tuple[int, str]:
    """How many steps ended as they should, and what was wrong with the next one."""
    try:
        steps = parse(page.read_text(encoding="utf-8"))
    except RunbookError as error:
        return 0, f": {error}"
    if not steps:
        return 0, ": nothing to carry out"
    with tempfile.TemporaryDirectory(dir=work) as folder:
        outcomes = carry_out(steps, Path(folder) / "work")
    for done, outcome in enumerate(outcomes):
        if outcome.fault:
            return done, f", line {outcome.line}: {outcome.fault}"
    if len(outcomes) < len(steps):
        raise AssertionError(f"{page.stem}: {len(outcomes)} of {len(steps)} steps, and no fault")
    return len(outcomes), ""
