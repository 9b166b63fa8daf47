"""soak.html and soak.png: what a soak has endured, on one page."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.canvas import png_of, style, svg_of
from harness.soak.decide import Judgement
from harness.soak.evidence import Soak, counted_s, read_soak
from harness.soak.facts import read_facts
from harness.soak.figure import draw_soak, growth_text, soak_in_words
from harness.soak.verify import write_judgement

__all__ = ["write_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"


def write_page(folder: Path) -> tuple[Path, Judgement]:
    """Judge the soak in a folder and write its page, picture and judgement; returns the page."""
    judged = write_judgement(folder)
    soak, facts = read_soak(folder / "segments"), read_facts(folder)
    words = soak_in_words(judged)
    with style():
        canvas = draw_soak(soak, judged)
        drawing = svg_of(canvas, "soak", words)
        (folder / "soak.png").write_bytes(png_of(canvas))
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("soak.html").render(
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawing=Markup(drawing),  # noqa: S704 - escaped XML
        judged=judged,
        facts=facts,
        words=words,
        growth=growth_text,
        segments=_segments(soak),
        notes=[one.note for _, one in soak.timeline() if one.note],
    )
    (folder / "soak.html").write_text(page, encoding="utf-8")
    return folder / "soak.html", judged


def _segments(soak: Soak) -> list[dict[str, str]]:
    return [
        {
            "number": str(header.number),
            "hours": f"{counted_s(segment) / 3600:.3f}",
            "operations": str(sum(one.operations for one in segment)),
            "kills": str(sum(one.kills for one in segment)),
            "recovered": str(sum(one.recovered for one in segment)),
            "mismatches": str(sum(one.mismatches for one in segment)),
            "previous": header.previous[:16] or "none",
        }
        for header, segment in zip(soak.headers, soak.segments, strict=True)
    ]
