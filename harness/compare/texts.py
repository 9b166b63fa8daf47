"""A comparison on a terminal, as JUnit XML and as the job summary of a CI run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.compare.view import Line, View

__all__ = ["VISIBLE_LINES_MAX", "render_junit", "render_summary", "render_terminal"]

VISIBLE_LINES_MAX = 20
_ROWS_MAX = VISIBLE_LINES_MAX - 12
_REASONS_MAX, _REASON_MAX = 2, 300  # visible in the summary; characters of each
_MARKUP = re.compile(r"([\\`*_\[\]#|~$:]|^[-+]|(?<=^\d)[.)])")
_STYLES = {"pass": "green", "fail": "bold red", "hold": "yellow", "invalid": "bold yellow"}
_WIDE, _NARROW = 100, 75  # columns of a terminal
_DECISIONS = {"pass": "", "fail": "failure", "hold": "error"}
_HEADS = ("verdict", "benchmark", "head / base", "interval", "rounds", "a call")


def render_terminal(view: View, width: int) -> RenderableType:
    """Decision, one line a benchmark, what it relies on. Sign and word say what colour says."""
    style = _STYLES[view.look.tone]
    table = Table(box=box.SIMPLE_HEAD, width=width, padding=(0, 1, 0, 0), pad_edge=False)
    shown = 6 if width >= _WIDE else 5 if width >= _NARROW else 3
    heads = _HEADS[:shown]
    for head in heads:
        is_name = head == "benchmark"
        table.add_column(
            head.capitalize(),
            overflow="fold",
            no_wrap=not is_name and width >= _NARROW,
            ratio=1 if is_name else None,
        )
    for line in view.lines:
        word = Text(f"{line.look.sign} {line.verdict}", style=_STYLES[line.look.tone])
        name = Text(line.name if line.decides else f"{line.name} (trend only)")
        cells = [word, name, *map(Text, _cells(line))]
        table.add_row(*cells[: len(heads)])
    parts: list[RenderableType] = [
        Text(f"{view.look.sign} {view.verdict}: {view.headline}. {view.tally}", style=style),
        table,
        *(Text(f"• {reason}") for reason in view.reasons),
        *(Text(f"{name}: {text}") for name, text in view.facts if name != "Command"),
        *(Text(note) for note in view.notes),
    ]
    return Group(*parts)


def _cells(line: Line) -> Sequence[str]:
    return line.ratio_text, line.interval_text, line.rounds_text, line.times_text


def render_junit(view: View) -> str:
    """One test case a benchmark: REGRESSED is a failure, what could not be said is an error.

    A benchmark that does not decide passes, with its verdict in its output. The first case is the
    decision itself, so that the file is never green with an exit status other than 0. Never
    <skipped>: many services paint skipped tests green.
    """
    root = ElementTree.Element("testsuites", name=f"harness compare: {view.verdict}")
    suite = ElementTree.SubElement(root, "testsuite", name="compare", skipped="0")
    outcomes = []
    decision = "; ".join([view.headline, *view.reasons])
    cases = [("decision", _DECISIONS[view.look.tone], view.verdict, f"{view.verdict}: {decision}")]
    cases += [(line.name, _outcome(line), line.verdict, _told(line)) for line in view.lines]
    for name, outcome, verdict, text in cases:
        outcomes.append(outcome)
        element = ElementTree.SubElement(suite, "testcase", classname="compare", name=name)
        if outcome:
            problem = ElementTree.SubElement(element, outcome, message=text, type=verdict)
            problem.text = text
        else:
            ElementTree.SubElement(element, "system-out").text = text
    for owner in (root, suite):
        owner.set("tests", str(len(outcomes)))
        owner.set("failures", str(outcomes.count("failure")))
        owner.set("errors", str(outcomes.count("error")))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _outcome(line: Line) -> str:
    if not line.decides:
        return ""
    uncalibrated = line.standing is not None and line.standing["state"] == "uncalibrated"
    if uncalibrated or line.look.tone in ("hold", "invalid"):
        return "error"
    if line.verdict != "REGRESSED":
        return ""
    return "failure" if line.is_sure else "error"


def _told(line: Line) -> str:
    parts = [f"{line.verdict}: {line.ratio_text} ({line.interval_text})", line.reason]
    parts += [line.effect_text, f"{line.rounds_text} rounds" if line.rounds_text else ""]
    if line.standing is not None and line.standing["state"] != "calibrated":
        parts.append(f"{line.standing['state']}: {line.standing['reason']}")
    return "; ".join(part for part in parts if part)


def render_summary(view: View) -> str:
    """GitHub-flavoured Markdown, at most 20 lines visible, the rest folded; every text escaped."""
    reasons = [] if view.look.tone == "fail" else view.reasons[:_REASONS_MAX]
    visible = [
        f"# {view.look.sign} {_plain(view.verdict)}: {_plain(view.headline)}",
        "",
        f"{_plain(view.tally)}.",
        "",
        *_table(view.lines[: _ROWS_MAX - len(reasons)]),
        "",
        *(f"- {_plain(_cut(reason))}" for reason in reasons),
        *(f"- {_plain(name)}: {_plain(text)}" for name, text in view.facts[:2]),
        f"- Calibration: {_plain(dict(view.facts)['Calibration'])}",
        "",
    ]
    folded = ["<details>", "<summary>All benchmarks, reasons, how to repeat it</summary>", ""]
    folded += [*_table(view.lines), ""]
    folded += [f"- {_plain(_told_with_name(line))}" for line in view.lines]
    folded += [f"- {_plain(text)}" for text in (*view.reasons, *view.notes)]
    folded += [f"- {_plain(name)}: {_plain(text)}" for name, text in view.facts]
    return "\n".join([*visible, *folded, "", "</details>", ""])


def _cut(text: str) -> str:
    return text if len(text) <= _REASON_MAX else f"{text[:_REASON_MAX]} ..."


def _told_with_name(line: Line) -> str:
    return f"{line.name}: {_told(line)}"


def _table(lines: Sequence[Line]) -> list[str]:
    rows = [f"| {' | '.join(_HEADS)} |", f"|{' --- |' * len(_HEADS)}"]
    for line in lines:
        cells = [f"{line.look.sign} {line.verdict}", line.name, *_cells(line)]
        rows.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    return rows


def _plain(text: str) -> str:
    """A text that means itself in Markdown: no tag, no table cell, no emphasis, no link."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", text)
