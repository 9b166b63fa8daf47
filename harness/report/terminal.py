"""The verdict table at the end of a run, on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.report import facts, wording
from harness.report.model import Gate, Report

__all__ = ["render_terminal"]

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "hold": "yellow",
    "infeasible": "magenta",
    "invalid": "bold yellow",
    "absent": "bright_black",
    "waived": "cyan",
}


def render_terminal(report: Report, width: int = 80) -> RenderableType:
    """Decision, alarms, one line a gate and what would change the decision, at most `width` wide.

    Colour only repeats what sign and word say, so the table survives a log file.
    """
    style = _STYLES[report.look.tone]
    parts: list[RenderableType] = [_line(report, style)]
    parts += [Text(f"⚠ {alarm}", style="bold red") for alarm in report.alarms]
    parts.append(_table(report, width))
    parts.append(Text("What would change it", style="bold"))
    parts += [Text(f"• {sentence}") for sentence in wording.what_changes_it(report)]
    if report.proof is not None:
        style = "yellow" if report.proof.fault else ""
        parts.append(Text(f"Proof: {report.proof.sentence}", style=style))
    if report.anchor is not None:
        parts.append(Text(f"Beside {report.anchor.sentence}"))
    bounded = Table.grid()
    bounded.width = width
    bounded.add_column(overflow="fold")
    for part in parts:
        bounded.add_row(part)
    return Group(bounded)


def _line(report: Report, style: str) -> Text:
    line = Text.assemble((f"{report.look.sign} {report.headline}", f"{style} bold"))
    if report.subline:
        line.append(f", {report.subline}")
    return line.append(f". {facts.tally_line(report)}")


def _table(report: Report, width: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, width=width, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Gate", overflow="fold", ratio=1, min_width=18)
    table.add_column("Measured", overflow="fold")
    table.add_column("Limit", overflow="fold")
    table.add_column("Headroom", overflow="fold")
    table.add_column("Evidence", overflow="fold")
    for place, gate in enumerate(report.gates):
        if place and not gate.blocking and report.gates[place - 1].blocking:
            table.add_row("", Text("not deciding:", style="bright_black"))
        table.add_row(*_cells(gate))
    return table


def _cells(gate: Gate) -> tuple[Text, ...]:
    verdict = Text(f"{gate.look.sign} {gate.verdict}", style=_STYLES[gate.look.tone])
    row = gate.lead
    if row is None:
        texts = ("not measured", "no rows", "n/a", "none")
    else:
        texts = (row.value_text, row.limit_text, row.headroom_text, row.evidence or "none")
    return (verdict, Text(gate.id), *(Text(text) for text in texts))
