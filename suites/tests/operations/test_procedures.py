"""Risk: ops.ready passes although a procedure failed, was not carried out, or is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measurement import Process
from harness.measures.procedures import plan_of, sample
from harness.procedures.runbook import REQUIRED


def test_pages_that_fail_or_are_missing_are_counted_by_name(tmp_path: Path) -> None:
    pages, work = tmp_path / "pages", tmp_path / "work"
    pages.mkdir()
    work.mkdir()
    (pages / "deploy.md").write_text("```sh\necho deployed\n#> deployed\n```\n")
    (pages / "upgrade.md").write_text("```sh\ntrue\nfalse\n```\n")
    (pages / "another.md").write_text("```sh\ntrue\n")
    (pages / "index.md").write_text("Nothing to carry out.\n")
    plan = plan_of(pages, work)
    found = []
    for measure, job in plan.tasks:  # here: a worker a page takes a second to start
        assert measure == "procedures"
        found.append(Process(control=False, block=1, instruments={}, **sample(job)))
    by_name = {process.facts["name"]: process for process in found}
    missing = [name for name in REQUIRED if name not in {"deploy", "upgrade"}]
    assert by_name.keys() == {"another", "deploy", "upgrade", ", ".join(missing)}
    assert (by_name["deploy"].values, by_name["deploy"].facts["steps"]) == ([0.0], 1)
    (fault,) = by_name["upgrade"].facts["faults"]
    assert fault.startswith("upgrade, line 3: exit status 1")
    assert "does not end" in by_name["another"].facts["faults"][0]
    faults = by_name[", ".join(missing)].facts["faults"]
    assert faults == [f"{name}: no page docs/operations/{name}.md" for name in missing]
    assert sum(value for process in found for value in process.values) == len(missing) + 2
    facts = plan.take(found)["context"]
    assert facts["procedures"] == "deploy, upgrade"
    assert facts["steps"] == 2
    assert not list(work.iterdir())


def test_a_page_without_a_step_is_not_exercised(tmp_path: Path) -> None:
    page = tmp_path / "deploy.md"
    page.write_text("```sh\n# only a remark\n```\n")
    answer = sample({"page": str(page), "work": str(tmp_path)})
    assert answer["values"] == [1.0]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("while :; do echo x; sleep 0.02; done", "no end within 1 s"),
        ("yes", "more than 1000 bytes printed"),
        ("exit 3", "the shell has ended"),
    ],
)
def test_a_step_without_an_end_is_a_fault_of_its_page(
    command: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.procedures.carry_out._PATIENCE_S", 0.7)
    monkeypatch.setattr("harness.procedures.carry_out._PRINTED_MAX", 1000)
    page = tmp_path / "deploy.md"
    page.write_text(f"```sh\n{command}\n```\n")
    answer = sample({"page": str(page), "work": str(tmp_path)})
    assert answer["values"] == [1.0]
    assert told in answer["facts"]["faults"][0]
