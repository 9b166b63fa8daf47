"""The figures of the memory page; each with the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from harness.memory.accounts import page_type_growth
from harness.memory.findings import Line
from harness.probes.memory import PAGE_TYPES
from harness.report.canvas import LIMIT, SERIES, STYLES, Canvas, in_units, style, svg_of
from harness.report.quantity import format_quantity, scale_of

__all__ = ["Drawing", "draw_fillings", "draw_many", "draw_timeline"]

_SIZE = (6.4, 3.4)
_MARKS = ("o", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure as one svg element, and what it shows in words."""

    svg: str
    alternative: str


def draw_timeline(
    name: str, timeline: Sequence[Mapping[str, Any]], before: Mapping[str, int], limit: float
) -> Drawing:
    """What a process added, stacked by page type, over its operations.

    Parameters
    ----------
    before
        Bytes by page type before the store was opened.
    limit
        Of what the store may add, in bytes; clean file pages do not count and have their own axes.
    """
    operations = [0.0, *(float(one["operations"]) for one in timeline)]
    layers = {kind: [0.0, *values] for kind, values in page_type_growth(timeline, before).items()}
    last = {kind: values[-1] for kind, values in layers.items()}
    words = ", ".join(f"{kind} {format_quantity(v, 'B', limit=1e6)}" for kind, v in last.items())
    alternative = (
        f"{name}: added since just before the store was opened, by page type, over "
        f"{operations[-1]:.0f} operations; at the end {words}."
    )
    with style():
        canvas = Canvas(figsize=(_SIZE[0], 1.3 * _SIZE[1]), layout="constrained")
        counted, beside = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        _stack(counted, operations, {k: layers[k] for k in PAGE_TYPES[:-1]}, SERIES)
        _stack(beside, operations, {PAGE_TYPES[-1]: layers[PAGE_TYPES[-1]]}, SERIES[4:])
        counted.axhline(limit, color=LIMIT, linewidth=1.4)
        counted.annotate(
            f"limit {format_quantity(limit, 'B', exact=True)}",
            (0.99, limit),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=LIMIT,
            fontsize=9,
        )
        counted.set_ylim(0, max(counted.get_ylim()[1], 1.4 * limit))
        beside.set_xlim(0, operations[-1])
        beside.set_xlabel("operations")
        return Drawing(svg=svg_of(canvas, name, alternative), alternative=alternative)


def _stack(
    axes: Axes,
    places: Sequence[float],
    layers: Mapping[str, Sequence[float]],
    colours: Sequence[str],
) -> None:
    top = max(sum(column) for column in zip(*layers.values(), strict=True))
    axes.stackplot(places, *layers.values(), colors=colours, labels=list(layers))
    axes.set_ylim(0, 1.4 * max(top, 1.0))
    _bytes_on(axes, "y", top)
    axes.legend(loc="upper left", ncols=2, fontsize=8)


def draw_many(
    sizes: Sequence[float], added: Mapping[str, Sequence[float]], line: Line | None
) -> Drawing:
    """Bytes that a process adds over the number of vectors stored; one mark a process.

    Parameters
    ----------
    added
        By what: as many values as `sizes`.
    """
    alternative = f"Memory added by a process at {len(set(sizes))} numbers of vectors."
    if line is not None:
        alternative += (
            f" Slope {line.slope:.3f} bytes a vector ({line.low:.3f} to {line.high:.3f})."
        )
    with style():
        canvas = Canvas(figsize=_SIZE, layout="constrained")
        axes = canvas.add_subplot()
        for place, (name, values) in enumerate(added.items()):
            axes.plot(
                sizes,
                values,
                _MARKS[place],
                color=SERIES[place],
                label=name,
                markersize=6,
                alpha=0.8,
            )
        if line is not None:
            ends = [min(sizes), max(sizes)]
            axes.plot(
                ends,
                [line.intercept + line.slope * end for end in ends],
                STYLES[1],
                color=SERIES[0],
                linewidth=1.4,
            )
        axes.set_xscale("log")
        chosen = sorted(set(sizes))
        axes.set_xticks(chosen, [format_quantity(size, "count") for size in chosen])
        axes.set_xticks([], minor=True)
        top = max(max(values) for values in added.values())
        axes.set_ylim(0, 1.3 * top)
        _bytes_on(axes, "y", top)
        axes.set_xlabel("vectors stored")
        axes.legend(loc="upper left")
        return Drawing(svg=svg_of(canvas, "many", alternative), alternative=alternative)


def draw_fillings(
    points: Mapping[str, Sequence[tuple[float, float]]], lines: Mapping[str, Line | None]
) -> Drawing:
    """What the kernel adds over what a tier states; the dotted line is one byte for a byte."""
    told = [
        f"{tier}: {line.slope:.2f} bytes for each byte stated ({line.low:.2f} to {line.high:.2f})"
        for tier, line in lines.items()
        if line is not None
    ]
    alternative = "Bytes added by a process over bytes that its tier states. " + "; ".join(told)
    top = max(stated for some in points.values() for stated, _ in some)
    with style():
        canvas = Canvas(figsize=_SIZE, layout="constrained")
        axes = canvas.add_subplot()
        for place, (tier, some) in enumerate(points.items()):
            axes.plot(
                [stated for stated, _ in some],
                [added for _, added in some],
                _MARKS[place],
                color=SERIES[place],
                label=f"{tier} tier",
                markersize=6,
                alpha=0.8,
            )
            line = lines.get(tier)
            if line is not None:
                axes.plot(
                    [0, top],
                    [line.intercept, line.intercept + line.slope * top],
                    STYLES[place],
                    color=SERIES[place],
                    linewidth=1.4,
                )
                axes.plot(
                    [0, top],
                    [line.intercept, line.intercept + top],
                    ":",
                    color=SERIES[place],
                    linewidth=1.0,
                )
        axes.set_xlim(0, 1.05 * top)
        axes.set_ylim(0, 1.05 * max(added for some in points.values() for _, added in some))
        _bytes_on(axes, "x", top)
        _bytes_on(axes, "y", top)
        axes.set_xlabel(f"stated by the store ({scale_of('B', top).suffix})")
        axes.legend(loc="upper left")
        return Drawing(svg=svg_of(canvas, "fillings", alternative), alternative=alternative)


def _bytes_on(axes: Axes, axis: str, top: float) -> None:
    scale = scale_of("B", top)
    in_units(axes, scale, axis=axis)
    if axis == "y":
        axes.set_ylabel(scale.suffix)
