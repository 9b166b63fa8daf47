"""Risk: a broken example or an undocumented name does not reach the gate's verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.environment import project_root
from harness.measurement import Process
from harness.measures import documentation
from harness.measures.base import Context
from harness.targets import load_targets
from harness.worker import run_worker


def process(**facts: object) -> Process:
    known = {"kinds": {"block": {"checked": 2, "faults": 0}}, "faults": [], "not_run": []}
    return Process(values=[0.0, 0.0], facts={**known, **facts})


def test_every_page_with_blocks_is_dealt_once_and_one_worker_does_the_rest(
    context: Context,
) -> None:
    (plan,) = documentation.plan(context)
    row = load_targets().rows()["docs.complete.all"]
    assert (plan.name, plan.unit) == (row.measurement, row.unit)
    assert plan.evidence in row.accepts
    dealt = [page for _, job in plan.tasks for page in job["pages"]]
    assert len(dealt) == len(set(dealt)) == plan.population["pages with examples"]
    assert {"README.md", "docs/tutorial/first-store.md", "docs/how-to/bedrock.md"} <= set(dealt)
    assert [job["pages"] for _, job in plan.tasks].count([]) == 1  # all that executes nothing


def test_a_worker_says_what_it_looked_at(tmp_path: Path) -> None:
    job = {"pages": ["docs/reference/settings.md"], "work": str(tmp_path)}
    found = run_worker("documentation", job)
    assert list(found.values) == [0.0, 0.0]  # one example of Python, one of TOML
    assert found.facts["kinds"] == {"block": {"checked": 2, "faults": 0}}
    assert list(tmp_path.iterdir()) == []


def test_a_fault_is_a_value_and_has_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n<!-- not run: hours -->\n```sh\ntrue\n```\n```text\n")
    monkeypatch.setattr(documentation, "project_root", lambda: tmp_path)
    job = {"pages": ["page.md"], "work": str(tmp_path)}
    broken = documentation.sample(job)
    assert broken["values"] == [1.0]
    assert "not closed" in broken["facts"]["faults"][0]
    page.write_text(page.read_text() + "shown\n```\n")
    found = documentation.sample(job)
    assert found["values"] == [1.0, 0.0, 1.0]
    assert found["facts"]["not_run"] == ["page.md:6: hours"]
    assert project_root() != tmp_path


def test_the_counts_of_all_workers_are_added(context: Context) -> None:
    (plan,) = documentation.plan(context)
    taken = plan.take([process(), process(faults=["x"], not_run=["hours"])])
    assert taken["context"]["blocks_run"] == 4
    assert taken["context"]["first_errors"] == ["x"]
    assert taken["context"]["blocks_not_run"] == ["hours"]


def test_no_block_at_all_is_no_measurement(context: Context) -> None:
    (plan,) = documentation.plan(context)
    assert "no block" in plan.take([process(kinds={})])["failure"]
