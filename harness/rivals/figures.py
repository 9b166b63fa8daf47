"""The figures of the comparison; each with the same in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import LogLocator

from harness.memory.figures import Drawing
from harness.report.canvas import INK, LIMIT, MUTED, SERIES, Canvas, style, svg_of
from harness.report.quantity import format_quantity
from harness.rivals.catalogue import OURS, OURS_WITHOUT_SEARCH
from harness.rivals.findings import Cell, Standing
from harness.rivals.metrics import METRICS

__all__ = ["draw_bytes", "draw_ratios", "ratio_text"]

_WIDTH = 6.4
_MARKS = {Standing.AHEAD: ("o", 3), Standing.BEHIND: ("s", 1), Standing.EVEN: ("D", 4)}
_ZONES = (1e-3, 1e5)
_DECADES_FEW = 300.0


def ratio_text(cell: Cell) -> str:
    """`× 2.31 (2.20 to 2.45)`: rival / ours; bounds where there are any."""
    if cell.ratio is None:
        return ""
    if cell.low == cell.high:
        return f"× {_short(cell.ratio)}"
    if math.isinf(cell.high):
        return f"× {_short(cell.ratio)} (too few rounds for bounds)"
    return f"× {_short(cell.ratio)} ({_short(cell.low)} to {_short(cell.high)})"


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def draw_bytes(title: str, cells: Sequence[Cell], raw: float) -> Drawing:
    """Bars of bytes a vector, smallest first; the line is the float32 values themselves."""
    known = sorted(
        ((cell.value, cell.subject) for cell in cells if cell.value is not None), reverse=True
    )
    words = ", ".join(f"{name} {format_quantity(size, 'B')}" for size, name in reversed(known))
    alternative = f"Bytes a vector, {title}, of {raw:.0f} raw: {words}."
    top = 1.75 * raw
    with style():
        canvas = Canvas(figsize=(_WIDTH, 0.5 + 0.24 * len(known)), layout="constrained")
        axes = canvas.add_subplot()
        for place, (size, name) in enumerate(known):
            is_ours = name in (OURS, OURS_WITHOUT_SEARCH)
            axes.barh(place, min(size, top), color=SERIES[0] if is_ours else SERIES[4], height=0.7)
            beyond = " →" if size > top else ""
            axes.text(
                min(size, top) + 0.01 * raw,
                place,
                f"{format_quantity(size, 'B')}{beyond}",
                va="center",
                fontsize=8.5,
                color=INK,
            )
        axes.axvline(raw, color=LIMIT, linewidth=1.2)
        axes.set_yticks(range(len(known)), [name for _, name in known])
        axes.set_xlim(0, 1.2 * top)
        axes.set_ylim(-0.6, len(known) - 0.4)
        axes.set_xlabel(f"bytes a vector, {title}; line: float32 as it is")
        axes.grid(visible=False, axis="y")
        name = f"bytes-{title.replace(' ', '-')}"
        return Drawing(svg=svg_of(canvas, name, alternative), alternative=alternative)


def draw_ratios(metric: str, cells: Sequence[Cell]) -> Drawing:
    """A mark a rival at rival / ours with its bounds, on a logarithmic axis."""
    known = [cell for cell in cells if cell.ratio is not None]
    known.sort(key=lambda cell: cell.ratio or 0.0, reverse=True)
    words = "; ".join(f"{cell.subject} {ratio_text(cell)}, {cell.standing}" for cell in known)
    what = METRICS[metric].short
    alternative = f"{what}, rival / ours, above 1 where ours is ahead: {words}."
    with style():
        canvas = Canvas(figsize=(_WIDTH, 0.7 + 0.22 * len(known)), layout="constrained")
        axes = canvas.add_subplot()
        for place, cell in enumerate(known):
            mark, colour = _MARKS[cell.standing]
            ratio = cell.ratio or 1.0
            if cell.low > 0 and not math.isinf(cell.high):
                axes.plot(
                    [cell.low, cell.high], [place, place], color=SERIES[colour], linewidth=1.6
                )
            axes.plot(ratio, place, mark, color=SERIES[colour], markersize=5.5)
        axes.axvline(1, color=MUTED, linewidth=1.2)
        axes.set_xscale("log")
        low = min([0.5, *(cell.ratio or 1.0 for cell in known)])
        high = max([2.0, *(cell.ratio or 1.0 for cell in known)])
        axes.set_xlim(max(_ZONES[0], low / 1.6), min(_ZONES[1], high * 1.6))
        if high / low < _DECADES_FEW:  # else there may be no tick but 1
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda _value, _place: "")
        axes.set_yticks(range(len(known)), [cell.subject for cell in known])
        axes.set_ylim(-0.6, len(known) - 0.4)
        noun = "bytes" if METRICS[metric].unit == "B" else "time"
        axes.set_xlabel(f"{what}: {noun} of the rival / {noun} of ours")
        axes.grid(visible=False, axis="y")
        name = f"ratios-{metric}"
        return Drawing(svg=svg_of(canvas, name, alternative), alternative=alternative)
