"""What a run has beside its own samples: a proof that the gates can fail, and an anchor.

Both are copied into the run's folder and sealed in its manifest, so that its verdicts follow from
its own files alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.anchors import beside_anchor, check_anchor, find_anchor, read_anchor
from harness.prove.proof import find_proof, judge_proof

__all__ = ["ANCHOR", "PROOF", "SEALED", "Beside", "lay_beside", "read_beside"]

PROOF, ANCHOR = "proof.json", "anchor.json"
SEALED = (PROOF, ANCHOR, "targets.json", "waivers.json")
"""Files that a manifest vouches for, beside the raw samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The contents of the two files; None where a run has none."""

    proof: Mapping[str, Any] | None = None
    anchor: Mapping[str, Any] | None = None

    def why_unproved(self, manifest: Mapping[str, Any]) -> str:
        """Why there was no current proof when the run ended; "" if there was one."""
        digest = str(manifest.get("gates_digest", ""))
        return judge_proof(self.proof, digest=digest, now=manifest["ended_s"])

    def proof_shown(self, unproved: str) -> dict[str, Any]:
        """The proof as verdicts.json has it: whether it counts, and its matrix."""
        proof = self.proof or {}
        rows = [
            {name: value for name, value in row.items() if name != "files"}
            for row in proof.get("rows", ())
        ]
        head = {name: str(proof.get(name, "")) for name in ("id", "verdict", "machine_id", "ended")}
        return {"fault": unproved, **head, "rows": rows}

    def anchor_shown(
        self, manifest: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Each blocking row beside the anchor's value; None without an anchor."""
        return None if self.anchor is None else beside_anchor(self.anchor, manifest, gates)


def lay_beside(
    run: Path, reports: Path, *, anchor: Path | None, machine: str, digest: str, now: float
) -> None:
    """Copy the newest proof, and the anchor named or the newest one, into a run's folder.

    Raises
    ------
    UsageError
        The anchor that was named cannot be used.
    """
    contents = {
        PROOF: find_proof(reports, digest=digest, now=now),
        ANCHOR: find_anchor(reports, machine) if anchor is None else read_anchor(anchor),
    }
    for name, content in contents.items():
        if content is not None:
            text = json.dumps(content, indent=1, allow_nan=False)
            (run / name).write_text(f"{text}\n", encoding="utf-8")


def read_beside(run: Path, manifest: Mapping[str, Any]) -> tuple[Beside, list[str]]:
    """Read what the manifest vouches for, and say what is missing, changed, or not vouched for."""
    sealed = manifest.get("sealed", {})
    faults = []
    found: dict[str, Mapping[str, Any]] = {}
    for name in SEALED:
        path = run / name
        content = path.read_bytes() if path.is_file() else None
        if name not in sealed:
            if content is not None and name in (PROOF, ANCHOR):
                faults.append(f"{name} is not in the manifest")
        elif content is None:
            faults.append(f"{name} is missing")
        elif hashlib.sha256(content).hexdigest() != sealed[name]:
            faults.append(f"{name} was changed after the run")
        elif name in (PROOF, ANCHOR):
            fault = _parsed(name, content, found)
            faults += [f"{name}: {fault}"] if fault else []
    return Beside(proof=found.get(PROOF), anchor=found.get(ANCHOR)), faults


def _parsed(name: str, content: bytes, found: dict[str, Mapping[str, Any]]) -> str:
    """Put the content of a file into `found`, or say what is wrong with it."""
    try:
        parsed = json.loads(content)
    except ValueError as error:
        return str(error)
    fault = check_anchor(parsed) if name == ANCHOR else ""
    if not fault and not isinstance(parsed, dict):
        fault = "want a JSON object"
    if not fault:
        found[name] = parsed
    return fault
