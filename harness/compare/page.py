"""The pages of a comparison: compare.html, junit.xml, summary.md, written beside compare.json."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.compare.decide import RULE
from harness.compare.figures import Drawing, draw_glance, draw_rounds
from harness.compare.rawfile import log_ratios, read_rounds
from harness.compare.texts import render_junit, render_summary
from harness.compare.view import LOOKS, View, view_of
from harness.evidence import read_json

__all__ = ["render_page", "write_pages"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
HOW_DECIDED = (
    "A round is one fresh process of each side; both run the same benchmarks and take turns, "
    "sample by sample. Its ratio is that of the lower quartiles of 12 samples each.",
    f"At {', '.join(map(str, RULE.looks))} rounds the Hodges-Lehmann estimate gets one-sided "
    f"signed-rank bounds, alpha {RULE.alpha}/{len(RULE.looks)} each. REGRESSED: the lower bound is "
    f"above {1 + RULE.margin:g}. NO REGRESSION: the upper bound is below {1 + RULE.tolerance:g}. "
    f"IMPROVED: the upper bound is below 1/{1 + RULE.margin:g}. Else more rounds.",
    "REGRESSED must recur in a second run of new processes; its interval is the one shown. Over "
    f"all benchmarks Holm's procedure holds the chance of any false REGRESSED at {RULE.alpha}.",
    "A benchmark decides if at least 256 A/A rounds of this machine show that it hardly ever calls "
    "identical code slower and nearly always finds 5 %. A missing, changed or failing benchmark "
    "is NOT COMPARABLE, which is never a pass.",
)


def render_page(view: View, runs: dict[str, list[list[float]]]) -> str:
    """The page; `runs` holds the log ratios of both runs by benchmark."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [
        (line, draw_rounds(line, runs.get(line.name, []), place))
        for place, line in enumerate(view.lines)
    ]
    return environment.get_template("page.html").render(
        view=view,
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawing=_markup,
        glance=draw_glance(view.lines),
        dots=[(line, dot) for line, dot in drawn if dot is not None],
        looks=LOOKS,
        how=HOW_DECIDED,
    )


def _markup(drawing: Drawing) -> Markup:
    return Markup(drawing.svg)  # noqa: S704 - escaped XML


def write_pages(folder: Path) -> list[Path]:
    """Write the pages of a comparison from its files; each appears whole or not at all.

    Raises
    ------
    EvidenceError
        compare.json or the raw rounds cannot be read; then nothing was written.
    """
    document = read_json(folder / "compare.json")
    view = view_of(document)
    runs: dict[str, list[list[float]]] = {}
    if document["run"]["tier"] == "time":
        rounds = read_rounds(folder / "rounds.jsonl")
        for line in view.lines:
            by_run = [[one for one in rounds if one.run == run] for run in (1, 2)]
            runs[line.name] = [list(log_ratios(one, line.name)) for one in by_run]
    contents = {
        "compare.html": render_page(view, runs),
        "junit.xml": f'<?xml version="1.0" encoding="UTF-8"?>\n{render_junit(view)}',
        "summary.md": render_summary(view),
    }
    return [_replace(folder / name, text.encode()) for name, text in contents.items()]


def _replace(path: Path, content: bytes) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would hide it from a web server
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
