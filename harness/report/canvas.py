"""Drawing surface of the figures: one style, saved as a PNG file and as SVG for the page.

On the page the colours are CSS variables, so a figure follows the reader's light or dark theme; its
letters are real text. In the PNG they are the light theme's colours.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from harness.report.quantity import Scale

__all__ = [
    "INK",
    "LIMIT",
    "MUTED",
    "PAPER",
    "SERIES",
    "STYLES",
    "Canvas",
    "in_units",
    "mark_limit",
    "png_of",
    "style",
    "svg_of",
]

INK, MUTED, GRID, PAPER, LIMIT = "#1b1f24", "#59616d", "#d9dde3", "#ffffff", "#b3201f"
SERIES = ("#0b5fa5", "#b35900", "#6b3fa0", "#1c7a4a", "#69707a")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Line styles in the order of SERIES: a curve is told by its dashes as well as its colour."""

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line", PAPER: "card", LIMIT: "limit"} | {
    colour: f"series-{place}" for place, colour in enumerate(SERIES, start=1)
}
_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,  # a "$" in somebody's label is a "$"
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.8,
    "hatch.color": PAPER,
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "titanstore",
}
_XLINK = "{http://www.w3.org/1999/xlink}href"


@contextmanager
def style() -> Iterator[None]:
    """Draw and save inside: the style holds here only, and never reaches other figures."""
    with matplotlib.rc_context(_RC), warnings.catch_warnings():
        # A letter that the font lacks is a box in the PNG and still text on the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message=".*does not have a glyph")
        yield


def png_of(canvas: Canvas) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=160, metadata={"Software": None})
    return file.getvalue()


def svg_of(canvas: Canvas, name: str, alternative: str) -> str:
    """The figure as one `<svg>` element for an HTML page: no prolog, no namespace, no metadata.

    `name` prefixes every id, so that several figures can share a page.
    """
    file = io.BytesIO()
    canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 - drawn here, not received
    _clean(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", alternative)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, name: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    if _XLINK in element.attrib:
        element.set("href", element.attrib.pop(_XLINK))
    for key, value in list(element.attrib.items()):
        if key == "id":
            value = f"{name}-{value}"
        elif key == "href" and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        value = value.replace("url(#", f"url(#{name}-")
        if key in ("style", "fill", "stroke"):
            value = _themed(value)
        element.set(key, value)
    for child in list(element):
        if child.tag.rpartition("}")[2] in ("metadata", "style"):
            element.remove(child)
        else:
            _clean(child, name)


def _themed(declarations: str) -> str:
    for colour, variable in _VARIABLES.items():
        declarations = declarations.replace(colour, f"var(--{variable}, {colour})")
    return declarations.replace("'DejaVu Sans'", "var(--sans, sans-serif)")


def mark_limit(axes: Axes, place: float, text: str, *, side: str = "center") -> None:
    """A vertical line where the limit is, named above the plot, centred or on the side asked."""
    axes.axvline(place, color=LIMIT, linewidth=1.6, zorder=3)
    axes.annotate(
        text,
        (place, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=({"left": 2, "right": -2}.get(side, 0), 3),
        textcoords="offset points",
        ha=side,
        va="bottom",
        color=LIMIT,
        fontsize=9,
    )


def in_units(axes: Axes, scale: Scale, *, axis: str = "x") -> None:
    """Label ticks of an axis drawn in base units with numbers in `scale`."""
    which = axes.xaxis if axis == "x" else axes.yaxis
    which.set_major_formatter(lambda value, _place: f"{value / scale.factor:g}")
    which.set_minor_formatter(lambda _value, _place: "")
