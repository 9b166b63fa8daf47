"""`report.pdf`: the verdict, the gate table and the figures on paper, for a file or a signature."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
from fpdf import FPDF, FontFace
from fpdf.enums import TableBordersLayout, XPos, YPos

from harness.report import facts, wording
from harness.report.figures import Figure
from harness.report.model import Gate, Report

__all__ = ["render_pdf"]

_FONT = "DejaVu"
_INK, _MUTED, _ALARM = (27, 31, 36), (89, 97, 109), (179, 32, 31)
_TONES = {
    "pass": (23, 99, 58),
    "fail": (165, 29, 29),
    "hold": (125, 82, 0),
    "infeasible": (122, 42, 128),
    "invalid": (154, 52, 18),
    "absent": (75, 85, 99),
    "waived": (31, 95, 134),
}
_COLUMNS = (30, 56, 40, 20, 19, 19)
_FIGURE_WIDTH = 118.0
_UNDATED = datetime(1980, 1, 1, tzinfo=UTC)  # a run without a time still gives equal bytes


class _Paper(FPDF):  # type: ignore[misc] # the package is followed no further, see pyproject
    """A4 with one font that has every sign of a report, and a footer that names the run."""

    def __init__(self, footing: str) -> None:
        super().__init__(format="A4")
        self._footing = footing
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font(_FONT, "", fonts / "DejaVuSans.ttf")
        self.add_font(_FONT, "B", fonts / "DejaVuSans-Bold.ttf")
        self.set_margins(13, 13)
        self.set_auto_page_break(True, margin=18)

    def footer(self) -> None:
        """Run and page number, so that a single sheet still says where it belongs."""
        self.set_y(-13)
        self.set_font(_FONT, size=7.5)
        self.set_text_color(*_MUTED)
        self.cell(0, 5, f"{self._footing} · page {self.page_no()} of {{nb}}")


def render_pdf(report: Report, figures: Sequence[Figure]) -> bytes:
    """Render the PDF; equal reports and figures give equal bytes.

    The document is dated with the run's end, never with the moment of rendering.
    """
    run_id = str(report.run.get("id", "run"))
    paper = _Paper(_clipped(f"{report.headline} · {run_id}", 110))
    paper.set_title(f"{report.headline} · {run_id}")
    paper.set_lang("en")
    paper.set_creation_date(facts.run_moment(report) or _UNDATED)
    paper.add_page()
    _band(paper, report)
    _alarms(paper, report)
    _heading(paper, "What would change it")
    _bullets(paper, wording.what_changes_it(report))
    _heading(paper, "What was judged")
    for name, text in facts.identity(report):
        _pair(paper, name, text)
    _gates(paper, report)
    if report.waivers:
        _heading(paper, "Waivers")
        _bullets(
            paper,
            [
                f"{w.gate}: {w.reason or 'no reason given'} ({w.state or 'state unknown'}, "
                f"{w.owner or 'nobody'}, until {w.expires or 'unknown'}, {w.commits or 'no range'})"
                for w in report.waivers
            ],
        )
    if report.proof is not None:
        _heading(paper, "Can these gates fail?")
        _paragraph(paper, report.proof.sentence)
        _bullets(paper, [row.line for row in report.proof.rows])
    if report.anchor is not None:
        _heading(paper, "Beside the last release")
        _paragraph(paper, report.anchor.sentence)
    if report.reliability is not None:
        _heading(paper, "Reliability")
        _paragraph(paper, report.reliability.sentence)
        _bullets(paper, [report.reliability.line, *report.reliability.faults])
    _heading(paper, "Not tested")
    _bullets(paper, wording.not_tested(report))
    _figures(paper, figures)
    _heading(paper, "How this was decided")
    for paragraph in wording.HOW_DECIDED:
        _paragraph(paper, paragraph)
    _heading(paper, "How to repeat it")
    for what, command in wording.repeat_commands(report):
        _pair(paper, what, command)
    return bytes(paper.output())


def _band(paper: _Paper, report: Report) -> None:
    top = paper.get_y()
    paper.set_fill_color(*_TONES[report.look.tone])
    paper.rect(0, 0, paper.w, 62, style="F")
    paper.set_text_color(255, 255, 255)
    paper.set_y(top + 2)
    _write(paper, f"{report.look.sign} {report.headline}", size=40, bold=True, height=18)
    if report.subline:
        _write(paper, report.subline, size=14, bold=True, height=8)
    meaning = f"{report.verdict}: {report.look.meaning}. {facts.tally_line(report)}"
    _write(paper, meaning, size=9.5, height=5)
    paper.set_text_color(*_INK)
    paper.set_fill_color(255, 255, 255)
    paper.set_y(max(64.0, paper.get_y() + 4))


def _alarms(paper: _Paper, report: Report) -> None:
    if not report.alarms:
        return
    paper.set_text_color(*_ALARM)
    _heading(paper, "⚠ This report contradicts itself")
    _bullets(paper, report.alarms)
    paper.set_text_color(*_INK)


def _gates(paper: _Paper, report: Report) -> None:
    _heading(paper, "Gates")
    paper.set_font(_FONT, size=8)
    with paper.table(
        col_widths=_COLUMNS,
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        line_height=4.2,
        padding=1,
        text_align="LEFT",
        v_align="TOP",
        headings_style=FontFace(emphasis="BOLD", color=_MUTED),
    ) as table:
        table.row(("Verdict", "Gate", "Measured", "Limit", "Headroom", "Evidence"))
        for gate in report.gates:
            line = table.row()
            tone = FontFace(emphasis="BOLD", color=_TONES[gate.look.tone])
            line.cell(f"{gate.look.sign} {gate.verdict}", style=tone)
            for text in _cells(gate):
                line.cell(text)


def _cells(gate: Gate) -> tuple[str, str, str, str, str]:
    deciding = "" if gate.blocking else " (shown, not deciding)"
    promise = [f"{gate.id}{deciding}", gate.claim, *wording.asides(gate)]
    row = gate.lead
    if row is None:
        return "\n".join(promise), "not measured", "no rows", "n/a", "none"
    if len(gate.rows) > 1:
        promise.insert(2, f"{gate.tally}; shown: {row.label}")
    bound = f"best possible {row.bound_text}" if row.bound is not None else ""
    value = "\n".join(part for part in (row.value_text, row.interval_text, bound) if part)
    name = "\n".join(_clipped(part, 160) for part in promise)
    return name, value, row.limit_text, row.headroom_text, row.evidence or "none"


def _figures(paper: _Paper, figures: Sequence[Figure]) -> None:
    _heading(paper, "Figures")
    for figure in figures:
        if figure.missing:
            _pair(paper, figure.title, figure.missing)
            continue
        wide, high = struct.unpack(">II", figure.png[16:24])  # IHDR, always a PNG's first chunk
        height = _FIGURE_WIDTH * high / wide
        if paper.will_page_break(height + 24):
            paper.add_page()
        _write(paper, figure.title, size=10.5, bold=True, height=6)
        paper.image(io.BytesIO(figure.png), w=_FIGURE_WIDTH, alt_text=figure.alternative)
        paper.set_text_color(*_MUTED)
        _write(paper, figure.caption, size=8.5, height=4.4)
        paper.set_text_color(*_INK)
        paper.ln(5)


def _heading(paper: _Paper, text: str) -> None:
    if paper.will_page_break(24):
        paper.add_page()
    paper.ln(3)
    _write(paper, text, size=13, bold=True, height=7)
    paper.ln(1)


def _bullets(paper: _Paper, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        _paragraph(paper, f"• {sentence}")


def _paragraph(paper: _Paper, text: str) -> None:
    _write(paper, text, size=9, height=4.7)
    paper.ln(0.8)


def _pair(paper: _Paper, name: str, text: str) -> None:
    _paragraph(paper, f"{name}: {text}")


def _write(paper: _Paper, text: str, *, size: float, height: float, bold: bool = False) -> None:
    paper.set_font(_FONT, "B" if bold else "", size)
    paper.multi_cell(0, height, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
