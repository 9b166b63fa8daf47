"""`limits.html`: one figure, how far from possible, with the numbers below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import EvidenceError
from harness.evidence import read_json, write_json
from harness.limits.distance import Distance, distances
from harness.memory.figures import Drawing
from harness.report.canvas import SERIES, Canvas, mark_limit, png_of, style, svg_of
from harness.report.quantity import format_quantity

__all__ = ["is_limits", "ratio_text", "write_limits_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
_TICKS = (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)


def is_limits(folder: Path) -> bool:
    """Is this the folder of `harness limits`?"""
    return (folder / "limits.json").is_file()


def write_limits_page(folder: Path) -> tuple[Path, list[Distance]]:
    """Write distances.json, limits.png and limits.html from the limits.json of a folder.

    Raises
    ------
    EvidenceError
        limits.json is missing, damaged, or holds what is no measurement.
    """
    document = read_json(folder / "limits.json")
    try:
        found = distances(document)
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{folder / 'limits.json'}: {error!r}") from error
    write_json(folder / "distances.json", {"distances": [asdict(one) for one in found]})
    drawn, png = draw_distances(found)
    (folder / "limits.png").write_bytes(png)
    fresh = folder / "limits.html.new"
    fresh.write_text(_render(document, found, drawn), encoding="utf-8")
    fresh.replace(folder / "limits.html")
    return folder / "limits.html", found


def ratio_text(one: Distance) -> str:
    """The quotient with its interval: "1.42 times (1.38 to 1.46)"."""
    text = f"{one.ratio:.2f} times"
    if one.low is not None and one.high is not None:
        text += f" ({one.low:.2f} to {one.high:.2f})"
    return text


def draw_distances(found: Sequence[Distance]) -> tuple[Drawing, bytes]:
    """Quotients on a logarithmic axis; 1 is what is possible. Also as PNG."""
    alternative = "Times what is possible. " + "; ".join(
        f"{one.what} against {one.against}: {ratio_text(one)}" for one in found
    )
    with style():
        canvas = Canvas(figsize=(7.6, 0.9 + 0.46 * len(found)), layout="constrained")
        axes = canvas.add_subplot()
        for place, one in enumerate(found):
            colour = SERIES[0] if one.unit == "B" else SERIES[1]
            axes.plot([1, one.ratio], [place, place], color=colour, linewidth=1.2, alpha=0.5)
            axes.plot(
                [one.ratio], [place], "s" if one.unit == "B" else "o", color=colour, markersize=7
            )
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [place, place], color=colour, linewidth=4)
            axes.annotate(
                f"{one.ratio:.2f}",
                (one.high or one.ratio, place),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_xscale("log")
        top = max(one.high or one.ratio for one in found) * 1.5
        bottom = min(0.9, *(0.9 * (one.low or one.ratio) for one in found))
        axes.set_xlim(bottom, top)
        ticks = [tick for tick in _TICKS if tick == 1 or 1.5 <= tick <= top]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_yticks(
            range(len(found)), [f"{one.what}\nagainst {one.against}" for one in found], fontsize=8
        )
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel("times what is possible")
        mark_limit(axes, 1.0, "possible")
        drawn = Drawing(svg=svg_of(canvas, "limits", alternative), alternative=alternative)
        return drawn, png_of(canvas)


def _render(document: Mapping[str, Any], found: Sequence[Distance], drawn: Drawing) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    machine, population = document["machine"], document["population"]
    grown = ", with uncommitted changes" if document["dirty"] else ""
    low, high = sorted(document["load"])
    return environment.get_template(
        "page.html"
    ).render(
        document=document,
        found=found,
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        figure=Markup(drawn.svg),  # noqa: S704 - escaped XML
        alternative=drawn.alternative,
        ratio=ratio_text,
        quantity=format_quantity,
        facts=[
            ("commit", f"{document['commit'][:12]}{grown}"),
            ("machine", f"{machine['cpu_model']}, {machine['cores']} cores, {machine['kernel']}"),
            (
                "timed store",
                f"{population['vectors']} vectors of {population['dimension']} dimensions, "
                f"{population['embedded']}",
            ),
            ("processes", f"{len(document['processes'])}, the store and the machine in each"),
            ("load of the machine", f"{low:.1f} to {high:.1f}"),
            ("command", " ".join(document["command"])),
        ],
    )
