"""Risk: counts of other code, of a part, or of nobody knows what look as if they were the run's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.anchor_files import make_anchor, verify_anchor
from harness.beside import lay_beside
from harness.evidence import check_verdicts, read_json, verdicts_of_run
from harness.prove.proof import Identity
from harness.reliability.campaign import Campaign, counts_of
from harness.reliability.counts import (
    COUNTS_FILE,
    FORMAT,
    counts_shown,
    fault_of_counts,
    find_counts,
)
from suites.tests.unit.harness.small_run import ENDED_S, SETTING, write_run

OWN, OTHER = SETTING.content_digest, "0" * 32


def unit(part: str = "kill", scenario: str = "put", **changed: Any) -> dict[str, Any]:
    whole = {"part": part, "scenario": scenario, "points_known": 40, "points_tried": 40}
    return {**whole, "faults": 0, "not_run": "", **changed}


def counts(digest: str = OWN, **changed: Any) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "size": "full",
        "seed": 0,
        "commit": "c" * 40,
        "content_digest": digest,
        "ended": "2026-11-28T21:00:00+00:00",
        "is_complete": True,
        "not_run": [],
        "units": [unit(), unit("trouble", "grow", points_tried=7)],
        "faults": [],
        **changed,
    }


def keep(reports: Path, name: str, content: Any) -> None:
    folder = reports / "reliability" / name
    folder.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / COUNTS_FILE).write_text(text)


def run_with(reports: Path) -> Path:
    run = reports / "run"
    run.mkdir(parents=True, exist_ok=True)
    wanted = Identity(
        commit=SETTING.commit, content_digest=OWN, gates_digest="", machine=SETTING.machine
    )
    lay_beside(run, reports, anchor=None, wanted=wanted, now=ENDED_S)
    return write_run(run)


def test_counts_of_this_very_content_come_first_then_the_most(tmp_path: Path) -> None:
    assert find_counts(tmp_path, OWN) is None
    keep(tmp_path, "a", counts(OTHER, seed=1))
    keep(tmp_path, "b", counts(OTHER, seed=2, units=[unit(points_known=99, points_tried=99)]))
    keep(tmp_path, "c", counts(OTHER, seed=3, size="smoke", units=[unit(points_tried=500)]))
    keep(tmp_path, "unreadable", "{")
    keep(tmp_path, "deep", "[" * 100_000)
    keep(tmp_path, "older", {**counts(OWN, seed=9), "format": 1})
    found = find_counts(tmp_path, OWN)
    assert found is not None
    assert found["seed"] == 2
    keep(tmp_path, "d", counts(OWN, seed=4, size="smoke", units=[unit(points_tried=1)]))
    found = find_counts(tmp_path, OWN)
    assert found is not None
    assert found["seed"] == 4


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda one: one.update(format=FORMAT + 1),
    "no commit": lambda one: one.pop("commit"),
    "a digest that is no text": lambda one: one.update(content_digest=7),
    "complete by a word": lambda one: one.update(is_complete="yes"),
    "units of no list": lambda one: one.update(units={}),
    "a unit of no object": lambda one: one["units"].append(7),
    "a unit without a number": lambda one: one["units"][0].pop("points_tried"),
    "a number that is none": lambda one: one["units"][0].update(faults=True),
    "a number below zero": lambda one: one["units"][0].update(points_known=-1),
    "a fault of no object": lambda one: one["faults"].append("x"),
    "a fault that says nothing": lambda one: one["faults"].append({"part": "kill"}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_counts_that_are_none(tmp_path: Path, name: str) -> None:
    content = counts()
    assert fault_of_counts(content) == ""
    BREAKS[name](content)
    assert fault_of_counts(content)
    keep(tmp_path, "a", content)
    assert find_counts(tmp_path, OWN) is None
    assert fault_of_counts([]) == fault_of_counts({})


def test_a_run_says_whether_they_are_its_own_and_decides_the_same(tmp_path: Path) -> None:
    without = read_json(run_with(tmp_path / "none") / "verdicts.json")
    assert "reliability" not in without
    fault = {"part": "kill", "scenario": "put", "point": "before write", "what": ["a\nb\nlost"]}
    for digest, is_own in ((OWN, True), (OTHER, False)):
        reports = tmp_path / digest[:2]
        keep(reports, "a", counts(digest, faults=[fault], is_complete=False))
        run = run_with(reports)
        verdicts = read_json(run / "verdicts.json")
        shown = verdicts.pop("reliability")
        assert shown["is_of_this_content"] is is_own
        assert shown["is_complete"] is False
        assert shown["faults"] == [{**fault, "what": "lost"}]
        assert [each["points_tried"] for each in shown["units"]] == [40, 7]
        for name in ("decision", "gates"):
            assert verdicts[name] == without[name]
        assert check_verdicts({**verdicts, "reliability": shown}) == ""


def test_counts_are_sealed(tmp_path: Path) -> None:
    keep(tmp_path, "a", counts())
    run = run_with(tmp_path)
    assert verdicts_of_run(run)[1] == []
    (run / COUNTS_FILE).write_text(json.dumps(counts(units=[])))
    assert verdicts_of_run(run)[1] == [f"{COUNTS_FILE} was changed after the run"]


def test_an_anchor_keeps_the_counts_of_its_run(tmp_path: Path) -> None:
    keep(tmp_path, "a", counts())
    anchor = make_anchor(run_with(tmp_path), "v0", tmp_path)
    assert (anchor / "run" / COUNTS_FILE).is_file()
    assert verify_anchor(anchor) == []


def test_long_texts_and_many_faults_do_not_fill_a_page() -> None:
    fault = {"part": "kill", "scenario": "put", "point": "p" * 9_000, "what": ["w" * 9_000]}
    shown = counts_shown(counts(faults=[fault] * 500, not_run=["r" * 9_000]), OWN)
    assert len(json.dumps(shown)) < 30_000


def test_a_campaign_counts_what_earlier_calls_tried(tmp_path: Path) -> None:
    class Code:
        commit, content_digest, dirty = "c" * 40, OWN, False

    for part, scenario in (("kill", "put"), ("input", "waivers")):
        found = {"part": part, "scenario": scenario, "known": 9, "tried": {"x": 5}, "outcomes": {}}
        found |= {"faults": [], "seconds": 1.0, "ended": "2026-11-28T21:00:00+00:00"}
        (tmp_path / f"{part}-{scenario}.json").write_text(json.dumps(found))
    missing = {"part": "kill", "scenario": "grow", "not_run": "no strace", "faults": []}
    (tmp_path / "kill-grow.json").write_text(json.dumps(missing))
    asked = Campaign(size="full", seed=0, parts=("input",))
    content = json.loads(json.dumps(counts_of(tmp_path, asked, Code())))  # type: ignore[arg-type]
    assert fault_of_counts(content) == ""
    assert not content["is_complete"]
    assert content["ended"] == "2026-11-28T21:00:00+00:00"
    assert [(one["part"], one["points_tried"], one["not_run"]) for one in content["units"]] == [
        ("kill", 5, ""),
        ("kill", 0, "no strace"),
        ("input", 5, ""),
    ]
