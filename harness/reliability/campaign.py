"""All parts on all scenarios, what was found kept as files, and gone on with where it stopped."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import HarnessError
from harness.progress import Progress
from harness.reliability.counts import COUNTS_FILE, FORMAT
from harness.reliability.inputs import INPUTS
from harness.reliability.scenarios import SCENARIOS
from harness.reliability.tracer import why_not
from harness.reliability.worker import PARTS

__all__ = ["COUNTS_FILE", "Campaign", "Unit", "exit_code_of", "run_campaign", "units_of"]

# Damage looks at files, not at what is done: one store of each make
_APPLIED = {"damage": ("rollback", "raw", "bloom-kept"), "input": tuple(INPUTS)}
# Of each scenario: a smoke run shows that everything works, and draws other points each time
_SMOKE_MOST = {"kill": 3, "power-cut": 6, "trouble": 4, "damage": 40, "input": 20}
_UNTRACED = ("damage", "input")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is run in one go, and not again once it is done."""

    part: str
    scenario: str

    @property
    def file(self) -> str:
        """Where its findings are kept."""
        return f"{self.part}-{self.scenario}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is asked for.

    Attributes
    ----------
    size
        "smoke": a few points of each scenario. "full": all of them.
    """

    size: str
    seed: int
    parts: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder, without the code that it is about."""
        return f"{self.size}-{self.seed}"


def units_of(campaign: Campaign) -> list[Unit]:
    """Every part on every scenario that it applies to, as far as it is asked for."""
    return [
        Unit(part, scenario)
        for part in PARTS
        for scenario in _APPLIED.get(part, tuple(SCENARIOS))
        if part in (campaign.parts or PARTS)
        and (not campaign.scenarios or scenario in campaign.scenarios)
    ]


def run_campaign(
    campaign: Campaign, reports: Path, progress: Progress, *, is_fresh: bool = False
) -> Path:
    """Run what is not done yet; the folder with what was found.

    Raises
    ------
    HarnessError
        A worker failed: what is done is kept.
    """
    code = environment.code_of(environment.project_root())
    folder = reports / "reliability" / f"{campaign.name}-{code.content_digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    units = units_of(campaign)
    for unit in units:
        kept = folder / unit.file
        if kept.exists() and not is_fresh:
            continue
        progress.stage(f"{unit.part}: {unit.scenario}", 0)
        found = _run(campaign, unit, progress)
        _write(kept, found)
        for fault in found["faults"]:
            progress.note(f"  {fault['point']}: {fault['what'][0].strip().splitlines()[-1]}")
    counts = counts_of(folder, campaign, code)
    _write(folder / COUNTS_FILE, counts)
    return folder


def _run(campaign: Campaign, unit: Unit, progress: Progress) -> dict[str, Any]:
    missing = "" if unit.part in _UNTRACED else why_not()
    if missing:
        return {"part": unit.part, "scenario": unit.scenario, "not_run": missing, "faults": []}
    most = _SMOKE_MOST[unit.part] if campaign.size == "smoke" else 0
    words = [sys.executable, "-m", "harness.reliability.worker"]
    words += [unit.part, str(campaign.seed), str(most), unit.scenario]
    began = time.monotonic()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_variables()
    ) as worker:
        try:
            found = _heard(worker, progress)
            assert worker.stderr is not None
            said = worker.stderr.read()
        except BaseException:
            worker.terminate()
            raise
    if worker.returncode or found is None:
        raise HarnessError(f"{unit.part}, {unit.scenario}: {said.strip()[-2_000:]}")
    ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**found, "seconds": round(time.monotonic() - began, 1), "ended": ended}


def _variables() -> dict[str, str]:
    root = os.fspath(environment.project_root())
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _heard(worker: subprocess.Popen[str], progress: Progress) -> dict[str, Any] | None:
    assert worker.stdout is not None
    found: dict[str, Any] | None = None
    for line in worker.stdout:
        said = json.loads(line)
        if "findings" in said:
            found = said["findings"]
        else:
            progress.step()
    return found


def counts_of(folder: Path, campaign: Campaign, code: environment.Code) -> dict[str, Any]:
    """What the report's page shows: points tried of each part, by kind, and the faults found.

    Of all that was tried with this seed on this code, also by earlier calls for other parts.
    """
    whole = Campaign(size=campaign.size, seed=campaign.seed)
    found = list(_kept(folder, [unit for unit in units_of(whole) if (folder / unit.file).exists()]))
    parts = {}
    for part in PARTS:
        own = [each for each in found if each["part"] == part and "not_run" not in each]
        tried: Counter[str] = sum((Counter(each["tried"]) for each in own), Counter())
        outcomes: Counter[str] = sum((Counter(each["outcomes"]) for each in own), Counter())
        parts[part] = {
            "scenarios": len(own),
            "points_known": sum(each["known"] for each in own),
            "points_tried": tried.total(),
            "by_kind": dict(sorted(tried.items())),
            "outcomes": dict(sorted(outcomes.items())),
            "faults": sum(len(each["faults"]) for each in own),
            "seconds": round(sum(each["seconds"] for each in own), 1),
        }
    return {
        "format": FORMAT,
        "size": campaign.size,
        "seed": campaign.seed,
        "commit": code.commit,
        "content_digest": code.content_digest,
        "is_dirty": code.dirty,
        "machine": environment.machine(),
        "is_complete": len(found) == len(units_of(whole)),
        "not_run": sorted({each["not_run"] for each in found if "not_run" in each}),
        "ended": max((each["ended"] for each in found if "ended" in each), default=""),
        "parts": parts,
        "units": [_unit_as_json(each) for each in found],
        "faults": [
            {"part": each["part"], "scenario": each["scenario"], "seed": campaign.seed, **fault}
            for each in found
            for fault in each["faults"]
        ],
    }


def _unit_as_json(found: dict[str, Any]) -> dict[str, Any]:
    """What was known and tried of one scenario, and why nothing was where it was not."""
    return {
        "part": found["part"],
        "scenario": found["scenario"],
        "points_known": found.get("known", 0),
        "points_tried": sum(found.get("tried", {}).values()),
        "faults": len(found["faults"]),
        "not_run": found.get("not_run", ""),
    }


def _kept(folder: Path, units: Sequence[Unit]) -> Iterator[dict[str, Any]]:
    for unit in units:
        yield json.loads((folder / unit.file).read_text())


def _write(path: Path, content: object) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1) + "\n")
    fresh.rename(path)


def exit_code_of(counts: dict[str, Any]) -> int:
    """0: every point ended as it must. 1: one did not. 3: something was not tried."""
    if counts["faults"]:
        return 1
    return 3 if counts["not_run"] else 0
