"""Which data the figures about search and updates show, and the same in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.report import search_charts as charts
from harness.report.canvas import Canvas
from harness.report.context import number
from harness.report.model import Report, Row
from harness.report.quantity import format_quantity
from harness.report.samples import read_sessions

__all__ = ["Drawn", "drawn_debt", "drawn_load", "drawn_recall", "drawn_sessions", "rows_of"]

_BLOCK = 20  # updates in one point of a session's line
_LINES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A figure to be: how to draw it, its caption, and the same facts in words."""

    canvas: Callable[[], Canvas]
    caption: str
    alternative: str


def rows_of(report: Report, gate: str) -> list[Row]:
    """The rows of a gate, worst first; none if the run has no such gate."""
    return [row for found in report.gates if found.id == gate for row in found.rows]


def drawn_debt(report: Report) -> Drawn | None:
    """p50 and p99 of query.latency over the updates since maintenance."""
    by_line: dict[str, list[tuple[float, float, float]]] = {}
    limit = None
    for row in rows_of(report, "query.latency"):
        updates, p50 = number(row.population, "updates"), number(row.context, "p50_s")
        if updates is None or p50 is None or row.estimate is None:
            continue
        limit = row.limit or limit
        label = row.label.rpartition(",")[0] or row.label
        by_line.setdefault(label, []).append((updates, p50, row.estimate))
    lines = []
    # a size that was looked at with one debt only says nothing of debts
    drawn = [(label, points) for label, points in sorted(by_line.items()) if len(points) > 1]
    for label, points in drawn[:_LINES_MAX]:
        updates_, p50s, p99s = zip(*sorted(points), strict=True)
        lines.append(charts.DebtLine(label=label, updates=updates_, p50_s=p50s, p99_s=p99s))
    if not lines:
        return None
    facts = "; ".join(
        f"{line.label}: "
        + ", ".join(
            f"p99 {format_quantity(p99, 's', limit=limit)} after {update:g} updates"
            for update, p99 in zip(line.updates, line.p99_s, strict=True)
        )
        for line in lines
    )
    return Drawn(
        canvas=lambda: charts.draw_debt(lines, limit),
        caption="p99 of a query for the 10 nearest as lines, p50 as small marks, result cache off. "
        "A flat line means that speed does not depend on what was updated since maintenance.",
        alternative=f"Query latency by updates since maintenance. {facts}.",
    )


def drawn_load(report: Report) -> Drawn | None:
    """The search for the knee, beside the load that is promised."""
    row = next(
        (
            row
            for row in rows_of(report, "query.throughput")
            if isinstance(row.context.get("knee_curve"), list)
        ),
        None,
    )
    if row is None:
        return None
    limit = number(row.context, "knee_p99_limit_s")
    curves = [
        curve
        for name, label in (("knee", "one caller"), ("knee_4_threads", "four callers"))
        if (curve := _curve(row, name, label)) is not None
    ]
    if not curves:
        return None
    facts = "; ".join(
        f"{curve.label}: kept up to {format_quantity(curve.knee, '1/s')}, "
        f"p99 {format_quantity(curve.p99_s[0], 's')} at {format_quantity(curve.rates[0], '1/s')}"
        for curve in curves
    )
    return Drawn(
        canvas=lambda: charts.draw_load(curves, limit, row.limit),
        caption="Open loop: latency counts from when a query was due, so waiting for the one "
        "before it is in it. Lines are p99, small marks p50; the rate doubles until the p99 passes "
        "the red line. The last point is where the store no longer kept up.",
        alternative=f"Latency over offered rate. {facts}.",
    )


def _curve(row: Row, name: str, label: str) -> charts.LoadCurve | None:
    listed = row.context.get(f"{name}_curve")
    points = [point for point in (listed if isinstance(listed, list) else []) if _is_point(point)]
    if not points:
        return None
    rates, _, p50s, p99s = zip(*points, strict=True)
    knee = number(row.context, f"{name}_rate")
    return charts.LoadCurve(label=label, rates=rates, p50_s=p50s, p99_s=p99s, knee=knee)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 4
        and all(isinstance(value, (int, float)) and 0 < value < float("inf") for value in point)
    )


def drawn_sessions(report: Report, run_dir: Path) -> Drawn | None:
    """What an update takes over a session of them."""
    sessions: list[charts.Session] = []
    facts: list[str] = []
    limit: float | None = None
    for row in rows_of(report, "update.latency"):
        found = _medians(read_sessions(run_dir, row)) if row.unit == "s" else None
        if found is None or len(sessions) == _LINES_MAX:
            continue
        numbers, seconds = found
        limit = row.limit or limit
        sessions.append(charts.Session(label=row.label, number=numbers, seconds=seconds))
        slope = number(row.context, "added_by_1000_updates_s")
        low, high = (
            number(row.context, f"added_by_1000_updates_{end}_s") for end in ("low", "high")
        )
        trend = (
            f", 1 000 updates add {_signed(slope)} ({_signed(low)} to {_signed(high)})"
            if slope is not None and low is not None and high is not None
            else ""
        )
        facts.append(
            f"{row.label}: first {format_quantity(seconds[0], 's', limit=limit)}, "
            f"last {format_quantity(seconds[-1], 's', limit=limit)}{trend}"
        )
    if not sessions:
        return None
    return Drawn(
        canvas=lambda: charts.draw_sessions(sessions, limit),
        caption=f"Medians of {_BLOCK} neighbouring updates over all processes, in the order they "
        f"were made, maintenance included. {'. '.join(facts)}.",
        alternative=f"Update latency over a session. {'. '.join(facts)}.",
    )


def _signed(seconds: float) -> str:
    sign = "" if seconds < 0 else "+"
    return f"{sign}{format_quantity(seconds, 's')}"


def _medians(sessions: Sequence[Sequence[float]]) -> tuple[list[float], list[float]] | None:
    blocks = min((len(values) for values in sessions), default=0) // _BLOCK
    if blocks < 2:
        return None
    cut = np.array([values[: blocks * _BLOCK] for values in sessions])
    medians = np.median(cut.reshape(len(sessions), blocks, _BLOCK), axis=(0, 2))
    return [float(block * _BLOCK) for block in range(blocks)], medians.tolist()


def drawn_recall(report: Report) -> Drawn | None:
    """Recall and latency of each path at 100 000 vectors, where a profile measures them."""
    recall = next(
        (
            row
            for row in rows_of(report, "quality.search")
            if row.unit == "1" and row.estimate is not None
        ),
        None,
    )
    if recall is None or recall.estimate is None:
        return None
    size = number(recall.population, "vectors")
    points = []
    for row in rows_of(report, "query.latency"):
        if number(row.population, "vectors") == size and row.estimate is not None:
            is_exact = row.population.get("search_index") != "lance"
            points.append(
                charts.RecallPoint(
                    label=row.label.partition(",")[0],
                    seconds=row.estimate,
                    recall=1.0 if is_exact else recall.estimate,
                )
            )
    if not points:
        return None
    facts = "; ".join(
        f"{one.label}: recall {format_quantity(one.recall, '1')}, "
        f"p99 {format_quantity(one.seconds, 's')}"
        for one in points
    )
    return Drawn(
        canvas=lambda: charts.draw_recall(points, recall.limit),
        caption="Share of the true 10 nearest that a search finds, and the p99 it takes; the flat "
        "path is exact by proof, and its exactness is measured by quality.search.",
        alternative=f"Recall and latency. {facts}.",
    )
