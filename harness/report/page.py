"""`report.html`: one file that a release manager reads in two minutes, and can mail.

Nothing is fetched, no script runs; every text is escaped by the template engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report import facts, wording
from harness.report.bullet import Bullet, bullet_of
from harness.report.context import scalars, words
from harness.report.figures import Figure
from harness.report.model import Gate, Report, Row
from harness.report.verdict import SETTLED, VERDICT_LOOKS

__all__ = ["render_page"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line of the gate table: a gate and the row that decides it."""

    gate: Gate
    lead: Row | None
    bullet: Bullet | None
    anchor: str
    asides: Sequence[str]
    open: bool


def render_page(report: Report, figures: Sequence[Figure]) -> str:
    """Render the page; equal reports and figures give equal text.

    Parameters
    ----------
    report
        The run's verdicts, as read.
    figures
        From `build_figures`; one that is missing becomes its sentence.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = [_entry(gate, place) for place, gate in enumerate(report.gates, start=1)]
    return environment.get_template("page.html").render(
        report=report,
        stylesheet=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawings={figure.name: Markup(figure.svg) for figure in figures},  # noqa: S704 - escaped XML
        figures=figures,
        deciding=[entry for entry in entries if entry.gate.blocking],
        beside=[entry for entry in entries if not entry.gate.blocking],
        entries=entries,
        facts=facts,
        wording=wording,
        looks=VERDICT_LOOKS,
        bullet_of=bullet_of,
        row_facts=_row_facts,
    )


def _entry(gate: Gate, place: int) -> _Entry:
    lead = gate.lead
    return _Entry(
        gate=gate,
        lead=lead,
        bullet=bullet_of(lead) if lead is not None else None,
        anchor=f"gate-{place}",
        asides=wording.asides(gate),
        open=gate.verdict not in SETTLED and gate.verdict != "NOT RUN",
    )


def _row_facts(row: Row) -> list[tuple[str, str]]:
    """Everything else that is known of a row, as (name, text)."""
    known = [
        ("row", row.id),
        ("deciding", "yes" if row.blocking else "no, advisory"),
        ("metric", ", ".join(part for part in (row.metric, row.statistic) if part)),
        ("samples × processes", row.size_text),
        ("best this data allows", row.bound_text if row.bound is not None else ""),
        ("why no better", row.bound_reason),
        ("evidence", row.evidence),
        ("accepted evidence", ", ".join(row.accepts)),
        ("raw samples", row.measurement),
    ]
    population = [(f"population: {words(str(k))}", str(v)) for k, v in row.population.items()]
    return [pair for pair in known if pair[1]] + population + scalars(row.context)
