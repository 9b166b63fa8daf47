"""What a report says of its run: which code, which machine, when, on what evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from harness.report.context import number, scalars
from harness.report.model import Report
from harness.report.quantity import format_quantity

__all__ = ["identity", "manifest_sections", "run_moment", "tally_line"]

_TIERS = ("live", "recorded", "emulated", "synthetic", "real-time", "simulated")
_UNKNOWN = "not recorded"


def identity(report: Report) -> list[tuple[str, str]]:
    """(name, text) of what identifies a run, in the order of page one; unknown things say so."""
    run = {**report.manifest, **report.run}
    state = ", tree unknown"
    if isinstance(run.get("dirty"), bool):
        state = ", with uncommitted changes" if run["dirty"] else ", clean tree"
    return [
        ("Run", _known(run, "id")),
        ("Profile", _known(run, "profile")),
        ("Commit", _known(run, "commit") + state),
        ("Content digest", _known(run, "content_digest")),
        ("Configuration digest", _known(run, "config_digest")),
        ("Machine", _machine(report.manifest)),
        ("Measured", _span(run)),
        ("Evidence", _evidence(report)),
        ("Exit code", str(report.exit_code)),
    ]


def tally_line(report: Report) -> str:
    """ "Of 12 blocking gates: 1 FAIL, 2 NOT RUN, 9 PASS."."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts().items())
    total = len(report.blocking)
    if not total:
        return "No gate blocks in this profile."
    return f"Of {total} blocking gate{'s' if total > 1 else ''}: {counts}."


def manifest_sections(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rest of the manifest, for the page's end: (title, pairs of name and text) each."""
    titles = {
        "machine": "Machine",
        "instrumentation": "Instruments",
        "seeds": "Seeds",
        "fixtures": "Fixtures",
        "packages": "Packages",
        "stages_s": "Time of each stage",
    }
    found = []
    for key, title in titles.items():
        content = report.manifest.get(key)
        if isinstance(content, Mapping) and content:
            # A seed is a name, not an amount: its digits are never grouped or rounded.
            pairs = (
                [(str(name), str(value)) for name, value in content.items()]
                if key == "seeds"
                else [(str(name), format_quantity(s, "s")) for name, s in content.items()]
                if key == "stages_s"
                else scalars(content)
            )
            found.append((title, pairs))
    return found


def run_moment(report: Report) -> datetime | None:
    """When the run ended (or began), if it says so in ISO 8601 with a time zone."""
    run = {**report.manifest, **report.run}
    for name in ("ended", "started"):
        moment = _moment(run.get(name))
        if moment is not None and moment.tzinfo is not None:
            return moment
    return None


def _known(run: Mapping[str, Any], name: str) -> str:
    return str(run.get(name) or _UNKNOWN)


def _machine(manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine")
    if not isinstance(machine, Mapping) or not machine:
        return _UNKNOWN
    memory = number(machine, "memory_bytes")
    parts = [
        str(machine.get("cpu_model") or "unknown processor"),
        f"{machine['cores']} cores" if machine.get("cores") else "",
        f"{format_quantity(memory, 'B')} memory" if memory is not None else "",
        f"kernel {machine['kernel']}" if machine.get("kernel") else "",
    ]
    return ", ".join(part for part in parts if part)


def _span(run: Mapping[str, Any]) -> str:
    begin, end = run.get("started"), run.get("ended")
    if not begin:
        return _UNKNOWN
    first, last = _moment(begin), _moment(end)
    text = (
        f"{_clock(first)} to {_clock(last)}" if first and last else f"{begin} to {end or 'unknown'}"
    )
    if first is None or last is None or (first.tzinfo is None) != (last.tzinfo is None):
        return text
    return f"{text} ({format_quantity((last - first).total_seconds(), 's')})"


def _clock(moment: datetime) -> str:
    zone = "UTC" if moment.utcoffset() is not None and not moment.utcoffset() else ""
    text = moment.replace(tzinfo=None) if zone else moment
    return f"{text.isoformat(sep=' ', timespec='seconds')} {zone}".strip()


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _evidence(report: Report) -> str:
    rows = [row for gate in report.gates for row in gate.rows]
    count = Counter(row.evidence or "no tier" for row in rows if row.estimate is not None)
    order = [*_TIERS, *sorted(set(count) - set(_TIERS))]
    parts = [f"{count[tier]} {tier}" for tier in order if count[tier]]
    empty = sum(row.estimate is None for row in rows) + sum(not gate.rows for gate in report.gates)
    if empty:
        parts.append(f"{empty} not measured")
    return f"rows: {', '.join(parts)}" if parts else "none"
