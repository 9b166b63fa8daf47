"""Risk: a job summary too long to be read, or broken by a text of the run."""

from __future__ import annotations

import re
from pathlib import Path

from harness.report.model import read_report
from harness.report.summary import VISIBLE_LINES_MAX, render_summary
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_rows import gate
from suites.tests.unit.harness.report.synthetic_run import build_run, content, passing


def visible(text: str) -> list[str]:
    return text.partition("<details>")[0].splitlines()


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1


def test_the_decision_comes_first_and_twenty_lines_are_enough(rendered: Rendered) -> None:
    text = (rendered.folder / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("# ✗ CI FAIL\n\nnot a release verdict.")
    assert len(visible(text)) <= VISIBLE_LINES_MAX == 20
    assert text.count("<details>") == text.count("</details>") == 1
    assert "2 more blocking gates below." in text


def test_the_longest_summary_still_fits(tmp_path: Path) -> None:
    verdicts = content()
    verdicts["gates"] += [gate(f"extra.{n}", "FAIL", "c" * 500) for n in range(30)]
    verdicts["decision"] |= {"verdict": "GO", "exit_code": 3}
    report = read_report(build_run(tmp_path, verdicts))
    assert len(report.alarms) >= 2
    lines = visible(render_summary(report))
    assert len(lines) <= VISIBLE_LINES_MAX
    assert any("⚠" in line for line in lines)


def test_every_table_line_has_six_cells_whatever_the_text(rendered: Rendered) -> None:
    text = (rendered.folder / "summary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 20
    assert {cells(line) for line in lines} == {6}


def test_texts_mean_themselves(rendered: Rendered) -> None:
    text = (rendered.folder / "summary.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert" in text
    assert r"\`tick\` \*\*bold\*\* \$x\_1\$" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", text)


def test_all_gates_are_in_the_folded_part(rendered: Rendered) -> None:
    folded = (rendered.folder / "summary.md").read_text(encoding="utf-8").partition("<details>")[2]
    for found in rendered.report.gates:
        assert f"**{found.id.replace('_', chr(92) + '_')}**" in folded


def test_a_text_that_begins_like_a_list_stays_one_item(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["decision"]["reasons"] = ["- nested", "1. numbered", "# heading"]
    text = render_summary(read_report(build_run(tmp_path, verdicts)))
    assert r"- \- nested" in text
    assert r"- 1\. numbered" in text
    assert r"- \# heading" in text
