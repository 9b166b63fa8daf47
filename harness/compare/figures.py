"""The drawings of a comparison: all benchmarks at a glance, and the rounds of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from harness.compare.decide import RULE
from harness.compare.view import Line, interval_text, ratio_text
from harness.report.canvas import INK, LIMIT, MUTED, SERIES, Canvas, style, svg_of

__all__ = ["Drawing", "draw_glance", "draw_rounds"]

_WIDTH = 4.4  # as harness/report/charts.py
_REACH = 0.08  # of the ratio axis on either side of 1, at least
_REACH_MAX = 0.6
_SECOND = 1.5  # rows between the runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """An `<svg>` element and the same in words."""

    name: str
    svg: str
    alternative: str


def draw_glance(lines: Sequence[Line]) -> Drawing | None:
    """Interval of each benchmark between the margins, worst first; None if none has any."""
    shown = [line for line in lines if _bounds(line) is not None]
    if not shown:
        return None
    with style():
        canvas = Canvas(figsize=(_WIDTH * 1.9, 0.8 + 0.24 * len(shown)), layout="constrained")
        axes = canvas.add_subplot()
        ends: list[float] = []
        for row, line in enumerate(shown):
            low, ratio, high = _bounds(line) or (1.0, 1.0, 1.0)
            colour = {"fail": LIMIT, "hold": SERIES[1]}.get(line.look.tone, SERIES[0])
            axes.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot([ratio], [row], "o", color=colour, markersize=5.5)
            ends += [low, high]
        axes.set_yticks(range(len(shown)), [f"{one.look.sign} {one.name}" for one in shown])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        _ratio_axis(axes, ends)
        words = [f"{one.name} {one.ratio_text} ({one.interval_text})" for one in shown]
        text = f"Head / base with its interval: {'; '.join(words)}."
        return Drawing(name="glance", svg=svg_of(canvas, "glance", text), alternative=text)


def draw_rounds(line: Line, runs: Sequence[Sequence[float]], place: int) -> Drawing | None:
    """A dot a round, run above run; below each its estimate, interval and the margins.

    Parameters
    ----------
    runs
        Log ratios of the first and, if there was one, of the second run.
    place
        Makes the name unique in the page.
    """
    both = list(zip(runs, (line.first, line.second), strict=False))
    shown = [rounds for rounds, run in both if rounds and run is not None]
    if not shown:
        return None
    name = f"rounds-{place}"
    with style():
        total = sum(len(rounds) for rounds in shown)
        canvas = Canvas(figsize=(_WIDTH, 1.3 + 0.018 * total + 0.3), layout="constrained")
        axes = canvas.add_subplot()
        row, ends, words = 0.0, [], []
        for number, (rounds, run) in enumerate(both, start=1):
            if not rounds or run is None:
                continue
            ratios = [math.exp(value) for value in rounds]
            rows = [row + turn for turn in range(len(ratios))]
            colour = SERIES[number - 1]
            axes.plot(ratios, rows, "o", color=colour, markersize=3.4, alpha=0.75)
            axes.annotate(
                f"run {number}",
                (0, row),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=8.5,
            )
            row = rows[-1] + _SECOND + 1
            _interval(axes, run, row, colour)
            words.append(
                f"run {number}: {len(ratios)} rounds, {ratio_text(run['ratio'])} "
                f"({interval_text(run)}), {run['verdict']}"
            )
            ends += [*ratios, *(run[end] for end in ("low", "high") if run[end] is not None)]
            row += _SECOND + 2
        axes.set_ylim(row - _SECOND, -_SECOND)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        _ratio_axis(axes, ends)
        text = f"{line.name}: each round's ratio head / base as a dot. {'; '.join(words)}."
        return Drawing(name=name, svg=svg_of(canvas, name, text), alternative=text)


def _bounds(line: Line) -> tuple[float, float, float] | None:
    run = line.shown
    if run is None or run["low"] is None or run["high"] is None:
        return None
    return run["low"], run["ratio"], run["high"]


def _interval(axes: Axes, run: Mapping[str, Any], row: float, colour: str) -> None:
    if run["low"] is not None and run["high"] is not None:
        ends = [run["low"], run["high"]]
        axes.plot(ends, [row, row], color=colour, linewidth=3, solid_capstyle="butt")
    if run["ratio"] is not None:
        axes.plot([run["ratio"]], [row], "D", color=colour, markersize=5.5)


def _ratio_axis(axes: Axes, seen: Sequence[float]) -> None:
    """Around 1, with both margins; what lies far out is drawn at the edge."""
    reach = max([_REACH, *(abs(value - 1) * 1.1 for value in seen)])
    reach = min(reach, _REACH_MAX)
    axes.set_xlim(1 - reach, 1 + reach)
    axes.axvline(1.0, color=MUTED, linewidth=1)
    for margin, dash in ((RULE.margin, "--"), (RULE.tolerance, "-")):
        axes.axvline(1 + margin, color=LIMIT, linewidth=1.2, linestyle=dash)
        axes.annotate(
            f"{1 + margin:g}",
            (1 + margin, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center" if reach < 0.25 or margin > 0.02 else "right",
            va="bottom",
            color=LIMIT,
            fontsize=8.5,
        )
    axes.set_xlabel("head / base (above 1: slower)")
