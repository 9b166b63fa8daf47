"""The drawings: each takes plain numbers and gives back a canvas; none of them reads a file."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from harness.report.canvas import (
    INK,
    LIMIT,
    PAPER,
    SERIES,
    STYLES,
    Canvas,
    in_units,
    mark_limit,
)
from harness.report.quantity import format_quantity, scale_of

__all__ = [
    "Curve",
    "Rungs",
    "Spread",
    "Stack",
    "draw_latency",
    "draw_memory",
    "draw_ratios",
    "draw_sizes",
    "draw_starts",
]

_WIDTH = 4.4  # at 375 px of screen a 9-point letter is then 10 px high
_POINTS_MAX = 260
_NAME_MAX = 20  # characters of a name beside the axes, before it takes a second line
_HATCHES = ("", "////", "....", "\\\\\\\\", "xx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Samples of one row, in seconds."""

    label: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """Bytes per vector of one model: ours, the rivals, and the bounds below which none can go."""

    label: str
    ours: float
    raw: float | None
    limit: float | None
    bounds: Mapping[str, float]
    rivals: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hit ratio over capacity of one trace: reference policies, and the store's own point."""

    label: str
    capacities: Sequence[float]
    policies: Mapping[str, Sequence[float]]
    ours: tuple[float, float] | None
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Memory of one row by page type, in bytes, with and without the store."""

    label: str
    treatment: Mapping[str, float]
    control: Mapping[str, float]
    limit: float | None


def draw_latency(spreads: Sequence[Spread], limit: float) -> Canvas:
    """Share of calls that took at most x, upwards in nines, so that p99 is as plain as p50."""
    canvas = Canvas(figsize=(_WIDTH, 3.1 + 0.2 * len(spreads)), layout="constrained")
    axes = canvas.add_subplot()
    rarest = max(len(spread.values) for spread in spreads)
    top = max(2.3, min(4.3, math.log10(2 * rarest)))
    for place, spread in enumerate(spreads):
        ordered = np.sort(np.asarray(spread.values, dtype=np.float64))
        p50, p99 = (float(np.quantile(ordered, share)) for share in (0.5, 0.99))
        ranks = np.unique(
            ((1 - 10.0 ** -np.linspace(0, top, _POINTS_MAX)) * ordered.size).astype(int)
        )
        ranks = ranks[ranks < ordered.size]
        shares = (ranks + 0.5) / ordered.size
        colour, dash = SERIES[place % 5], STYLES[place % 5]
        gap = " " if len(spread.label) <= _NAME_MAX else "\n"
        text = f"{spread.label}:{gap}p50 {_time(p50, limit)}, p99 {_time(p99, limit)}"
        axes.plot(
            ordered[ranks], -np.log10(1 - shares), color=colour, linestyle=dash, linewidth=1.8
        )
        axes.plot([], [], color=colour, linestyle=dash, linewidth=1.8, label=text)
        axes.plot([p50, p99], [-math.log10(0.5), 2.0], "o", color=colour, markersize=5.5)
    axes.set_xscale("log")
    shown = [value for spread in spreads for value in spread.values if value > 0]
    axes.set_xlim(min(limit / 100, min(shown) / 1.2), max(limit * 10, max(shown) * 1.2))
    axes.set_ylim(0, top)
    ticks = [0.0, -math.log10(0.5), 1.0, 2.0, 3.0, 4.0]
    names = ["fastest", "p50", "p90", "p99", "p99.9", "p99.99"]
    kept = [(tick, name) for tick, name in zip(ticks, names, strict=True) if tick <= top]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick, _ in kept]))
    axes.yaxis.set_major_formatter(FixedFormatter([name for _, name in kept]))
    scale = scale_of("s", limit)
    in_units(axes, scale)
    axes.set_xlabel(f"time of a call, {scale.suffix}")
    mark_limit(axes, limit, f"limit {format_quantity(limit, 's', exact=True)}")
    canvas.legend(loc="outside lower left", ncols=1)
    return canvas


def draw_sizes(models: Sequence[Rungs]) -> Canvas:
    """One panel a model: bars of bytes per vector, smallest first; limit and bounds as lines."""
    heights = [1.0 + len(model.rivals) + 2.6 for model in models]
    canvas = Canvas(figsize=(_WIDTH, 0.27 * sum(heights) + 0.5), layout="constrained")
    panels = canvas.subfigures(len(models), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, model in zip(panels, models, strict=True):
        # Over the whole width: above the axes alone, a long model name would be cut off.
        panel.suptitle(model.label, x=0.01, ha="left", fontsize=10, fontweight="bold")
        axes = panel.subplots()
        bars = sorted([("this store", model.ours), *model.rivals.items()], key=lambda bar: bar[1])
        rows = range(len(bars))
        axes.barh(
            rows,
            [size for _, size in bars],
            color=[SERIES[0] if name == "this store" else SERIES[4] for name, _ in bars],
            height=0.68,
        )
        names = [f"▸ {name}" if name == "this store" else name[:_NAME_MAX] for name, _ in bars]
        axes.set_yticks(rows, names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        right = max([size for _, size in bars] + [model.raw or 0.0]) * 1.16
        axes.set_xlim(0, right)
        for row, (name, size) in enumerate(bars):
            share = f" · {format_quantity(size / model.raw, '1')}" if model.raw else ""
            text = f"{format_quantity(size, 'B')}{share}"
            inside = size > 0.55 * right
            ground = SERIES[0] if name == "this store" else SERIES[4]
            axes.annotate(
                text,
                (size, row),
                xytext=(-4 if inside else 4, 0),
                textcoords="offset points",
                ha="right" if inside else "left",
                va="center",
                fontsize=8.5,
                color=PAPER if inside else INK,
                zorder=5,
                bbox={"facecolor": ground if inside else PAPER, "edgecolor": "none", "pad": 0.8},
            )
        axes.grid(visible=False, axis="y")
        lowest = min(model.bounds.values(), default=0.0)
        if model.limit is not None:
            side = "left" if lowest <= model.limit else "right"
            mark_limit(axes, model.limit, "limit", side=side if model.bounds else "center")
        for place, size in enumerate(model.bounds.values()):
            axes.axvline(size, color=INK, linewidth=1.6, linestyle=(":", "--")[place % 2])
        if model.bounds:
            before = model.limit is None or lowest <= model.limit
            axes.annotate(
                "bound",
                (lowest, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-2 if before else 2, 3),
                textcoords="offset points",
                ha="right" if before else "left",
                va="bottom",
                fontsize=9,
            )
    axes.set_xlabel("bytes per vector")
    return canvas


def draw_ratios(traces: Sequence[Curve]) -> Canvas:
    """Hit ratio over capacity: what other policies reach, the bound, and where the store stands."""
    canvas = Canvas(figsize=(_WIDTH, 2.2 * len(traces) + 1.3), layout="constrained")
    panels = canvas.subplots(len(traces), 1, squeeze=False, sharex=True)[:, 0]
    names = list(dict.fromkeys(name for trace in traces for name in trace.policies))
    for axes, trace in zip(panels, traces, strict=True):
        for name, ratios in trace.policies.items():
            place = names.index(name)
            axes.plot(
                trace.capacities,
                ratios,
                color=SERIES[place % 5],
                linestyle=STYLES[place % 5],
                linewidth=1.8,
                label=name,
            )
        if trace.ours is not None:
            axes.plot(*trace.ours, "*", color=INK, markersize=13, label="this store", zorder=5)
            axes.annotate(
                format_quantity(trace.ours[1], "1"),
                trace.ours,
                xytext=(8, -13),
                textcoords="offset points",
                fontsize=9,
            )
        if trace.limit is not None:
            axes.axhline(trace.limit, color=LIMIT, linewidth=1.6)
            axes.annotate(
                f"limit {format_quantity(trace.limit, '1', exact=True)}",
                (1.0, trace.limit),
                xycoords=("axes fraction", "data"),
                xytext=(0, -3),
                textcoords="offset points",
                ha="right",
                va="top",
                color=LIMIT,
                fontsize=9,
            )
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.04)
        axes.set_title(trace.label)
        in_units(axes, scale_of("1", 1.0), axis="y")
        axes.set_ylabel("hits, %")
        ticks = sorted(set(trace.capacities))
        axes.xaxis.set_major_locator(FixedLocator(ticks[:: max(1, len(ticks) // 6)]))
        axes.xaxis.set_minor_locator(NullLocator())
        in_units(axes, scale_of("B", 1e6))
    panels[-1].set_xlabel("capacity of the hot tier, MB")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = 2 if max(map(len, handles)) <= _NAME_MAX + 2 else 1
    canvas.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=columns)
    return canvas


def draw_memory(stacks: Sequence[Stack]) -> Canvas:
    """Above: what the store adds, by page type, against its limit. Below: the whole processes."""
    kinds = list(dict.fromkeys(kind for stack in stacks for kind in stack.treatment))
    counted = [kind for kind in kinds if "clean" not in kind]  # the page cache's
    count = len(stacks)
    canvas = Canvas(figsize=(_WIDTH, 1.75 + 0.42 * count + 0.72 * count), layout="constrained")
    upper, lower = canvas.subplots(2, 1, height_ratios=[0.6 + count, 0.6 + 1.8 * count])
    for row, stack in enumerate(stacks):
        added = {k: stack.treatment.get(k, 0.0) - stack.control.get(k, 0.0) for k in counted}
        _pile(upper, row, added, kinds)
        if stack.limit is not None:
            upper.plot([stack.limit] * 2, [row - 0.42, row + 0.42], color=LIMIT, linewidth=2.2)
            end = max(stack.limit, sum(size for size in added.values() if size > 0))
            upper.annotate(
                f"limit {format_quantity(stack.limit, 'B', exact=True)}",
                (end, row),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                color=LIMIT,
                fontsize=9,
            )
        _pile(lower, 2 * row, stack.treatment, kinds)
        _pile(lower, 2 * row + 1, stack.control, kinds)
    upper.set_yticks(range(count), [_folded(stack.label) for stack in stacks])
    names = [text for s in stacks for text in (f"{_folded(s.label)},\nwith store", "import only")]
    lower.set_yticks(range(2 * count), names)
    upper.set_title("added by the store")
    lower.set_title("whole process")
    right = max([upper.get_xlim()[1], *(s.limit * 1.45 for s in stacks if s.limit)])
    upper.set_xlim(min(0.0, upper.get_xlim()[0]), right)
    for axes in (upper, lower):
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        in_units(axes, scale_of("B", 1e6))
    lower.set_xlabel("MB")
    handles, labels = lower.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    canvas.legend(unique.values(), unique.keys(), loc="outside lower left", ncols=2)
    return canvas


def _pile(axes: object, row: int, parts: Mapping[str, float], kinds: Sequence[str]) -> None:
    above = below = 0.0
    for kind, size in parts.items():
        place = kinds.index(kind) if kind in kinds else len(kinds)
        axes.barh(  # type: ignore[attr-defined]
            row,
            size,
            left=above if size >= 0 else below,
            color=SERIES[place % 5],
            hatch=_HATCHES[place % 5],
            edgecolor=PAPER,
            linewidth=0.6,
            height=0.66,
            label=kind,
        )
        if size >= 0:
            above += size
        else:
            below += size


def draw_starts(spreads: Sequence[Spread], limit: float) -> Canvas:
    """Every start as a dot, the median as a bar, the limit as a line."""
    canvas = Canvas(figsize=(_WIDTH, 1.2 + 0.62 * len(spreads)), layout="constrained")
    axes = canvas.add_subplot()
    for row, spread in enumerate(spreads):
        values = np.asarray(spread.values, dtype=np.float64)
        # The golden ratio spreads neighbours apart, the same way in every report.
        heights = row + ((np.arange(values.size) * 0.618034) % 1.0 - 0.5) * 0.5
        axes.plot(values, heights, "o", color=SERIES[0], alpha=0.65, markersize=5, mew=0)
        median = float(np.median(values))
        axes.plot([median] * 2, [row - 0.36, row + 0.36], color=INK, linewidth=2.4)
    axes.set_yticks(range(len(spreads)), [_folded(spread.label) for spread in spreads])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(spreads) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    slowest = max(max(spread.values) for spread in spreads)
    axes.set_xlim(0, max(limit, slowest) * 1.12)
    scale = scale_of("s", limit)
    in_units(axes, scale)
    axes.set_xlabel(f"from exec to the first vector, {scale.suffix}")
    mark_limit(axes, limit, f"limit {format_quantity(limit, 's', exact=True)}")
    return canvas


def _folded(label: str) -> str:
    return "\n".join(textwrap.wrap(label, _NAME_MAX)[:2]).rstrip(", ")


def _time(value: float, limit: float) -> str:
    return format_quantity(value, "s", limit=limit)
