"""The matrix of a proof on a terminal: fault by judge, wanted and seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.prove.matrix import AS_EXPECTED

__all__ = ["render_matrix"]

_STYLES = {"as expected": "green", "missed": "bold red", "tripped": "bold red"}
_SIGNS = {"as expected": "✓", "missed": "✗", "tripped": "✗", "could not run": "○"}


def render_matrix(rows: Sequence[Mapping[str, Any]], verdict: str, width: int) -> RenderableType:
    """One line a judge, below one line a fault; what went wrong has its reason below."""
    table = Table(
        box=box.SIMPLE_HEAD, width=width, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )
    for title in ("Fault, judge", "Must", "Wanted", "Seen"):
        is_first = title == "Fault, judge"
        table.add_column(title, overflow="fold", min_width=26 if is_first else None)
    for row in rows:
        head = f"{_SIGNS[row['state']]} {row['fault']} ({row['tier']}, {row['seconds']:.0f} s)"
        style = _STYLES.get(row["state"], "yellow")
        table.add_row(Text(head, style=style), "", "", row["state"])
        for cell in row["cells"]:
            must = "catch it" if cell["kind"] == "catch" else "be quiet"
            style = "" if cell["right"] else "bold red"
            table.add_row(
                Text(f"    {cell['judge']}"), must, cell["wanted"], Text(_seen(cell), style=style)
            )
    wrong = [
        Text(f"{row['fault']}: {line}", style="bold red")
        for row in rows
        if row["state"] != AS_EXPECTED
        for line in _lines(row)
    ]
    seconds = sum(row["seconds"] for row in rows)
    end = Text(f"{verdict}: {len(rows)} faults and controls, {seconds:.0f} s", style="bold")
    return Group(table, *wrong, end)


def _seen(cell: Mapping[str, Any]) -> str:
    return str(cell["seen"]) if cell["value"] is None else f"{cell['seen']}, {cell['value']:.5g}"


def _lines(row: Mapping[str, Any]) -> list[str]:
    if row["reason"]:
        return [row["reason"]]
    return [
        f"{cell['judge']} says {_seen(cell)}, wanted {cell['wanted']}. {cell['reason']}".strip()
        for cell in row["cells"]
        if not cell["right"]
    ]
