"""`memory.html`: where the store's memory goes, on one page that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.evidence import read_json, write_json
from harness.gates import Verdict
from harness.memory.accounts import added_by, before_store, mean_added
from harness.memory.figures import Drawing, draw_fillings, draw_many, draw_timeline
from harness.memory.findings import Finding, exit_code_of, overall
from harness.memory.judged import Judged, judge, parts_of
from harness.report.quantity import format_interval, format_quantity
from harness.report.verdict import VERDICT_LOOKS
from harness.targets import load_targets

__all__ = ["is_profile", "write_memory_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
_SITES = 12
_MODULES = 8
_HEADLINES = {
    Verdict.PASS: "Nothing grows, and the accounts agree.",
    Verdict.FAIL: "Something grows, or an account does not agree.",
    Verdict.INCONCLUSIVE: "Not everything could be said: a longer profile decides (--full).",
}
SOURCES = (
    (
        "Timeline, growth, bytes added, kinds of mapping",
        "plain processes without any instrument, read by another process from the kernel; "
        "controls do the same without a store",
    ),
    ("Bytes of the tiers", "the store's own statement, in the same plain processes"),
    (
        "Call sites that grow, bytes by module",
        "a process under tracemalloc, which sees Python's allocations",
    ),
    (
        "Live allocations, flamegraph, leak report",
        "a process under memray, which sees C's allocations too",
    ),
    (
        "Bytes against the number of vectors, tiers filled to several budgets",
        "plain processes that look at themselves without allocating, before and after",
    ),
)


def is_profile(folder: Path) -> bool:
    """Is this the folder of a profile?"""
    return (folder / "memory.json").is_file()


def write_memory_page(folder: Path) -> tuple[Path, int, list[Finding]]:
    """Judge the profile in a folder; write findings.json and memory.html.

    Returns
    -------
    tuple
        The page, the exit status that follows from the findings, and the findings.

    Raises
    ------
    EvidenceError
        memory.json is missing or damaged.
    """
    document = read_json(folder / "memory.json")
    judged = judge(document["parts"])
    code = exit_code_of(judged.findings)
    found = [
        {
            "name": one.name,
            "verdict": str(one.verdict),
            "estimate": one.estimate,
            "low": one.low,
            "high": one.high,
            "unit": one.unit,
            "wanted": one.wanted,
            "reason": one.reason,
        }
        for one in judged.findings
    ]
    write_json(folder / "findings.json", {"exit_code": code, "findings": found})
    fresh = folder / "memory.html.new"
    fresh.write_text(_render(document, judged), encoding="utf-8")
    fresh.replace(folder / "memory.html")
    return folder / "memory.html", code, list(judged.findings)


def _render(document: Mapping[str, Any], judged: Judged) -> str:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = document["parts"]
    verdict = overall(judged.findings)
    counted = judged.added["counted"]
    return environment.get_template("page.html").render(
        document=document,
        verdict=verdict,
        look=VERDICT_LOOKS[str(verdict)],
        looks=VERDICT_LOOKS,
        headline=_HEADLINES[verdict],
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        drawing=_markup,
        findings=judged.findings,
        estimate_text=estimate_text,
        sessions=[_session(name, part, judged, parts) for name, part in _sessions(parts)],
        many=draw_many(
            judged.sizes,
            {"counted by the gate": counted, "anonymous alone": judged.added["anonymous"]},
            judged.lines["vectors"],
        ),
        fillings=draw_fillings(
            judged.fillings, {tier: judged.lines[tier] for tier in judged.fillings}
        ),
        vectors=_vectors(parts),
        facts=_facts(document),
        sources=SOURCES,
        quantity=format_quantity,
    )


def _sessions(parts: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(parts_of(parts, "session").items())


def _markup(drawing: Drawing) -> Markup:
    return Markup(drawing.svg)  # noqa: S704 - escaped XML


def estimate_text(finding: Finding) -> str:
    """Estimate and bounds as people read them."""
    if finding.estimate is None:
        return "not measured"
    value = format_quantity(finding.estimate, finding.unit)
    if finding.low is None or finding.high is None:
        return value
    return f"{value} ({format_interval(finding.low, finding.high, finding.unit)})"


def _limit(dimension: int) -> float:
    return load_targets().rows()[f"memory.steady.files-{dimension}"].limit


def _session(
    name: str, part: Mapping[str, Any], judged: Judged, parts: Mapping[str, Any]
) -> dict[str, Any]:
    population = part["population"]
    limit = _limit(int(population["dimension"]))
    processes, controls = part["processes"], part["controls"]
    added = mean_added(processes, controls)
    traced, recorded = parts[f"traced {name}"], parts[f"memray {name}"]
    first = processes[0]["facts"]
    before = before_store(processes[0])
    return {
        "name": name,
        "population": population,
        "operations": first["operations"],
        "searches": first["searches"],
        "added": format_quantity(added, "B", limit=limit),
        "limit": format_quantity(limit, "B", exact=True),
        "drawing": draw_timeline(name, part["timelines"][0], before, limit),
        "account": judged.accounts[name],
        "by_type": added_by("by_type", processes, controls),
        "peak": first["peak_resident"] - sum(before.values()),
        # "other" is mostly the instrument: what it keeps of its first look
        "growth": [one for one in traced["growth"] if one["size"] > 0 and one["site"] != "other"][
            :_SITES
        ],
        "growth_operations": traced["growth_operations"],
        "modules": list(traced["by_module"].items())[:_MODULES],
        "recorded": {**recorded, "sites": recorded["sites"][:_SITES]},
        "resources": first["resources"],
        "rooms": first["rooms"],
        "hours": part["timelines"][0][-1]["hours"],
    }


def _vectors(parts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = []
    for part in parts_of(parts, "vectors").values():
        added = [one["added"] for one in part["processes"]]
        disk = sum(room["bytes"] for room in part["rooms"].values())
        found.append(
            {
                "vectors": part["vectors"],
                "distinct": part["distinct"],
                "low": min(added),
                "high": max(added),
                "processes": len(added),
                "disk": disk,
                "each": disk / part["vectors"],
            }
        )
    return found


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    options = document["options"]
    machine = document["machine"]
    dirty = ", with uncommitted changes" if document["dirty"] else ""
    return [
        ("commit", f"{document['commit'][:12]}{dirty}"),
        ("configuration", f"the defaults, digest {document['config_digest']}"),
        ("machine", f"{machine['cpu_model']}, {machine['cores']} cores, {machine['kernel']}"),
        ("command", " ".join(document["command"])),
        (
            "processes",
            f"{options['processes']} plain and {options['processes']} controls a session",
        ),
        ("leak put in", _leak(int(options["leak_bytes"]))),
        ("options", json.dumps(options, sort_keys=True)),
    ]


def _leak(size: int) -> str:
    return f"{size} bytes every 1 000 operations" if size else "none"
