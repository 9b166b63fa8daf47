"""`rivals.html`: where ours stands against each rival, on one page that fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.evidence import read_json, write_json
from harness.memory.figures import Drawing
from harness.probes.memory import PAGE_TYPES
from harness.report.quantity import format_quantity
from harness.report.verdict import VERDICT_LOOKS
from harness.rivals.campaign import FILE
from harness.rivals.catalogue import OURS
from harness.rivals.claims import Claim, claims_of, exit_code_of
from harness.rivals.figures import draw_bytes, draw_ratios, ratio_text
from harness.rivals.findings import Cell, Standing, Table, table_of
from harness.rivals.flipping import OUTCOMES
from harness.rivals.metrics import MEASURES, METRICS, SETS, metrics_of
from harness.rivals.reasons import reason_for

__all__ = ["Found", "is_rivals", "shown_metrics", "write_rivals_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
_RAW = {"v1_chunks": 4 * 1536, "v2_scaled_bf16": 4 * 1024, "v2_token_mean": 4 * 1024}
_WORDS = {True: "reached", False: "not reached", None: "not known"}
_LOOKS = {True: "PASS", False: "FAIL", None: "INCONCLUSIVE"}
_STANDING_LOOKS = {
    Standing.AHEAD: "PASS",
    Standing.BEHIND: "FAIL",
    Standing.EVEN: "INCONCLUSIVE",
    Standing.UNKNOWN: "NOT RUN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A comparison as it is shown."""

    document: Mapping[str, Any]
    table: Table
    claims: Sequence[Claim]

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return exit_code_of(self.claims)


def is_rivals(folder: Path) -> bool:
    """Is this the folder of a comparison with rivals?"""
    return (folder / FILE).is_file()


def write_rivals_page(folder: Path) -> tuple[Path, Found]:
    """Judge what a folder holds; write findings.json and rivals.html.

    Raises
    ------
    EvidenceError
        rivals.json is missing or damaged.
    """
    document = read_json(folder / FILE)
    table = table_of(document)
    found = Found(
        document=document,
        table=table,
        claims=claims_of(table, document["only"] or MEASURES),
    )
    write_json(folder / "findings.json", _as_json(found))
    fresh = folder / "rivals.html.new"
    fresh.write_text(_render(found), encoding="utf-8")
    fresh.replace(folder / "rivals.html")
    return folder / "rivals.html", found


def _as_json(found: Found) -> dict[str, Any]:
    rows = [
        {
            "subject": cell.subject,
            "metric": cell.metric.id,
            "unit": cell.metric.unit,
            "value": cell.value,
            "ratio": cell.ratio,
            "low": cell.low if cell.low > 0 else None,
            "high": cell.high if cell.high < float("inf") else None,
            "standing": str(cell.standing),
            "reason": cell.reason,
        }
        for cell in found.table.values()
    ]
    claims = [{"claim": one.text, "reached": one.reached, "why": one.why} for one in found.claims]
    return {"exit_code": found.exit_code, "claims": claims, "rows": rows}


def _render(found: Found) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    document, table = found.document, found.table
    standings = [cell.standing for cell in table.values() if cell.ratio is not None]
    return environment.get_template("page.html").render(
        document=document,
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        looks=VERDICT_LOOKS,
        claims=[(one, _WORDS[one.reached], _LOOKS[one.reached]) for one in found.claims],
        counts={str(one): standings.count(one) for one in Standing if one is not Standing.UNKNOWN},
        sections=[one for one in (_section(metric, table) for metric in METRICS) if one],
        drawing=lambda drawn: Markup(drawn.svg),  # noqa: S704 - escaped XML
        crashes=_crashes(document),
        outcomes=OUTCOMES,
        subjects=document["subjects"],
        versions=document["versions"],
        recalls=_recalls(document["parts"]),
        page_types=PAGE_TYPES,
        memories=_memories(document),
        facts=_facts(document),
        ours=OURS,
    )


def _section(metric: str, table: Table) -> dict[str, Any] | None:
    """A metric: its figure, and its rows, best first; None if nothing was measured."""
    cells = [cell for (_, name), cell in table.items() if name == metric]
    known = [cell for cell in cells if cell.value is not None]
    if not known:
        return None
    known.sort(key=lambda cell: cell.value or 0.0)
    drawn: Drawing | None = None
    if metric.startswith("bytes_"):
        name = metric.removeprefix("bytes_")
        drawn = draw_bytes(SETS[name], known, _RAW[name])
    elif any(cell.ratio is not None for cell in known):
        drawn = draw_ratios(metric, known)
    return {
        "metric": METRICS[metric],
        "drawn": drawn,
        "rows": [_row(cell) for cell in known],
        "absent": [(cell.subject, cell.reason) for cell in cells if cell.value is None],
    }


def _row(cell: Cell) -> dict[str, str]:
    is_behind = cell.standing is Standing.BEHIND
    why = reason_for(cell.subject, cell.metric.id) if is_behind else ""
    return {
        "subject": cell.subject,
        "value": format_quantity(cell.value, cell.metric.unit),
        "ratio": ratio_text(cell),
        "standing": "" if cell.ratio is None else str(cell.standing),
        "look": _STANDING_LOOKS[cell.standing],
        "why": why or ("nobody has said why yet" if is_behind else ""),
    }


def _crashes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, part in document["parts"].items():
        kind, _, subject = name.rpartition(" ")
        if kind == "crash":
            found.append({"subject": subject, "failed": part.get("failed", ""), **part})
    return found


def _recalls(parts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """Subject, size and recall@10 of each first round of search."""
    found = []
    for name, part in parts.items():
        if "recall" in part:
            _, size, _, subject = name.split(" ")
            found.append((subject, size, float(part["recall"])))
    return found


def _memories(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Of each subject that was weighed: bytes by page type, each the median over the rounds."""
    weighed: dict[str, list[Mapping[str, int]]] = {}
    for name, part in document["parts"].items():
        if "by_type" in part:
            weighed.setdefault(name.rpartition(" ")[2], []).append(part["by_type"])
    return {
        subject: {
            kind: format_quantity(median(one[kind] for one in weighed[subject]), "B")
            for kind in PAGE_TYPES
        }
        for subject in document["subjects"]
        if subject in weighed
    }


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine, load = document["machine"], document["load"]
    dirty = ", with uncommitted changes" if document["dirty"] else ""
    return [
        ("vectors", document["told"]["rows"]),
        ("commit", f"{document['commit'][:12]}{dirty}"),
        ("machine", f"{machine['cpu_model']}, {machine['cores']} cores, {machine['kernel']}"),
        ("load", f"{load['before']:.1f} before, {load['after']:.1f} after"),
        ("command", " ".join(document["command"])),
        ("size", document["sizes"]),
        ("measures", ", ".join(document["only"] or MEASURES)),
    ]


def shown_metrics() -> tuple[str, ...]:
    """Columns of the terminal's table."""
    chosen = ("size", "put", "hot", "warm", "cold", "open", "memory", "search")
    return tuple(
        one.id
        for measure in chosen
        for one in metrics_of(measure)
        if not one.id.endswith(("p99", "token_mean"))
    )
