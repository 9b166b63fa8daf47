"""`trend.html`, `trend.png` and `trend.json`: stored history, with a mark where it took a step."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from harness.changepoints import SHORTEST, Step
from harness.history import PastRun, Series
from harness.report.canvas import (
    LIMIT,
    MUTED,
    SERIES,
    Canvas,
    in_units,
    png_of,
    style,
    svg_of,
)
from harness.report.quantity import format_quantity, scale_of
from harness.report.verdict import DECISION_LOOKS, VERDICT_LOOKS

__all__ = ["History", "describe_step", "write_history"]

_FOLDER = Path(__file__).parent
_PANELS_MAX = 24
_ORDER = {verdict: place for place, verdict in enumerate(VERDICT_LOOKS)}
_COLUMNS = 3
_PANEL_INCHES = (3.4, 1.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A series and the steps found in it."""

    series: Series
    steps: tuple[Step, ...]

    @property
    def is_short(self) -> bool:
        """Too few values for a step to show, unless they repeat exactly."""
        return len(self.series.points) < 2 * SHORTEST


def describe_step(history: History, step: Step) -> str:
    """A step in words: when, at which commit, from what to what, and by how much."""
    point = history.series.points[step.place]
    day = datetime.fromtimestamp(point.when, UTC).date().isoformat()
    unit = history.series.unit
    before, after = (
        format_quantity(value, unit, limit=step.before) for value in (step.before, step.after)
    )
    share = "" if step.ratio is None else f" ({step.ratio - 1:+.1%})"
    return f"{day}, {point.commit[:12]}: {before} to {after}{share}"


def write_history(
    histories: Sequence[History],
    unread: Sequence[str],
    folder: Path,
    runs: Sequence[PastRun] = (),
) -> Path:
    """Write the three files into a folder, made where it is missing; returns the page.

    `runs` are listed as they come, each with a link to its report where that lies beside `folder`.
    Series with steps come first. The drawing has the first 24, the page's table has all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(histories, key=lambda one: (not one.steps, one.is_short, one.series.name))
    shown = ordered[:_PANELS_MAX]
    with style():
        canvas = _draw(shown)
        svg = svg_of(canvas, "trend", _in_words(shown))
        (folder / "trend.png").write_bytes(png_of(canvas))
    content = {
        "series": [{**asdict(one.series), "steps": list(map(asdict, one.steps))} for one in ordered]
    }
    (folder / "trend.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("trend.html").render(
        stylesheet=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawing=Markup(svg),  # noqa: S704 - escaped XML
        histories=ordered,
        drawn=len(shown),
        changed=[one for one in ordered if one.steps],
        describe=describe_step,
        unread=unread,
        runs=runs,
        has_report=lambda run: (folder.parent / run.folder / "report.html").is_file(),
        looks=DECISION_LOOKS,
        open_gates=_open_gates,
        shortest=2 * SHORTEST,
    )
    (folder / "trend.html").write_text(page, encoding="utf-8")
    return folder / "trend.html"


def _open_gates(run: PastRun) -> str:
    """What stood in the way of a GO, by verdict: gates by name, those not run as a number."""
    by_verdict: dict[str, list[str]] = {}
    for gate, verdict in run.open_gates:
        by_verdict.setdefault(verdict, []).append(gate)
    parts = [
        f"{len(gates)} {verdict}" if verdict == "NOT RUN" else f"{verdict}: {', '.join(gates)}"
        for verdict, gates in sorted(by_verdict.items(), key=lambda one: _ORDER.get(one[0], -1))
    ]
    return "; ".join(parts) or "none"


def _draw(histories: Sequence[History]) -> Canvas:
    rows = max(1, math.ceil(len(histories) / _COLUMNS))
    width, height = _PANEL_INCHES
    canvas = Canvas(figsize=(_COLUMNS * width, rows * height), layout="constrained")
    for place, history in enumerate(histories, start=1):
        _panel(canvas.add_subplot(rows, _COLUMNS, place), history)
    return canvas


def _panel(axes: Axes, history: History) -> None:
    """Values with their bounds, a line for each level, a dashed one where a level begins."""
    points = history.series.points
    values = [point.value for point in points]
    for place, point in enumerate(points):
        if point.low is not None and point.high is not None:
            axes.vlines(place, point.low, point.high, color=MUTED, linewidth=1.0)
    axes.plot(range(len(points)), values, "o", color=SERIES[0], markersize=3)
    bounds = [0, *(step.place for step in history.steps), len(points)]
    levels = [step.before for step in history.steps[:1]] + [step.after for step in history.steps]
    for level, first, end in zip(levels, bounds, bounds[1:], strict=False):
        axes.hlines(level, first - 0.4, end - 0.6, color=SERIES[1], linewidth=1.8)
    for step in history.steps:
        axes.axvline(step.place - 0.5, color=LIMIT, linestyle="--", linewidth=1.2)
    scale = scale_of(history.series.unit, max(map(abs, values)))
    in_units(axes, scale, axis="y")
    axes.set_ylabel(scale.suffix)
    axes.set_title(_cut(history.series.name), fontsize=8)
    axes.set_xticks([0, len(points) - 1], [points[0].commit[:7], points[-1].commit[:7]])
    axes.set_xlim(-0.8, len(points) - 0.2)


def _cut(name: str, most: int = 44) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _in_words(histories: Sequence[History]) -> str:
    told = [
        f"{one.series.name}: " + "; ".join(describe_step(one, step) for step in one.steps)
        for one in histories
        if one.steps
    ]
    return f"{len(histories)} series over time. " + (". ".join(told) or "No step in any of them.")
