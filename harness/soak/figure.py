"""The figure of a soak: what it held in memory and on the disk, its kills, and its latencies."""

from __future__ import annotations

from matplotlib.axes import Axes

from harness.report.canvas import INK, LIMIT, MUTED, SERIES, STYLES, Canvas, in_units
from harness.report.quantity import format_quantity, scale_of
from harness.soak.decide import Judgement
from harness.soak.evidence import Soak, counted_s
from harness.soak.slopes import BUDGETS

__all__ = ["draw_soak", "growth_text", "soak_in_words"]

_PANELS = (
    ("Memory of the process that is never killed", ("anonymous",), "B"),
    ("Its file and shared memory", ("clean file pages", "shared memory"), "B"),
    ("Descriptors and threads", ("descriptors", "threads"), "count"),
    ("Files and versions of both stores", ("files", "versions"), "count"),
)
_UNITS = {name: unit for _, names, unit in _PANELS for name in names}
_HOUR_S = 3600.0
_QUARTERS = ("first", "second", "third", "last")


def draw_soak(soak: Soak, judged: Judgement) -> Canvas:
    """Resources over counted hours with the fitted slopes, kills as ticks below, latencies beside.

    A faint upright line is where a segment begins.
    """
    canvas = Canvas(figsize=(9.6, 8.6), layout="constrained")
    starts, total = [], 0.0
    for segment in soak.segments:
        starts.append(total / _HOUR_S)
        total += counted_s(segment)
    kills = [at / _HOUR_S for at, one in soak.timeline() if one.kills]
    for place, (title, names, unit) in enumerate(_PANELS, start=1):
        axes = canvas.add_subplot(3, 2, place)
        _resources(axes, soak, judged, names, unit)
        _time_axis(axes, starts, kills, total / _HOUR_S)
        axes.set_title(title)
    _kills(canvas.add_subplot(3, 2, 5), soak, total / _HOUR_S)
    _latencies(canvas.add_subplot(3, 2, 6), judged)
    return canvas


def _resources(
    axes: Axes, soak: Soak, judged: Judgement, names: tuple[str, ...], unit: str
) -> None:
    most = 0.0
    for place, name in enumerate(names):
        times, values = soak.series(name)
        if not values:
            continue
        most = max(most, *values)
        hours = [at / _HOUR_S for at in times]
        axes.plot(
            hours,
            values,
            marker=".",
            markersize=3,
            linewidth=1.0,
            linestyle=STYLES[place],
            color=SERIES[place],
            label=name,
        )
        slope = judged.growth[name].slope if name in judged.growth else None
        if slope is not None:
            lived, sizes = soak.longest(name)
            middle = (slope.plateau_s + lived[-1]) / 2 / _HOUR_S
            after = sorted(v for at, v in zip(lived, sizes, strict=True) if at >= slope.plateau_s)
            level = after[len(after) // 2]
            ends = [slope.plateau_s / _HOUR_S, lived[-1] / _HOUR_S]
            line = [level + slope.estimate * (end - middle) for end in ends]
            axes.plot(ends, line, color=INK, linewidth=1.6)
    if unit == "B" and most:
        scale = scale_of(unit, most)
        in_units(axes, scale, axis="y")
        axes.set_ylabel(scale.suffix)
    if len(axes.get_lines()) > 1:
        axes.legend()


def _time_axis(axes: Axes, starts: list[float], kills: list[float], end: float) -> None:
    for start in starts[1:]:
        axes.axvline(start, color=MUTED, linewidth=0.5, alpha=0.5)
    axes.plot(
        kills,
        [0.015] * len(kills),
        "|",
        color=LIMIT,
        markersize=6,
        transform=axes.get_xaxis_transform(),
    )
    axes.set_xlim(0, max(end, 1e-3))
    axes.set_xlabel("counted hours; red ticks: kills")


def _kills(axes: Axes, soak: Soak, end: float) -> None:
    times: list[float] = []
    killed: list[int] = []
    recovered: list[int] = []
    for at, one in soak.timeline():
        times.append(at / _HOUR_S)
        killed.append(one.kills + (killed[-1] if killed else 0))
        recovered.append(one.recovered + (recovered[-1] if recovered else 0))
    axes.plot(times, killed, color=LIMIT, linestyle=STYLES[0], label="kills")
    axes.plot(times, recovered, color=SERIES[3], linestyle=STYLES[1], label="recovered")
    axes.set_xlim(0, max(end, 1e-3))
    axes.set_xlabel("counted hours")
    axes.set_title("Kills, and those whose successor verified every key")
    axes.legend()


def _latencies(axes: Axes, judged: Judgement) -> None:
    seen = []
    for place, drift in enumerate(judged.drifts):
        points = [(at, value) for at, value in enumerate(drift.quarters) if value]
        if not points:
            continue
        seen += [value for _, value in points]
        axes.plot(
            [at for at, _ in points],
            [value for _, value in points],
            marker="o",
            linestyle=STYLES[place],
            color=SERIES[place],
            label=drift.kind,
        )
    axes.set_xticks(range(4), _QUARTERS)
    axes.set_title("Latency by quarter (lower quartiles)")
    if seen:
        axes.set_yscale("log")
        scale = scale_of("s", max(seen))
        in_units(axes, scale, axis="y")
        axes.set_ylabel(scale.suffix)
        axes.legend()


def growth_text(resource: str, value: float) -> str:
    """Growth an hour as people read it, in the unit of its budget."""
    return format_quantity(value, _UNITS[resource], limit=BUDGETS[resource])


def soak_in_words(judged: Judgement) -> str:
    """The same facts without a picture."""
    slopes = "; ".join(
        f"{name} {growth_text(name, one.slope.estimate)} an hour, {one.verdict}"
        for name, one in judged.growth.items()
        if one.slope is not None
    )
    quarters = "; ".join(
        f"{drift.kind} "
        + ", ".join("none" if q is None else format_quantity(q, "s") for q in drift.quarters)
        for drift in judged.drifts
    )
    return (
        f"{judged.hours:.1f} hours counted, {judged.kills} kills, {judged.recovered} recovered, "
        f"{judged.mismatches} wrong answers. Growth: {slopes or 'too short to say'}. "
        f"Latency by quarter: {quarters}."
    )
