"""Risk: a report without proof looks like one with it, or slow creep is not told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.report.figures import build_figures
from harness.report.model import Report, read_report
from harness.report.page import render_page
from harness.report.pdf import render_pdf
from harness.report.summary import render_summary
from harness.report.terminal import render_terminal
from harness.report.wording import what_changes_it
from suites.tests.unit.harness.report.synthetic_run import build_run

ROWS = [
    {
        "fault": "flipped-bit",
        "title": "one flipped bit on the disk",
        "injected": "a bit <b>of</b> a segment",
        "tier": "emulated",
        "state": "as expected",
        "reason": "",
        "seconds": 11.6,
        "started": "2026-11-25T03:00:00+00:00",
        "cells": [
            {
                "judge": "quality.bits",
                "kind": "catch",
                "wanted": "FAIL",
                "seen": "FAIL",
                "reason": "",
                "right": True,
            },
            {
                "judge": "decision",
                "kind": "quiet",
                "wanted": "HOLD",
                "seen": "NO-GO",
                "reason": "",
                "right": False,
            },
        ],
    }
]
PROOF: dict[str, Any] = {
    "fault": "",
    "id": "0123-machine",
    "verdict": "PROVED",
    "machine_id": "9f932827",
    "ended": "2026-11-25T03:20:00+00:00",
    "rows": ROWS,
}
NONE = {**PROOF, "fault": "no current proof that the gates can fail: run `harness prove`"}


def report_with(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Report:
    run = build_run(folder)
    verdicts = json.loads((run / "verdicts.json").read_text())
    change(verdicts)
    (run / "verdicts.json").write_text(json.dumps(verdicts))
    return read_report(run)


def page_of(report: Report, folder: Path) -> str:
    return render_page(report, build_figures(report, folder))


def shown_on_a_terminal(report: Report) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_terminal(report, 100))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_the_page_has_the_matrix(tmp_path: Path) -> None:
    report = report_with(tmp_path, lambda verdicts: verdicts.update(proof=PROOF))
    page = page_of(report, tmp_path)
    assert "Can these gates fail?" in page
    assert "quality.bits: wanted FAIL, seen FAIL" in page  # expected and seen, also where right
    assert "✗ decision: wanted HOLD, seen NO-GO" in page
    assert "a bit &lt;b&gt;of&lt;/b&gt; a segment" in page
    assert "1 faults and controls, all as expected" in page


def test_the_matrix_names_the_tier_of_each_row_and_why_one_could_not_run(tmp_path: Path) -> None:
    unable = {**ROWS[0], "state": "could not run", "reason": "git: not there", "cells": []}
    proof = {
        **PROOF,
        "fault": "no current proof",
        "rows": [{**ROWS[0], "tier": "recorded"}, unable],
    }
    report = report_with(tmp_path, lambda verdicts: verdicts.update(proof=proof))
    page = page_of(report, tmp_path)
    assert '<td role="cell" data-label="Evidence">recorded</td>' in page
    assert "git: not there" in page
    assert report.proof is not None
    first, second = (row.line for row in report.proof.rows)
    assert "(flipped-bit, recorded evidence): as expected" in first
    assert "Must catch it: quality.bits: wanted FAIL, seen FAIL" in first
    assert "could not run: git: not there" in second
    assert "Must catch it: nobody" in second
    assert len(render_pdf(report, ())) > len(render_pdf(replace(report, proof=None), ()))


def test_every_form_says_that_there_is_no_proof(tmp_path: Path) -> None:
    report = report_with(tmp_path, lambda verdicts: verdicts.update(proof=NONE))
    sentence = "No current proof that the gates can fail: run `harness prove`."
    assert report.proof is not None
    assert report.proof.sentence == sentence
    assert sentence.replace("`", "&#96;") in page_of(report, tmp_path) or sentence in page_of(
        report, tmp_path
    )
    assert sentence in shown_on_a_terminal(report)
    assert "No current proof" in render_summary(report)
    assert render_pdf(report, ()).startswith(b"%PDF")


def test_a_run_on_hold_for_want_of_a_proof_says_what_to_do(tmp_path: Path) -> None:
    def hold(verdicts: dict[str, Any]) -> None:
        for gate in verdicts["gates"]:
            gate["blocking"] = gate["verdict"] == "PASS"
        verdicts["decision"] = {
            "verdict": "HOLD",
            "label": "HOLD",
            "exit_code": 3,
            "reasons": [NONE["fault"]],
        }
        verdicts["proof"] = NONE

    report = report_with(tmp_path, hold)
    assert what_changes_it(report) == [
        "No current proof that the gates can fail: run `harness prove`."
    ]


def anchor(fault: str = "", **row: Any) -> dict[str, Any]:
    return {
        "label": "v0.1.0",
        "commit": "a" * 40,
        "machine": "9f932827",
        "ended": "2026-10-01T00:00:00+00:00",
        "profile": "ci",
        "fault": fault,
        "rows": [row] if row else [],
    }


def first_row(verdicts: dict[str, Any]) -> str:
    found = next(
        row["id"] for gate in verdicts["gates"] for row in gate["rows"] if row["unit"] == "s"
    )
    return str(found)


def test_creep_is_told_with_its_interval(tmp_path: Path) -> None:
    def add(verdicts: dict[str, Any]) -> None:
        verdicts["anchor"] = anchor(
            id=first_row(verdicts),
            anchor=2e-7,
            ratio=1.25,
            low=1.2,
            high=1.3,
            verdict="worse",
            reason="",
        )

    report = report_with(tmp_path, add)
    page = page_of(report, tmp_path)
    assert "Beside the last release" in page
    assert "1.250 (1.200 to 1.300)" in page
    assert "✗ worse" in page
    assert report.anchor is not None
    assert "worse: " in report.anchor.sentence
    assert "v0.1.0, commit aaaaaaaaaa" in shown_on_a_terminal(report)


def test_creep_since_an_earlier_release_is_told(tmp_path: Path) -> None:
    row: dict[str, Any] = {"anchor": 2e-7, "ratio": 1.1, "low": 1.05, "high": 1.15, "reason": ""}

    def add(verdicts: dict[str, Any]) -> None:
        name = first_row(verdicts)
        same = {**row, "id": name, "verdict": "no difference seen"}
        worse = {**row, "id": name, "verdict": "worse", "label": "v0.0.1"}
        verdicts["anchor"] = anchor(**same) | {"earlier": {"labels": ["v0.0.1"], "rows": [worse]}}

    report = report_with(tmp_path, add)
    assert report.anchor is not None
    assert "no row is worse (1 of 1 rows are comparable)" in report.anchor.sentence
    assert "Worse than in an earlier release: " in report.anchor.sentence
    assert "since v0.0.1" in page_of(report, tmp_path)
    assert "since v0.0.1" in render_summary(report)


def test_rows_that_cannot_be_compared_are_no_good_news(tmp_path: Path) -> None:
    def add(verdicts: dict[str, Any]) -> None:
        nothing: dict[str, Any] = {
            "anchor": None,
            "ratio": None,
            "low": None,
            "high": None,
            "reason": "no value",
        }
        verdicts["anchor"] = anchor(id=first_row(verdicts), verdict="not comparable", **nothing)

    report = report_with(tmp_path, add)
    assert report.anchor is not None
    assert "nothing can be said (0 of 1 rows are comparable)" in report.anchor.sentence


def test_an_anchor_of_another_machine_is_shown_as_no_comparison(tmp_path: Path) -> None:
    fault = "measured on machine 1, this run on 2"
    report = report_with(tmp_path, lambda verdicts: verdicts.update(anchor=anchor(fault)))
    assert report.anchor is not None
    assert report.anchor.sentence.endswith(f"not comparable, {fault}.")
    assert "no row is worse" not in page_of(report, tmp_path)


@pytest.mark.parametrize("name", ["proof", "anchor"])
def test_an_older_run_has_neither(tmp_path: Path, name: str) -> None:
    report = report_with(tmp_path, lambda verdicts: verdicts.pop(name, None))
    assert getattr(report, name) is None
    page = page_of(report, tmp_path)
    assert "Can these gates fail?" not in page
    assert "Beside the last release" not in page


# -- reliability ----------------------------------------------------------------------------------

COUNTS: dict[str, Any] = {
    "size": "full",
    "commit": "c" * 40,
    "ended": "2026-11-28T21:00:00+00:00",
    "is_complete": True,
    "is_of_this_content": True,
    "not_run": [],
    "units": [
        {
            "part": "kill",
            "scenario": "put",
            "points_known": 1_040,
            "points_tried": 1_040,
            "faults": 0,
            "not_run": "",
        },
        {
            "part": "<b>odd</b>",
            "scenario": "<i>x</i>",
            "points_known": 0,
            "points_tried": 0,
            "faults": 1,
            "not_run": "there is no <strace>",
        },
    ],
    "faults": [],
}


def test_the_page_tells_what_the_store_was_put_through(tmp_path: Path) -> None:
    report = report_with(tmp_path, lambda verdicts: verdicts.update(reliability=COUNTS))
    page = render_page(report, ())
    assert '<h2 id="reliability">Reliability</h2>' in page
    section = page[page.index('aria-labelledby="reliability"') :].partition("</section>")[0]
    assert "1,040 points tried, 1 fault found (full campaign, 2026-11-28T21:00:00+00:00)" in section
    assert "It decides nothing." in section
    assert "1,040 of 1,040" in section
    assert "&lt;b&gt;odd&lt;/b&gt;: &lt;i&gt;x&lt;/i&gt;" in section
    assert "not run: there is no &lt;strace&gt;" in section
    assert "<b>odd</b>" not in page
    assert "ANOTHER CONTENT" not in section
    assert "NOT COMPLETE" not in section
    # on a telephone each cell stands by itself and needs its column's name
    assert section.count('<td role="cell"') == section.count("data-label=") > 0
    assert len(render_pdf(report, ())) > len(render_pdf(replace(report, reliability=None), ()))
    unescaped = render_summary(report).replace("\\", "")
    assert "kill: 1,040 of 1,040 tried, 0 faults" in unescaped


def test_counts_of_other_code_or_of_a_part_say_so(tmp_path: Path) -> None:
    fault = {"part": "kill", "scenario": "put", "point": "before <write>", "what": "it is lost"}
    changed = {"is_of_this_content": False, "is_complete": False, "not_run": ["no strace"]}
    counts = {**COUNTS, **changed, "faults": [fault]}
    report = report_with(tmp_path, lambda verdicts: verdicts.update(reliability=counts))
    for text in (render_page(report, ()), render_summary(report).replace("\\", "")):
        assert "ANOTHER CONTENT, commit cccccccccc" in text
        assert "NOT COMPLETE" in text
        assert "Not run: no strace." in text
    assert "kill, put: before &lt;write&gt;: it is lost" in render_page(report, ())


def test_a_run_without_counts_says_that_there_are_none(tmp_path: Path) -> None:
    report = report_with(tmp_path, lambda verdicts: verdicts.pop("reliability", None))
    assert report.reliability is None
    page = render_page(report, ())
    assert 'id="reliability"' not in page
    assert "hostile input: no counts beside this run" in page
