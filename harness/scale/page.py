"""`scale.html`: how each quantity grows with the number of vectors; it fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.evidence import read_json, write_json
from harness.gates import Verdict
from harness.memory.figures import Drawing
from harness.report.quantity import format_quantity
from harness.report.verdict import VERDICT_LOOKS
from harness.scale.figures import draw_group
from harness.scale.growth import TOLERANCE, Growth, exit_code_of, judge_all

__all__ = ["exponent_text", "is_scale", "write_scale_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
_GROUPS = (
    ("latency", "Time of a call", "Nothing here may grow."),
    ("memory", "Anonymous memory", "Added by a process to its own; nothing here may grow."),
    ("bytes", "Bytes a vector", "On the disk; nothing here may grow."),
    ("work", "What looks at every vector", "Grows like N, and may not grow faster."),
    (
        "processor",
        "The same in seconds of the processor",
        "Right on a busy machine too. Grows like N, and may not grow faster.",
    ),
)
_HEADLINES = {
    Verdict.PASS: "Nothing grows with the number of vectors that may not.",
    Verdict.FAIL: "Something grows with the number of vectors that may not.",
    Verdict.INCONCLUSIVE: "Not of everything could it be said; more sizes decide (--max).",
}


def is_scale(folder: Path) -> bool:
    """Is this the folder of `harness scale`?"""
    return (folder / "scale.json").is_file()


def write_scale_page(folder: Path) -> tuple[Path, int, list[Growth]]:
    """Judge what is in a folder; write growth.json and scale.html.

    Returns
    -------
    tuple
        The page, the exit status that follows, and how each quantity grows.

    Raises
    ------
    EvidenceError
        scale.json is missing or damaged.
    """
    document = read_json(folder / "scale.json")
    found = judge_all(document["sizes"])
    code = exit_code_of(found)
    write_json(
        folder / "growth.json", {"exit_code": code, "quantities": [_as_json(one) for one in found]}
    )
    fresh = folder / "scale.html.new"
    fresh.write_text(_render(document, found, code), encoding="utf-8")
    fresh.replace(folder / "scale.html")
    return folder / "scale.html", code, found


def _as_json(one: Growth) -> dict[str, Any]:
    line = one.line
    return {
        "name": one.quantity.name,
        "unit": one.quantity.unit,
        "expected_exponent": one.quantity.expected,
        "tolerance": TOLERANCE,
        "points": [list(point) for point in one.points],
        "exponent": None if line is None else line.slope,
        "low": None if line is None else line.low,
        "high": None if line is None else line.high,
        "last_decade": one.last,
        "verdict": str(one.verdict),
        "words": one.words,
    }


def exponent_text(one: Growth) -> str:
    """Exponent with its interval, as people read it."""
    if one.line is None:
        return "not fitted"
    text = f"{one.line.slope:.3f} ({one.line.low:.3f} to {one.line.high:.3f})"
    return text.replace("-", "−")


def _render(document: Mapping[str, Any], found: Sequence[Growth], code: int) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    verdict = {0: Verdict.PASS, 1: Verdict.FAIL}.get(code, Verdict.INCONCLUSIVE)
    groups = []
    for name, title, caption in _GROUPS:
        members = [one for one in found if one.quantity.group == name]
        groups.append((name, title, caption, members, draw_group(name, members)))
    return environment.get_template("page.html").render(
        document=document,
        verdict=verdict,
        look=VERDICT_LOOKS[str(verdict)],
        looks=VERDICT_LOOKS,
        headline=_HEADLINES[verdict],
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawing=_markup,
        groups=groups,
        sizes=[int(one["vectors"]) for one in document["sizes"]],
        values={one.quantity.name: dict(one.points) for one in found},
        exponent=exponent_text,
        facts=_facts(document),
        quantity=format_quantity,
    )


def _markup(drawing: Drawing) -> Markup:
    return Markup(drawing.svg)  # noqa: S704 - escaped XML


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine, options = document["machine"], document["options"]
    sizes = [int(one["vectors"]) for one in document["sizes"]]
    loads = [load for one in document["sizes"] for load in one["load"]]
    faults = [
        process["get_major_faults"][0]
        for one in document["sizes"]
        for process in one["processes"]
        if "get_major_faults" in process
    ]
    grown = ", with uncommitted changes" if document["dirty"] else ""
    facts = [
        ("commit", f"{document['commit'][:12]}{grown}"),
        ("machine", f"{machine['cpu_model']}, {machine['cores']} cores, {machine['kernel']}"),
        ("vectors", f"synthetic, on Titan's number grid, {options['dimension']} dimensions"),
        ("sizes", ", ".join(format_quantity(size, "count") for size in sizes)),
        ("load of the machine", f"{min(loads):.1f} to {max(loads):.1f} while it was measured"),
        ("pages read from the disk", f"{max(faults):.3g} a get at most"),
        ("command", " ".join(document["command"])),
        ("options", json.dumps(options, sort_keys=True)),
    ]
    if options["is_smoke"]:
        facts.insert(0, ("smoke size", "it shows that the command works, and nothing else"))
    return facts
