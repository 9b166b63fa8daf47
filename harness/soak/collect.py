"""A soak as evidence of a run of the gates: found, copied into the run, and recomputed there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.environment import Code
from harness.errors import EvidenceError
from harness.measurement import Measurement, read_measurement
from harness.soak.decide import as_measurement
from harness.soak.evidence import read_soak
from harness.soak.facts import FILE as FACTS
from harness.soak.facts import Facts, read_facts, soaks_below
from harness.soak.verify import facts_faults, lost_evidence

__all__ = ["COPIED", "collect_soak", "copied_segments", "verify_collected"]

COPIED = "soak"  # folder in a run
_ID = "soak.day"


def collect_soak(
    reports: Path, run: Path, *, code: Code, machine: str, config_digest: str
) -> tuple[list[Measurement], str]:
    """The soak of this very code, machine and configuration, its segments copied into the run.

    Of several, one that found something wrong, else the one with the most counted hours; soaks
    with an injected fault and simulated ones are left out. One of which evidence is gone stands in
    the way of all others: what it said is not known.

    Returns
    -------
    measurements, reason
        One or none, and why there is none.
    """
    found: list[tuple[bool, float, Path, Measurement]] = []
    simulated = 0
    for folder in soaks_below(reports / "soaks"):
        try:
            facts = read_facts(folder)
        except EvidenceError:
            continue
        if (facts.content_digest, facts.machine) != (code.content_digest, machine) or facts.inject:
            continue
        if facts.tier != "real-time":
            simulated += 1
            continue
        if facts.config_digest != config_digest:
            continue
        try:
            lost = lost_evidence(folder, facts)
        except EvidenceError as error:
            lost = [str(error)]
        if lost:
            return [], f"{folder.name}: {lost[0]}"
        measured = _measured(folder / "segments", facts, code.commit)
        found.append((bool(measured.wrong), sum(_hours(measured)), folder, measured))
    if not found:
        beside = f"; {simulated} simulated, which never satisfy it" if simulated else ""
        return [], f"no soak of this code on this machine (harness soak run --hours 24){beside}"
    _, _, folder, measured = max(found, key=lambda one: one[:2])
    # measured once more from the copy: a soak under way has written more lines meanwhile
    shutil.copytree(folder / "segments", run / COPIED)
    shutil.copy2(folder / FACTS, run / COPIED / FACTS)
    return [_measured(run / COPIED, read_facts(run / COPIED), code.commit)], ""


def _hours(measured: Measurement) -> list[float]:
    return [value for process in measured.processes for value in process.values]


def _measured(segments: Path, facts: Facts, commit: str) -> Measurement:
    newest = max((path.stat().st_mtime for path in segments.glob("*.jsonl")), default=0.0)
    return as_measurement(
        read_soak(segments),
        commit=commit,  # of equal content: what a commit changes is in the content digest
        config_digest=facts.config_digest,
        started=facts.started,
        ended=max(newest, facts.started),
        instruments=facts.instruments,
    )


def copied_segments(run: Path) -> list[str]:
    """Names of the copied segments and their soak.json, as a manifest seals them."""
    paths = sorted([*(run / COPIED).glob("*.jsonl"), *(run / COPIED).glob(FACTS)])
    return [f"{COPIED}/{path.name}" for path in paths]


def verify_collected(run: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Does the run's soak.day follow from the segments beside it, and are they those sealed?"""
    sample = run / "samples" / f"{_ID}.json.gz"
    if not sample.is_file():
        return []
    sealed = manifest.get("sealed", {})
    faults = []
    names = {*copied_segments(run), *(name for name in sealed if name.startswith(f"{COPIED}/"))}
    for name in sorted(names):
        path = run / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sealed.get(name):
            faults.append(f"{name} was changed after the run")
    try:
        claimed = read_measurement(sample)
        computed = as_measurement(
            read_soak(run / COPIED),
            commit=claimed.commit,
            config_digest=claimed.config_digest,
            started=claimed.started,
            ended=claimed.ended,
        )
        facts, found = read_facts(run / COPIED), facts_faults(run / COPIED, read_soak(run / COPIED))
    except EvidenceError as error:
        return [*faults, str(error)]
    faults += found
    if facts.config_digest != claimed.config_digest or facts.inject:
        faults.append(f"{COPIED}/{FACTS} is of another configuration, or of an injected fault")
    if _plain(claimed) != _plain(computed):
        faults.append(f"samples/{_ID}.json.gz does not follow from the segments of the soak")
    return faults


def _plain(measurement: Measurement) -> tuple[Any, ...]:
    """What the verdict hangs on."""
    same = replace(measurement, processes=(), beside=(), context={})
    return (same, _hours(measurement))
