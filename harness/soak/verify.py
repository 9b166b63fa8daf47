"""What was said of a soak, and whether it still follows from its segments.

judgement.json holds the verdict with its numbers, and for each segment file how long it was and the
SHA-256 of so much of it. Files are only appended to, so a soak that went on since still has the
same beginning.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from harness.evidence import read_json, write_json
from harness.soak.decide import Judgement, judge_soak
from harness.soak.evidence import read_soak

__all__ = ["JUDGEMENT", "verify_soak", "write_judgement"]

JUDGEMENT = "judgement.json"
SCHEMA_VERSION = 1


def _claims(judged: Judgement) -> dict[str, Any]:
    return {
        "verdict": str(judged.verdict),
        "reason": judged.reason,
        "hours": judged.hours,
        "operations": judged.operations,
        "mismatches": judged.mismatches,
        "kills": judged.kills,
        "recovered": judged.recovered,
        "growth": {name: str(one.verdict) for name, one in judged.growth.items()},
        "latency": {one.kind: str(one.verdict) for one in judged.drifts},
    }


def write_judgement(folder: Path) -> Judgement:
    """Judge the soak in a folder as it is now, and keep what is said of it."""
    segments = {
        path.name: path.read_bytes() for path in sorted((folder / "segments").glob("*.jsonl"))
    }
    judged = _judge(segments)
    write_json(
        folder / JUDGEMENT,
        {
            "schema_version": SCHEMA_VERSION,
            **_claims(judged),
            "segments": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in segments.items()
            },
        },
    )
    return judged


def _judge(segments: dict[str, bytes]) -> Judgement:
    with tempfile.TemporaryDirectory() as copy:
        for name, content in segments.items():
            (Path(copy) / name).write_bytes(content)
        return judge_soak(read_soak(Path(copy)))


def verify_soak(folder: Path) -> list[str]:
    """Every difference between what was said of a soak and what its segments give.

    Raises
    ------
    EvidenceError
        soak.json or judgement.json is missing or damaged, or there are no segments.
    """
    faults = list(read_soak(folder / "segments").faults)
    claimed = read_json(folder / JUDGEMENT)
    segments: dict[str, bytes] = {}
    for name, sealed in dict(claimed.get("segments", {})).items():
        path = folder / "segments" / Path(name).name
        if not path.is_file():
            faults.append(f"{name}: missing")
            continue
        content = path.read_bytes()[: int(sealed["bytes"])]
        if hashlib.sha256(content).hexdigest() != sealed["sha256"]:
            faults.append(f"{name}: changed since it was judged")
        segments[name] = content
    computed = _claims(_judge(segments))
    faults += [
        f"{name}: said {claimed.get(name)!r}, the segments give {value!r}"
        for name, value in computed.items()
        if claimed.get(name) != value
    ]
    return faults
