"""Risk: the table at the end of a run wraps, hides a gate, or lets a text steer the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from harness.report.model import Report, read_report
from harness.report.terminal import render_terminal
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import build_run, content


def shown(report: Report, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(file=file, width=200, color_system=None, force_terminal=False)
    console.print(render_terminal(report, width))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 132])
def test_no_line_is_wider_than_asked(rendered: Rendered, width: int) -> None:
    assert (
        max(cell_len(line.rstrip()) for line in shown(rendered.report, width).splitlines()) <= width
    )


def test_each_gate_is_one_line_with_its_numbers(rendered: Rendered) -> None:
    lines = shown(rendered.report).splitlines()
    for gate in rendered.report.gates:
        line = next(line for line in lines if f" {gate.id} " in line)
        assert f"{gate.look.sign} {gate.verdict}" in line
        if gate.lead is not None:
            assert gate.lead.value_text in line
            assert gate.lead.limit_text in line
            assert gate.lead.headroom_text in line


def test_the_decision_is_the_first_line(rendered: Rendered) -> None:
    assert shown(rendered.report).startswith("✗ CI FAIL, not a release verdict.")


def test_no_control_character_reaches_the_terminal(rendered: Rendered) -> None:
    assert not [letter for letter in shown(rendered.report) if letter < " " and letter != "\n"]


def test_markup_of_the_terminal_library_is_text(tmp_path: Path) -> None:
    verdicts = content()
    verdicts["gates"][0]["id"] = "[red]quality[/red]"
    assert "[red]quality[/red]" in shown(read_report(build_run(tmp_path, verdicts)), 100)


def test_an_alarm_is_above_the_table(tmp_path: Path) -> None:
    verdicts = content()
    verdicts["decision"] |= {"verdict": "GO", "exit_code": 0}
    text = shown(read_report(build_run(tmp_path, verdicts)))
    assert text.index("⚠ The decision says GO") < text.index("Verdict  ")
