"""Anchors as they are kept: the evidence of a release's run in a folder of its own.

reports/anchors/<label>-<machine>/anchor.json   values of its rows; harness/anchor.schema.json
reports/anchors/<label>-<machine>/run           manifest, targets, waivers, verdicts, raw samples
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from harness.anchors import anchor_of, check_anchor
from harness.beside import ANCHOR, ANCHORS, PROOF
from harness.errors import EvidenceError, UsageError
from harness.evidence import read_json, write_json
from harness.reliability.counts import COUNTS_FILE
from harness.verify import verify_run

__all__ = ["make_anchor", "verify_anchor"]

_EVIDENCE = (
    *("manifest.json", "targets.json", "waivers.json", "verdicts.json"),
    *(PROOF, ANCHOR, ANCHORS, COUNTS_FILE),
)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_TARGETS_MOVED = "targets.json is not what this checkout promises"


def make_anchor(run: Path, label: str, reports: Path) -> Path:
    """Keep a run as the anchor `label` of its machine and return the anchor's folder.

    Raises
    ------
    UsageError
        A label that is no name, or one that this machine has an anchor of already: an anchor that
        moves with each release hides what it is for.
    EvidenceError
        The run does not stand, or nothing of it was measured.
    """
    if not _LABEL.fullmatch(label):
        raise UsageError(f"--label {label!r}: want letters, digits and _ . + - only")
    faults = verify_run(run)
    if faults:
        raise EvidenceError(f"{run.name} does not stand, so it is no anchor: {faults[0]}")
    anchor = _anchor_of(run, label)
    if not anchor["rows"]:
        raise EvidenceError(f"{run.name}: no row has a value")
    folder = reports / "anchors" / f"{label}-{anchor['machine']}"
    if folder.exists():
        raise UsageError(f"{folder} is there: take another label, or move it away")
    making = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    try:
        evidence = making / "run"
        evidence.mkdir(parents=True)
        for name in _EVIDENCE:
            if (run / name).is_file():
                shutil.copyfile(run / name, evidence / name)
        shutil.copytree(run / "samples", evidence / "samples")
        write_json(making / "anchor.json", anchor)
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return folder


def _anchor_of(run: Path, label: str) -> dict[str, Any]:
    return anchor_of(label, read_json(run / "manifest.json"), read_json(run / "verdicts.json"))


def verify_anchor(folder: Path) -> list[str]:
    """Every difference between an anchor and its own evidence.

    Its targets are those of its release, so that they may differ from this checkout's.
    """
    anchor = read_json(folder / ANCHOR)
    breach = check_anchor(anchor)
    if breach:
        raise EvidenceError(f"anchor.json breaks its schema: {breach}")
    faults = [one for one in verify_run(folder / "run") if not one.startswith(_TARGETS_MOVED)]
    again = _anchor_of(folder / "run", anchor["label"])
    return faults + [
        f"anchor.json, {name}: not what its run has"
        for name in sorted(again.keys() | anchor.keys())
        if again.get(name) != anchor.get(name)
    ]
