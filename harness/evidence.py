"""The files of one run, and the verdicts that follow from them alone.

manifest.json      what was measured, by what, where, when; SHA-256 of each file of samples
targets.json       the promises as they were read
waivers.json       the waivers as they were read
samples/*.json.gz  raw samples
proof.json         the newest proof that the gates can fail, if there is one
anchor.json        the last release's values, if there are any
anchors.json       those of earlier releases
reliability.json   counts of a campaign of `harness reliability`, if there are any
verdicts.json      what follows; harness/verdicts.schema.json
pages.json         SHA-256 of each page, if there are pages (harness/pages.py)
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.beside import Beside, read_beside
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.gates import Setting, decide, judge_gate
from harness.measurement import Measurement, read_measurement
from harness.targets import Targets, parse_targets
from harness.verdicts import gate_as_json
from harness.waivers import Waiver

__all__ = [
    "check_verdicts",
    "compute_verdicts",
    "read_json",
    "seal_files",
    "seal_samples",
    "verdicts_of_run",
    "write_json",
    "write_verdicts",
]

VERDICTS_VERSION = 1
_SCHEMA = Path(__file__).with_name("verdicts.schema.json")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON through a temporary name, so that no reader meets half a file."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    fresh.replace(path)


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def check_verdicts(verdicts: Any) -> str:
    """Where and how a document breaks harness/verdicts.schema.json; "" if it does not."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(verdicts))
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"


def write_verdicts(run: Path, verdicts: Mapping[str, Any]) -> None:
    """Write verdicts.json; raises HarnessError, and writes nothing, if it breaks its schema."""
    fault = check_verdicts(verdicts)
    if fault:
        raise HarnessError(f"verdicts.json would break its schema: {fault}")
    write_json(run / "verdicts.json", verdicts)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises EvidenceError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EvidenceError(f"{path.name} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EvidenceError(f"{path.name}: {error}") from error
    if not isinstance(content, dict):
        raise EvidenceError(f"{path.name}: want a JSON object")
    return content


def seal_samples(run: Path) -> dict[str, str]:
    """SHA-256 of each file of samples, by name: what the manifest vouches for."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((run / "samples").glob("*.json.gz"))
    }


def seal_files(run: Path, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of those of a run's other files that are there, by name."""
    return {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest()
        for name in names
        if (run / name).is_file()
    }


def compute_verdicts(
    manifest: Mapping[str, Any],
    targets: Targets,
    waivers: Sequence[Waiver],
    measurements: Mapping[str, Measurement],
    damaged: Mapping[str, str],
    beside: Beside | None = None,
) -> dict[str, Any]:
    """The content of verdicts.json; a function of its arguments only.

    `damaged` says what is wrong with measurements that were made but cannot be used, by name.
    """
    beside = beside or Beside()
    setting = Setting(
        profile=manifest["profile"],
        commit=manifest["commit"],
        content_digest=manifest["content_digest"],
        config_digest=manifest["config_digest"],
        machine=manifest["machine"]["id"],
        now=manifest["ended_s"],
        started=datetime.datetime.fromisoformat(manifest["started"]).timestamp(),
    )
    by_state = {
        state: {waiver.gate: waiver.reason for waiver in waivers if waiver.state == state}
        for state in ("active", "expired")
    }
    judged = [
        judge_gate(
            gate,
            measurements,
            setting,
            absent=manifest["absent"],
            damaged=damaged,
            waived=by_state["active"],
            expired=by_state["expired"],
        )
        for gate in targets.gates
    ]
    unproved = beside.why_unproved(manifest)
    decision = decide(judged, setting.profile, strict=manifest["strict"], unproved=unproved)
    gates = [gate_as_json(gate, setting.profile) for gate in judged]
    run = {
        name: manifest[name]
        for name in (
            "id",
            "profile",
            "commit",
            "content_digest",
            "config_digest",
            "dirty",
            "command",
            "started",
            "ended",
        )
    }
    return {
        "schema_version": VERDICTS_VERSION,
        "run": run,
        "decision": {
            "verdict": decision.verdict,
            "label": decision.label,
            "exit_code": decision.exit_code,
            "reasons": list(decision.reasons),
        },
        "gates": gates,
        "waivers": [asdict(waiver) for waiver in waivers],
        "proof": beside.proof_shown(unproved),
        "anchor": beside.anchor_shown(manifest, gates),
        **beside.reliability_shown(manifest),
    }


def verdicts_of_run(run: Path) -> tuple[dict[str, Any], list[str]]:
    """Compute a run's verdicts from its files, trusting none of them.

    Returns
    -------
    verdicts, faults
        The faults say which evidence is missing, changed, or not vouched for. The rows of a
        measurement whose file is at fault are INVALID.

    Raises
    ------
    EvidenceError
        manifest.json, targets.json or waivers.json cannot be read at all.
    """
    manifest = read_json(run / "manifest.json")
    try:
        targets = parse_targets(read_json(run / "targets.json"), name="targets.json")
    except UsageError as error:
        raise EvidenceError(str(error)) from error
    try:
        waivers = [Waiver(**one) for one in read_json(run / "waivers.json")["waivers"]]
        overdue = [one for one in waivers if one.state != "expired" and _is_over(one, manifest)]
        sealed = dict(manifest["samples"])
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"manifest.json or waivers.json is damaged: {error!r}") from error
    measurements, damaged, faults = _read_samples(run, sealed)
    beside, strange = read_beside(run, manifest)
    faults += strange
    faults += [
        f"waivers.json: that of {one.gate} had run out when the run began" for one in overdue
    ]
    waivers = [replace(one, state="expired") if one in overdue else one for one in waivers]
    try:
        verdicts = compute_verdicts(manifest, targets, waivers, measurements, damaged, beside)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise EvidenceError(f"manifest.json is damaged: {error!r}") from error
    verdicts["run"]["manifest_sha256"] = seal_files(run, ["manifest.json"])["manifest.json"]
    return verdicts, faults


def _is_over(waiver: Waiver, manifest: Mapping[str, Any]) -> bool:
    """Had it run out on the day of the run? Both are ISO dates, that of the run in UTC."""
    return bool(waiver.expires[:10] < manifest["started"][:10])


def _read_samples(
    run: Path, sealed: Mapping[str, str]
) -> tuple[dict[str, Measurement], dict[str, str], list[str]]:
    """Measurements that the manifest vouches for, what is wrong with others, and all faults."""
    found = seal_samples(run)
    measurements: dict[str, Measurement] = {}
    damaged: dict[str, str] = {}
    faults = []
    for name in sorted(sealed.keys() | found.keys()):
        key = name.removesuffix(".json.gz")
        if name not in sealed:
            faults.append(f"samples/{name} is not in the manifest")
            continue
        if name not in found:
            damaged[key] = "its raw samples are missing"
        elif found[name] != sealed[name]:
            damaged[key] = "its raw samples were changed after the run"
        else:
            try:
                measurements[key] = read_measurement(run / "samples" / name)
            except EvidenceError as error:
                damaged[key] = f"its raw samples cannot be read: {error}"
            else:
                if measurements[key].id != key:
                    other = measurements.pop(key).id
                    damaged[key] = f"its raw samples are those of {other}"
        if key in damaged:
            faults.append(f"samples/{name}: {damaged[key]}")
    return measurements, damaged, faults
