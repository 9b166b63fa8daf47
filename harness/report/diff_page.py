"""`diff.html` and `diff.json`: two runs of the gates side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.evidence import read_json
from harness.report import facts
from harness.report.model import Report, read_report
from harness.report.run_diff import RowPair, RunDiff, diff_runs
from harness.report.verdict import VERDICT_LOOKS, Look

__all__ = ["headline", "read_diff", "row_line", "write_diff"]

_FOLDER = Path(__file__).parent
_ABSENT = Look(sign="–", tone="absent", meaning="this run does not have it")
_SIGNS = {"worse": "✗", "better": "✓", "no difference seen": "=", "not comparable": "○"}
_TONES = {"worse": "fail", "better": "pass", "no difference seen": "absent"}
_MACHINE = ("cpu_model", "cores", "kernel", "memory_bytes", "python", "libc")


def read_diff(before: Path, after: Path) -> RunDiff:
    """Compare the runs in two folders.

    Raises
    ------
    EvidenceError, ValueError, OSError, KeyError
        A folder holds no whole run.
    """
    runs = [read_report(folder) for folder in (before, after)]
    contents = [read_json(folder / "verdicts.json") for folder in (before, after)]
    return diff_runs(runs[0], runs[1], (contents[0], contents[1]))


def headline(diff: RunDiff) -> str:
    """The whole page in one line."""
    changed = sum(gate.changed for gate in diff.gates)
    verdicts = f"{changed or 'No'} gate{'' if changed == 1 else 's'} changed"
    if diff.strange:
        return f"{verdicts}; values are not comparable"
    moved = ", ".join(f"{diff.count(seen)} {seen}" for seen in ("worse", "better"))
    return f"{verdicts}; of {len(diff.rows)} rows {moved}"


def row_line(row: RowPair) -> str:
    """A row in one line of text."""
    texts = [_verdict_and_value(one) for one in (row.before, row.after)]
    why = f" ({row.reason})" if row.reason else ""
    return f"{row.id}: {texts[0]} -> {texts[1]}: {row.seen} {ratio_text(row)}".rstrip() + why


def _verdict_and_value(row: Any) -> str:
    return "not there" if row is None else f"{row.verdict} {row.value_text}"


def ratio_text(row: RowPair) -> str:
    """The ratio after / before with its interval, or nothing."""
    if row.ratio is None or row.low is None or row.high is None:
        return ""
    return f"×{row.ratio:.3g} ({row.low:.3g} to {row.high:.3g})"


def other_facts(diff: RunDiff) -> list[tuple[str, str, str]]:
    """(name, before, after) of what identifies the runs, machine and packages spelled out."""
    pairs = [dict(facts.identity(run)) for run in (diff.before, diff.after)]
    rows = [
        ("Decision", diff.before.label, diff.after.label),
        *((name, pairs[0][name], pairs[1][name]) for name in pairs[1]),
    ]
    machines = [_mapping(run, "machine") for run in (diff.before, diff.after)]
    for name in _MACHINE:
        seen = [str(machine.get(name, "not recorded")) for machine in machines]
        if seen[0] != seen[1]:
            rows.append((f"Machine: {name}", seen[0], seen[1]))
    packages = [_mapping(run, "packages") for run in (diff.before, diff.after)]
    for name in sorted({*packages[0], *packages[1]}):
        seen = [str(known.get(name, "not there")) for known in packages]
        if seen[0] != seen[1]:
            rows.append((f"Package: {name}", seen[0], seen[1]))
    return rows


def _mapping(run: Report, name: str) -> Mapping[str, Any]:
    content = run.manifest.get(name)
    return content if isinstance(content, Mapping) else {}


def render_diff(diff: RunDiff) -> str:
    """The page; equal runs give equal text."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("diff.html").render(
        stylesheet=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        diff=diff,
        headline=headline(diff),
        identity=other_facts(diff),
        look=lambda verdict: VERDICT_LOOKS.get(verdict, _ABSENT),
        ratio_text=ratio_text,
        signs=_SIGNS,
        tones=_TONES,
    )


def write_diff(diff: RunDiff, folder: Path) -> Path:
    """Write both files into a folder, made where it is missing; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "before": diff.before.run.get("id"),
        "after": diff.after.run.get("id"),
        "not_comparable": diff.strange,
        "gates": [
            {"id": gate.id, "before": gate.before, "after": gate.after} for gate in diff.gates
        ],
        "rows": [
            {
                "id": row.id,
                "before": _value(row.before),
                "after": _value(row.after),
                "seen": row.seen,
                "reason": row.reason,
                "ratio": row.ratio,
                "low": row.low,
                "high": row.high,
            }
            for row in diff.rows
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    (folder / "diff.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "diff.html").write_text(render_diff(diff), encoding="utf-8")
    return folder / "diff.html"


def _value(row: Any) -> dict[str, Any] | None:
    if row is None:
        return None
    return {name: getattr(row, name) for name in ("verdict", "estimate", "low", "high", "unit")}
