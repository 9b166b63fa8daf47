"""The counts of a reliability campaign as they are kept, found again, and shown beside a run.

Evidence only: no verdict depends on them. Pure, but for `find_counts`, which reads files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["COUNTS_FILE", "FORMAT", "counts_shown", "fault_of_counts", "find_counts"]

COUNTS_FILE = "reliability.json"
FORMAT = 2  # 1: without units
_FILE_BYTES_MAX = 16 << 20
_FAULTS_MAX = 20  # shown, each with its first line; the file beside the run has them all
_TEXT_MAX = 300
_TEXTS = ("size", "commit", "content_digest", "ended")
_UNIT = {"part": str, "scenario": str, "points_known": int, "points_tried": int, "faults": int}


def fault_of_counts(content: Any) -> str:
    """What is wrong with the content of a file of counts; "" if nothing is."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f"not counts of reliability in format {FORMAT}"
    if not all(isinstance(content.get(name), str) for name in _TEXTS):
        return f"want texts in {', '.join(_TEXTS)}"
    if not isinstance(content.get("is_complete"), bool):
        return "is_complete: want true or false"
    for name in ("units", "faults", "not_run"):
        if not isinstance(content.get(name), list):
            return f"{name}: want a list"
    for unit in content["units"]:
        if not isinstance(unit, dict) or not isinstance(unit.get("not_run"), str):
            return "units: want objects that say why they were not run"
        if any(type(unit.get(name)) is not kind for name, kind in _UNIT.items()):
            return f"units: want {', '.join(_UNIT)}"
        if any(unit[name] < 0 for name, kind in _UNIT.items() if kind is int):
            return "units: a count below zero"
    for fault in content["faults"]:
        if not isinstance(fault, dict) or not isinstance(fault.get("what"), list):
            return "faults: want objects that say what"
        if not all(isinstance(fault.get(name), str) for name in ("part", "scenario", "point")):
            return "faults: want objects that say where"
    return ""


def find_counts(reports: Path, content_digest: str) -> dict[str, Any] | None:
    """The counts that say most: of this very content first, then of a full campaign, the most
    points, the newest. What cannot be read is none.
    """
    found = []
    for path in (reports / "reliability").glob(f"*/{COUNTS_FILE}"):
        try:
            if path.stat().st_size > _FILE_BYTES_MAX:
                continue
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if not fault_of_counts(content):
            tried = sum(unit["points_tried"] for unit in content["units"])
            is_same = content["content_digest"] == content_digest
            is_full = content["size"] == "full"
            rank = (is_same, is_full, tried, content["ended"], path.parent.name)
            found.append((rank, content))
    return max(found, key=lambda one: one[0])[1] if found else None


def counts_shown(counts: Mapping[str, Any], content_digest: str) -> dict[str, Any]:
    """What verdicts.json has of counts, beside a run of code with this digest."""
    return {
        **{name: counts[name] for name in ("size", "commit", "ended", "is_complete")},
        "is_of_this_content": counts["content_digest"] == content_digest,
        "not_run": [str(reason)[:_TEXT_MAX] for reason in counts["not_run"]],
        "units": [{name: unit[name] for name in (*_UNIT, "not_run")} for unit in counts["units"]],
        "faults": [
            {
                **{name: fault[name][:_TEXT_MAX] for name in ("part", "scenario", "point")},
                "what": _last_line(fault["what"]),
            }
            for fault in counts["faults"][:_FAULTS_MAX]
        ],
    }


def _last_line(what: list[Any]) -> str:
    """Of a traceback, the line that says what it was."""
    lines = str(what[0]).strip().splitlines() if what else []
    return lines[-1][:_TEXT_MAX] if lines else ""
