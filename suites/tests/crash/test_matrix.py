"""The campaign's smoke form: a kill, a power cut and trouble at drawn calls of drawn scenarios.

`harness reliability --full` tries all of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from harness.progress import Progress
from harness.reliability.campaign import COUNTS_FILE, Campaign, exit_code_of, run_campaign
from harness.reliability.scenarios import SCENARIOS
from harness.reliability.tracer import why_not

ROOT = Path(__file__).resolve().parents[3]
needs_strace = pytest.mark.skipif(bool(why_not()), reason=why_not())
SCENARIOS_DRAWN = 3


@needs_strace
@pytest.mark.parametrize("part", ["kill", "power-cut", "trouble"])
def test_nothing_is_lost(tmp_path: Path, seed: int, part: str) -> None:
    drawn = random.Random(seed).sample(sorted(SCENARIOS), SCENARIOS_DRAWN)
    campaign = Campaign(size="smoke", seed=seed, parts=(part,), scenarios=tuple(drawn))
    folder = run_campaign(campaign, tmp_path, Progress())
    counts = json.loads((folder / COUNTS_FILE).read_text())
    assert counts["faults"] == []
    assert exit_code_of(counts) == 0
    assert counts["parts"][part]["points_tried"] >= 2 * SCENARIOS_DRAWN
    assert counts["parts"][part]["points_known"] > counts["parts"][part]["points_tried"]
    assert not counts["is_complete"]


def tried_in_its_own_process(code: str) -> list[dict[str, object]]:
    """Faults that `code` finds; it forks, which a process of pytest's had better not."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


_TRY = """
import json, sys, tempfile
from dataclasses import asdict, replace
from pathlib import Path
from harness.reliability.kills import kill_at_each_call
from harness.reliability.powercuts import cut_at_each_event
from harness.reliability.troubles import trouble_at_each_call
from harness.reliability.rehearsal import rehearse
from harness.reliability.scenarios import SCENARIOS, Scenario, Step, rows

def run(scenario, part, most):
    with tempfile.TemporaryDirectory() as work:
        found = part(rehearse(scenario, Path(work).resolve()), 1, most, lambda *_: None)
    print(json.dumps([asdict(fault) for fault in found.faults]))
"""


@needs_strace
def test_a_store_that_never_syncs_is_caught_by_the_power_cut() -> None:
    """Or the simulator would find nothing whatever the store did."""
    faults = tried_in_its_own_process(
        _TRY
        + 'scenario = replace(SCENARIOS["create"], '
        + 'settings={"durability": "power_cut_may_lose_store"})\n'
        + "run(scenario, cut_at_each_event, 12)"
    )
    assert faults


@needs_strace
def test_two_writes_that_claim_to_be_one_are_caught_by_the_kill() -> None:
    faults = tried_in_its_own_process(
        _TRY
        + """
def both(subject):
    subject.put_many(["n0"], rows(3, 1))
    subject.put_many(["n1"], rows(4, 1))
run(replace(SCENARIOS["put"], steps=(Step(act=both),)), kill_at_each_call, 10)
"""
    )
    assert any("neither what it held" in str(fault["what"]) for fault in faults)


def test_a_campaign_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = Campaign(size="smoke", seed=7, parts=("damage",), scenarios=("raw",))
    folder = run_campaign(campaign, tmp_path, Progress())
    before = {path: path.stat().st_mtime_ns for path in folder.glob("damage-*")}
    assert before
    assert json.loads((folder / COUNTS_FILE).read_text())["parts"]["damage"]["points_tried"] > 9

    def never(*_: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr("harness.reliability.campaign._run", never)
    assert run_campaign(campaign, tmp_path, Progress()) == folder
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(AssertionError, match="run again"):
        run_campaign(campaign, tmp_path, Progress(), is_fresh=True)


def test_without_strace_a_part_is_not_run_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.reliability.campaign.why_not", lambda: "there is no strace")
    campaign = Campaign(size="smoke", seed=7, parts=("kill",), scenarios=("put",))
    folder = run_campaign(campaign, tmp_path, Progress())
    counts = json.loads((folder / COUNTS_FILE).read_text())
    assert counts["not_run"] == ["there is no strace"]
    assert counts["parts"]["kill"]["points_tried"] == 0
    assert exit_code_of(counts) == 3
