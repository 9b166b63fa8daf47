"""The drawings about search and updates: plain numbers in, a canvas out; none reads a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.canvas import LIMIT, MUTED, SERIES, STYLES, Canvas, in_units
from harness.report.quantity import format_quantity, scale_of

__all__ = [
    "DebtLine",
    "LoadCurve",
    "RecallPoint",
    "Session",
    "draw_debt",
    "draw_load",
    "draw_recall",
    "draw_sessions",
]

_WIDTH = 4.4  # as in charts
_MARKS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebtLine:
    """One path at one size: seconds by updates since maintenance."""

    label: str
    updates: Sequence[float]
    p50_s: Sequence[float]
    p99_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCurve:
    """Latency from the due time by offered rate; the last point is where it gave way."""

    label: str
    rates: Sequence[float]
    p50_s: Sequence[float]
    p99_s: Sequence[float]
    knee: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Medians of neighbouring updates, in the order they were made."""

    label: str
    number: Sequence[float]
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallPoint:
    """One way to search: how long it takes, and how many of the true nearest it finds."""

    label: str
    seconds: float
    recall: float


def draw_debt(lines: Sequence[DebtLine], limit: float | None) -> Canvas:
    """p99 as lines, p50 as small marks below them, over the updates since maintenance."""
    canvas = Canvas(figsize=(_WIDTH, 3.0 + 0.2 * len(lines)), layout="constrained")
    axes = canvas.add_subplot()
    ticks = sorted({update for line in lines for update in line.updates})
    for place, line in enumerate(lines):
        at = [ticks.index(update) for update in line.updates]
        look: dict[str, Any] = {"color": SERIES[place % 5], "marker": _MARKS[place % 5]}
        axes.plot(at, line.p99_s, linestyle=STYLES[place % 5], label=line.label, **look)
        axes.plot(at, line.p50_s, linestyle="none", markersize=4, alpha=0.75, **look)
    axes.set_yscale("log")
    axes.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(-0.25, len(ticks) - 0.75)
    axes.set_xlabel("updates since the last maintenance")
    _seconds(axes, limit, "a query")
    canvas.legend(loc="outside lower left", ncols=1)
    return canvas


def draw_load(curves: Sequence[LoadCurve], limit: float | None, wanted: float | None) -> Canvas:
    """p99 as lines and p50 as small marks over the offered rate; the promised rate upright."""
    canvas = Canvas(figsize=(_WIDTH, 3.1 + 0.2 * len(curves)), layout="constrained")
    axes = canvas.add_subplot()
    for place, curve in enumerate(curves):
        look: dict[str, Any] = {"color": SERIES[place % 5], "marker": _MARKS[place % 5]}
        knee = "" if curve.knee is None else f": kept up to {format_quantity(curve.knee, '1/s')}"
        label = f"{curve.label}{knee}"
        axes.plot(curve.rates, curve.p99_s, linestyle=STYLES[place % 5], label=label, **look)
        axes.plot(curve.rates, curve.p50_s, linestyle="none", markersize=4, alpha=0.75, **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({rate for curve in curves for rate in curve.rates})
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: max(1, len(ticks) // 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    in_units(axes, scale_of("1/s", 1.0))
    if wanted is not None:
        axes.axvline(wanted, color=MUTED, linewidth=1.2, linestyle="--")
        axes.annotate(
            "promised",
            (wanted, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            color=MUTED,
            fontsize=9,
        )
    axes.set_xlabel("queries a second, offered")
    _seconds(axes, limit, "from due to answered")
    canvas.legend(loc="outside lower left", ncols=1)
    return canvas


def draw_sessions(sessions: Sequence[Session], limit: float | None) -> Canvas:
    """One line a row: what an update takes, the more of them went before."""
    canvas = Canvas(figsize=(_WIDTH, 2.8 + 0.2 * len(sessions)), layout="constrained")
    axes = canvas.add_subplot()
    for place, session in enumerate(sessions):
        axes.plot(
            session.number,
            session.seconds,
            color=SERIES[place % 5],
            linestyle=STYLES[place % 5],
            linewidth=1.6,
            label=session.label,
        )
    shown = [value for session in sessions for value in session.seconds]
    axes.set_ylim(0, max([*shown, limit or 0.0]) * 1.1)
    axes.set_xlim(0, None)
    axes.set_xlabel("updates made before")
    _seconds(axes, limit, "an update, median")
    canvas.legend(loc="outside lower left", ncols=1)
    return canvas


def draw_recall(points: Sequence[RecallPoint], limit: float | None) -> Canvas:
    """Up is better, left is faster."""
    canvas = Canvas(figsize=(_WIDTH, 2.6 + 0.2 * len(points)), layout="constrained")
    axes = canvas.add_subplot()
    for place, point in enumerate(points):
        look: dict[str, Any] = {
            "color": SERIES[place % 5],
            "marker": _MARKS[place % 5],
            "markersize": 8,
        }
        label = (
            f"{point.label}: {format_quantity(point.recall, '1')}, "
            f"{format_quantity(point.seconds, 's')}"
        )
        axes.plot([point.seconds], [point.recall], linestyle="none", label=label, **look)
    if limit is not None:
        _limit(axes, limit, f"limit {format_quantity(limit, '1', exact=True)}")
    lowest = min([point.recall for point in points] + ([limit] if limit else []))
    axes.set_ylim(max(0.0, lowest - 0.25 * (1.02 - lowest)), 1.002)
    axes.set_xlim(0, 1.3 * max(point.seconds for point in points))
    in_units(axes, scale_of("s", 1e-3))
    in_units(axes, scale_of("1", 1.0), axis="y")
    axes.set_xlabel("a query, p99, ms")
    axes.set_ylabel("recall@10, %")
    canvas.legend(loc="outside lower left", ncols=1)
    return canvas


def _seconds(axes: Axes, limit: float | None, what: str) -> None:
    """An upright axis of times in the limit's unit, with the limit drawn across."""
    scale = scale_of("s", limit or 1e-3)
    in_units(axes, scale, axis="y")
    axes.set_ylabel(f"{what}, {scale.suffix}")
    if limit is None:
        return
    _limit(axes, limit, f"limit {format_quantity(limit, 's', exact=True)}")


def _limit(axes: Axes, limit: float, text: str) -> None:
    axes.axhline(limit, color=LIMIT, linewidth=1.6)
    axes.annotate(
        text,
        (1.0, limit),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        color=LIMIT,
        fontsize=9,
    )
