"""docs.complete: names, commands and settings without documentation, broken examples and links."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.documentation.checks import check_all
from harness.documentation.examples import run_page
from harness.documentation.finding import Finding, PageError, tally
from harness.documentation.pages import blocks, guides
from harness.environment import project_root
from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan

__all__ = ["measure", "plan", "sample"]

_SHOWN = 12
_HANDS = 4


def measure(context: Context) -> list[Measurement]:
    """One row: everything looked at, a value each."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """A worker for all that executes nothing, and some that pages with examples are dealt to."""
    root = project_root()
    listed = [page for page in guides(root) if _has_blocks(page)]
    work = str(context.work)
    hands = [
        {"pages": [str(page.relative_to(root)) for page in hand], "work": work}
        for hand in _dealt(listed)
    ]
    return [
        Plan(
            name="docs.complete",
            unit="count",
            evidence="live",
            population={"pages": len(guides(root)), "pages with examples": len(listed)},
            tasks=[("documentation", job) for job in [*hands, {"pages": [], "work": work}]],
            take=_take,
        )
    ]


def _has_blocks(page: Path) -> bool:
    try:
        return bool(blocks(page))
    except PageError:
        return True  # its worker says what is wrong


def _dealt(listed: Sequence[Path]) -> list[list[Path]]:
    """Pages in hands of about equal size, so that a worker loads its libraries for several."""
    hands: list[list[Path]] = [[] for _ in range(_HANDS)]
    weights = [0] * _HANDS
    for page in sorted(listed, key=lambda page: (-page.stat().st_size, page)):
        place = weights.index(min(weights))
        hands[place].append(page)
        weights[place] += page.stat().st_size
    return [hand for hand in hands if hand]


def _take(processes: Sequence[Process]) -> dict[str, Any]:
    facts = [process.facts for process in processes]
    counts: dict[str, dict[str, int]] = {}
    for fact in facts:
        for kind, count in fact["kinds"].items():
            known = counts.setdefault(kind, {"checked": 0, "faults": 0})
            for name in known:
                known[name] += count[name]
    ran = counts.get("block", {"checked": 0})["checked"]
    if not ran:
        return {"failure": "no block was run: nothing was measured"}
    return {
        "processes": processes,
        "context": {
            "blocks_run": ran,
            "blocks_not_run": [one for fact in facts for one in fact["not_run"]],
            "kinds": counts,
            "first_errors": [one for fact in facts for one in fact["faults"]][:_SHOWN],
        },
    }


# ---------------------------------------------------------------- in a fresh process


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each thing looked at: 1 if something is wrong with it, else 0."""
    root = project_root()
    findings = [one for page in job["pages"] for one in _run(root / page, root, job["work"])]
    if not job["pages"]:
        findings = check_all(root)
    faults = [f"{one.kind}: {one.what}: {one.fault}" for one in findings if one.fault]
    return {
        "values": [float(bool(one.fault)) for one in findings],
        "facts": {
            "kinds": tally(findings),
            "faults": faults[:_SHOWN],
            "not_run": [one.what for one in findings if one.kind == "block not run"],
        },
    }


def _run(page: Path, root: Path, work: str) -> list[Finding]:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            return run_page(page, root, Path(folder))
        except PageError as error:
            return [Finding(kind="block", what=page.name, fault=str(error))]
