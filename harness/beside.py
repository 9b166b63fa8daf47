"""What a run has beside its own samples: a proof that the gates can fail, anchors, and counts of
a reliability campaign.

They are copied into the run's folder and sealed in its manifest, so that its verdicts follow from
its own files alone.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.anchors import (
    beside_anchor,
    beside_earlier,
    check_anchor,
    find_anchors,
    read_anchor,
)
from harness.errors import EvidenceError
from harness.prove.proof import CLOCK_STEP_S, Identity, judge_proof, proofs_in
from harness.reliability.counts import COUNTS_FILE, counts_shown, fault_of_counts, find_counts

__all__ = ["ANCHOR", "ANCHORS", "PROOF", "SEALED", "Beside", "lay_beside", "read_beside"]

PROOF, ANCHOR, ANCHORS = "proof.json", "anchor.json", "anchors.json"
_OPTIONAL = (PROOF, ANCHOR, ANCHORS, COUNTS_FILE)
SEALED = (*_OPTIONAL, "targets.json", "waivers.json")
"""Files that a manifest vouches for, beside the raw samples."""
_OF_EVIDENCE = ("files", "identity")  # of a row of a proof: no page shows them
_RUN = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{6}Z)-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The contents of the files; None where a run has none.

    Attributes
    ----------
    anchor
        The last release, or the one that was named.
    earlier
        All other anchors.
    reliability
        Counts of a campaign, perhaps of other code.
    """

    proof: Mapping[str, Any] | None = None
    anchor: Mapping[str, Any] | None = None
    earlier: Sequence[Mapping[str, Any]] = ()
    reliability: Mapping[str, Any] | None = None

    def why_unproved(self, manifest: Mapping[str, Any]) -> str:
        """Why there was no current proof when the run ended; "" if there was one."""
        return judge_proof(
            self.proof,
            wanted=Identity.of_run(manifest),
            now=manifest["ended_s"],
            fault=str(manifest.get("proof_fault", "")),
        )

    def proof_shown(self, unproved: str) -> dict[str, Any]:
        """The proof as verdicts.json has it: whether it counts, and its matrix."""
        proof = self.proof or {}
        rows = [
            {name: value for name, value in row.items() if name not in _OF_EVIDENCE}
            for row in proof.get("rows", ())
        ]
        head = {name: str(proof.get(name, "")) for name in ("id", "verdict", "ended")}
        identity = proof.get("identity")
        machine = str(identity.get("machine", "")) if isinstance(identity, Mapping) else ""
        return {"fault": unproved, **head, "machine_id": machine, "rows": rows}

    def anchor_shown(
        self, manifest: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Each blocking row beside the anchor's value, and those that are worse than in any
        earlier release; None without an anchor.
        """
        if self.anchor is None:
            return None
        shown = beside_anchor(self.anchor, manifest, gates)
        return {**shown, "earlier": beside_earlier(self.earlier, manifest, gates)}

    def reliability_shown(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The counts as verdicts.json has them, under their name; nothing without counts."""
        if self.reliability is None:
            return {}
        return {"reliability": counts_shown(self.reliability, manifest["content_digest"])}


def lay_beside(
    run: Path,
    reports: Path,
    *,
    anchor: Path | None,
    wanted: Identity,
    now: float,
    verify: Callable[[Path], list[str]] | None = None,
) -> str:
    """Copy the newest proof, the anchors, and the counts that say most, into a run's folder.

    Parameters
    ----------
    wanted
        What the run belongs to; so must its proof.
    verify
        Every difference between the proof in a folder and its evidence; None: `verify_proof`.

    Returns
    -------
    str
        Why the proof that was copied does not count although its own words do: its evidence does
        not bear them out, or the clock was set back. "" if it does, or if none was copied.

    Raises
    ------
    UsageError
        The anchor that was named cannot be used.
    """
    proof, fault = _proof_of(reports, wanted, now, verify or _recompute)
    anchors = find_anchors(reports, wanted.machine)
    named = read_anchor(anchor) if anchor is not None else anchors[0] if anchors else None
    others = [one for one in anchors if one != named]
    contents = {
        PROOF: proof,
        ANCHOR: named,
        ANCHORS: {"anchors": others} if others else None,
        COUNTS_FILE: find_counts(reports, wanted.content_digest),
    }
    for name, content in contents.items():
        if content is not None:
            text = json.dumps(content, indent=1, allow_nan=False)
            (run / name).write_text(f"{text}\n", encoding="utf-8")
    return fault


def _recompute(folder: Path) -> list[str]:
    from harness.prove.prover import verify_proof  # which makes runs, so it imports this module

    return verify_proof(folder)


def _proof_of(
    reports: Path, wanted: Identity, now: float, verify: Callable[[Path], list[str]]
) -> tuple[dict[str, Any] | None, str]:
    """The proof that counts and stands, else the newest of all and what is wrong with it."""
    found = proofs_in(reports, wanted=wanted, now=now)
    if not found:
        return None, ""
    fault = ""
    later = _later_run(reports, now)
    for folder, proof, why_not in found:
        if why_not:
            break  # those that count come first
        try:
            faults = verify(folder)
        except EvidenceError as error:
            faults = [str(error)]
        if not faults and not later:
            return proof, ""
        fault = fault or (f"the newest does not stand: {faults[0]}" if faults else later)
    return found[0][1], fault


def _later_run(reports: Path, now: float) -> str:
    """A run that ended after this one did not: then the age of a proof is not known."""
    for path in sorted(reports.glob("*-*T*Z-*"), reverse=True):
        begun = _RUN.match(path.name)
        if begun is None:
            continue
        try:
            moment = datetime.datetime.strptime(begun[1], "%Y-%m-%dT%H%M%S%z").timestamp()
        except ValueError:
            continue
        if moment > now + CLOCK_STEP_S:
            return f"the clock was set back: {path.name} began after this run's end"
    return ""


def read_beside(run: Path, manifest: Mapping[str, Any]) -> tuple[Beside, list[str]]:
    """Read what the manifest vouches for, and say what is missing, changed, or not vouched for."""
    sealed = manifest.get("sealed", {})
    faults = []
    found: dict[str, Mapping[str, Any]] = {}
    for name in SEALED:
        path = run / name
        content = path.read_bytes() if path.is_file() else None
        if name not in sealed:
            if content is not None:
                faults.append(f"{name} is not in the manifest")
        elif content is None:
            faults.append(f"{name} is missing")
        elif hashlib.sha256(content).hexdigest() != sealed[name]:
            faults.append(f"{name} was changed after the run")
        elif name in _OPTIONAL:
            fault = _parsed(name, content, found)
            faults += [f"{name}: {fault}"] if fault else []
    earlier = found.get(ANCHORS, {}).get("anchors", [])
    beside = Beside(
        proof=found.get(PROOF),
        anchor=found.get(ANCHOR),
        earlier=earlier,
        reliability=found.get(COUNTS_FILE),
    )
    return beside, faults


def _parsed(name: str, content: bytes, found: dict[str, Mapping[str, Any]]) -> str:
    """Put the content of a file into `found`, or say what is wrong with it."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        return str(error)
    if not isinstance(parsed, dict):
        return "want a JSON object"
    anchors = {ANCHOR: [parsed], ANCHORS: parsed.get("anchors", [])}.get(name, [])
    if not isinstance(anchors, list):
        return "anchors: want a list"
    fault = next(filter(None, map(check_anchor, anchors)), "")
    if name == COUNTS_FILE:
        fault = fault_of_counts(parsed)
    if not fault:
        found[name] = parsed
    return fault
