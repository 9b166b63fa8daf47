"""The figures of the page of `harness scale`: each group over N, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import LogLocator

from harness.memory.figures import Drawing
from harness.report.canvas import INK, SERIES, STYLES, Canvas, style, svg_of
from harness.report.quantity import format_quantity
from harness.scale.growth import Growth

__all__ = ["draw_group"]

_WIDTH, _HEIGHT, _LINE = 6.4, 3.3, 0.2  # inches: of the axes, and a line of the legend more
_FEW = 100.0
_LONG = 32  # a title beyond it has a line of the legend of its own
_MARKS = ("o", "s", "^", "D", "v", "P")
_COLOURS = (*SERIES, INK)
_LINES = (*STYLES, "-")


def draw_group(name: str, found: Sequence[Growth]) -> Drawing:
    """Points and fitted power laws of quantities of one unit; dotted: what grows like N."""
    told = [
        f"{one.quantity.title}: {format_quantity(one.points[0][1], one.quantity.unit)} at "
        f"{one.points[0][0]} vectors, {format_quantity(one.points[-1][1], one.quantity.unit)} at "
        f"{one.points[-1][0]}; {one.words}"
        for one in found
        if one.points
    ]
    alternative = ". ".join(told) or "nothing was measured"
    columns = 1 if any(len(one.quantity.title) > _LONG for one in found) else 2
    height = _HEIGHT + _LINE * math.ceil(len(found) / columns)
    with style():
        canvas = Canvas(figsize=(_WIDTH, height), layout="constrained")
        axes = canvas.add_subplot()
        for place, one in enumerate(found):
            colour = _COLOURS[place]
            sizes, values = zip(*one.points, strict=True) if one.points else ((), ())
            axes.plot(
                sizes, values, _MARKS[place], color=colour, markersize=5, label=one.quantity.title
            )
            if one.line is not None:
                ends = [sizes[0], sizes[-1]]
                fitted = [math.exp(one.line.intercept) * end**one.line.slope for end in ends]
                axes.plot(ends, fitted, linestyle=_LINES[place], color=colour, linewidth=1.3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        unit = found[0].quantity.unit
        axes.yaxis.set_major_formatter(lambda value, _place: format_quantity(value, unit))
        low, high = axes.get_ylim()
        if high / low < _FEW:  # else there may be one tick
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _place: format_quantity(value, "count"))
        axes.set_xlabel("vectors stored")
        canvas.legend(loc="outside upper left", ncols=columns, fontsize=8)
        return Drawing(svg=svg_of(canvas, name, alternative), alternative=alternative)
