"""The promises as data: read from targets.toml, checked, never defaulted in code.

Source: SPEC section 2. A gate has rows; each row is one measurement against one limit. What a row
does not say its gate says, what the gate does not say the defaults say.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.errors import UsageError

__all__ = ["PROFILES", "Gate", "Row", "Targets", "load_targets", "parse_targets", "targets_path"]

PROFILES = ("ci", "nightly", "release")
_HERE = Path(__file__).parent
_RULES = (
    "confidence",
    "resample",
    "processes_min",
    "samples_min",
    "age_max_s",
    "instruments",
    "accepts",
    "metric",
    "statistic",
    "unit",
    "comparator",
    "limit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number that is judged.

    Attributes
    ----------
    measurement
        Name of the raw samples it is computed from; several rows may share them.
    blocking
        Profiles in which it decides; elsewhere it is shown.
    settings
        Of the store, where they are not those of the run; such a row never decides.
    optional
        Decides only where it was measured, since the caller has to give something for it.
    statistic
        "sum", "mean", "median", "p50", "p99" of the samples, or "added-mean": the mean of the
        processes with the store minus the mean of the control processes.
    resample
        What the bootstrap draws: "process" (then blocks within), "sample", or "none" for counts.
    instruments
        Wanted state of each instrument; a sample taken otherwise is INVALID.
    """

    id: str
    gate: str
    label: str
    measurement: str
    population: Mapping[str, Any]
    blocking: tuple[str, ...]
    settings: Mapping[str, Any]
    optional: bool
    metric: str
    statistic: str
    unit: str
    comparator: str
    limit: float
    confidence: float
    resample: str
    processes_min: int
    samples_min: int
    age_max_s: float
    instruments: Mapping[str, bool]
    accepts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One promise."""

    id: str
    claim: str
    owner: str
    blocking: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """All promises of one release, and the document they were read from."""

    release_models: tuple[str, ...]
    gates: tuple[Gate, ...]
    document: Mapping[str, Any]

    def rows(self) -> dict[str, Row]:
        """Every row by id."""
        return {row.id: row for gate in self.gates for row in gate.rows}


def targets_path() -> Path:
    """The targets that come with the harness."""
    return _HERE / "targets.toml"


def load_targets(path: Path | None = None) -> Targets:
    """Read targets from TOML; raises UsageError naming the place of the first fault."""
    source = targets_path() if path is None else path
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{source}: {error}") from error
    return parse_targets(document, name=source.name)


@cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((_HERE / "targets.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def parse_targets(document: Mapping[str, Any], *, name: str = "targets") -> Targets:
    """Check a document against the schema and build the rows. Raises UsageError."""
    fault = jsonschema.exceptions.best_match(_validator().iter_errors(document))
    if fault is not None:
        raise UsageError(f"{name}: {fault.json_path}: {fault.message}")
    models = tuple(document["release"]["models"])
    gates = tuple(_gate(raw, document["defaults"], models, name) for raw in document["gate"])
    for kind, ids in (
        ("gate", [gate.id for gate in gates]),
        ("row", [row.id for gate in gates for row in gate.rows]),
    ):
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise UsageError(f"{name}: {kind} {twice[0]} is there twice")
    _check_deciders(document, gates, name)
    return Targets(release_models=models, gates=gates, document=document)


def _check_deciders(document: Mapping[str, Any], gates: Sequence[Gate], name: str) -> None:
    """No promise may stop deciding because none of its rows does, nor for a misspelt model."""
    named = {row["model"] for gate in document["gate"] for row in gate["row"] if "model" in row}
    unknown = sorted(set(document["release"]["models"]) - named)
    if named and unknown:
        raise UsageError(f"{name}: release.models names {unknown[0]!r}, but no row is about it")
    for gate in gates:
        for profile in gate.blocking:
            if not any(profile in row.blocking and not row.optional for row in gate.rows):
                raise UsageError(
                    f"{name}: {gate.id} blocks in {profile}, but none of its rows does"
                )


def _gate(
    raw: Mapping[str, Any], defaults: Mapping[str, Any], models: tuple[str, ...], name: str
) -> Gate:
    blocking = tuple(raw["blocking"])
    rows = []
    for row in raw["row"]:
        rules = {**defaults, **raw.get("rule", {}), **row.get("rule", {})}
        missing = [rule for rule in _RULES if rule not in rules]
        if missing:
            raise UsageError(f"{name}: row {row['id']} has no {missing[0]}")
        for rule in ("limit", "confidence", "age_max_s"):
            if not abs(rules[rule]) <= sys.float_info.max:  # nor an integer beyond any float
                raise UsageError(f"{name}: row {row['id']}: {rule} is {rules[rule]}")
        decides = not row.get("advisory", False) and row.get("model", models[0]) in models
        shown = set(row.get("shown_in", ()))
        settings = row.get("settings", {})
        if settings and not row.get("advisory", False):
            raise UsageError(f"{name}: row {row['id']} has settings of its own, and decides")
        rows.append(
            Row(
                id=row["id"],
                gate=raw["id"],
                label=row["label"],
                measurement=row["measurement"],
                population=row["population"],
                blocking=tuple(p for p in blocking if decides and p not in shown),
                settings=settings,
                optional=row.get("optional", False),
                **{rule: rules[rule] for rule in _RULES if rule != "accepts"},
                accepts=tuple(rules["accepts"]),
            )
        )
    return Gate(
        id=raw["id"],
        claim=raw["claim"],
        owner=raw["owner"],
        blocking=blocking,
        rows=tuple(rows),
    )
