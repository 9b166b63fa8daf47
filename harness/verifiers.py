"""What kind of evidence a folder holds, and who recomputes it."""

from __future__ import annotations

from pathlib import Path

from harness.anchor_files import verify_anchor
from harness.compare.documents import is_compare, verify_compare
from harness.errors import UsageError
from harness.prove.prover import verify_proof
from harness.soak.verify import verify_soak
from harness.verify import verify_run

__all__ = ["verify_folder"]


def verify_folder(folder: Path) -> list[str]:
    """Every difference between what a folder claims and what its evidence gives.

    A run of the gates (verdicts.json), a comparison (compare.json), a proof (proof.json), an anchor
    (anchor.json) or a soak (soak.json).

    Raises
    ------
    UsageError
        It is none of these.
    EvidenceError
        Files without which nothing can be recomputed are missing or damaged.
    """
    if is_compare(folder):
        return verify_compare(folder)
    has = {path.name for path in folder.iterdir()}
    if {"verdicts.json", "manifest.json"} & has:
        return verify_run(folder)  # which may have a proof and an anchor beside it
    if "proof.json" in has:
        return verify_proof(folder)
    if "anchor.json" in has:
        return verify_anchor(folder)
    if "soak.json" in has:
        return verify_soak(folder)
    raise UsageError(f"{folder}: neither a run nor a comparison, a proof, an anchor or a soak")
