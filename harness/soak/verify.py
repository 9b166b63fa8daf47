"""What was said of a soak, and whether it still follows from its segments.

A chain says that nothing was changed in its middle. What was cut off its end is told by others:
the ledger counts the segments that were begun and the wrong answers, judgement.json says what was
there when the soak was last judged, and each segment names the soak.json that it is of.

judgement.json holds the verdict with its numbers, and for each segment file how long it was and the
SHA-256 of so much of it. Files are only appended to, so a soak that went on since still has the
same beginning.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import EvidenceError
from harness.evidence import read_json, write_json
from harness.soak.decide import Judgement, judge_soak
from harness.soak.evidence import Soak, read_soak
from harness.soak.facts import Facts, facts_digest, read_facts
from harness.soak.layout import KILLED_LANE, RESIDENT_LANE, Lane
from harness.soak.ledger import Count, Header, Ledger
from harness.soak.space import Space

__all__ = ["JUDGEMENT", "facts_faults", "lost_evidence", "verify_soak", "write_judgement"]

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
    read_json(folder / JUDGEMENT)
    faults = lost_evidence(folder, read_facts(folder))
    return [*read_soak(folder / "segments").faults, *faults]


def facts_faults(folder: Path, soak: Soak) -> list[str]:
    """Is the soak.json in a folder the one that its segments are of?"""
    digest = facts_digest(folder)
    return [
        f"segment {header.number} is of another soak.json"
        for header in soak.headers
        if header.facts and header.facts != digest
    ][:1]


def lost_evidence(folder: Path, facts: Facts, *, is_going_on: bool = False) -> list[str]:
    """What a soak's segments should have and have not, by all else that lies in its folder.

    Parameters
    ----------
    is_going_on
        The driver that starts next writes down the wrong answers that no segment has.

    Raises
    ------
    EvidenceError
        soak.json, judgement.json or a ledger is damaged.
    """
    # the ledgers first: a driver at work begins a segment before it counts it there
    lanes = (Lane(folder, KILLED_LANE), Lane(folder, RESIDENT_LANE))
    begun, untold = _counted(lanes, facts) if facts.tier == "real-time" else (0, 0)
    soak = read_soak(folder / "segments")
    faults = facts_faults(folder, soak)
    if (folder / JUDGEMENT).exists():
        faults += _judgement_faults(folder, read_json(folder / JUDGEMENT))
    if soak.headers:
        faults += [
            f"{lane.name}/{lane.expected.name}: missing"
            for lane in lanes
            if not lane.expected.exists()
        ]
    if begun > len(soak.headers):
        faults.append(f"{begun} segments were begun, {len(soak.headers)} are there")
    if untold and not is_going_on:
        faults.append(f"{untold} wrong answers are in no segment")
    return faults


def _counted(lanes: Sequence[Lane], facts: Facts) -> tuple[int, int]:
    """Segments that were begun, and wrong answers that no segment has, by the ledgers."""
    begun = untold = 0
    for lane in lanes:
        if not lane.expected.exists():
            continue
        try:
            keys = len(Space(**facts.space))
        except (TypeError, ValueError) as error:
            raise EvidenceError(f"soak.json is damaged: {error}") from error
        with Ledger(lane.expected, keys=keys, seed=facts.seed) as ledger:
            begun = max(begun, ledger.word(Header.SEGMENTS))
            untold += sum(int(row[Count.WRONG]) - int(row[Count.TOLD]) for row in ledger.roles)
    return begun, untold


def _judgement_faults(folder: Path, claimed: dict[str, Any]) -> list[str]:
    faults: list[str] = []
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
