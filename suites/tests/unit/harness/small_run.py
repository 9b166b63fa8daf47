"""Measurements and runs made by hand: enough for a verdict, and right unless a test breaks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.beside import SEALED
from harness.environment import instruments
from harness.evidence import (
    seal_files,
    seal_samples,
    verdicts_of_run,
    write_json,
    write_verdicts,
)
from harness.gates import Setting
from harness.measurement import Measurement, Process, write_measurement
from harness.targets import Gate, Row, Targets, load_targets, parse_targets

ENDED_S = 1_800_000_000.0
SETTING = Setting(
    profile="ci",
    commit="c" * 40,
    content_digest="d" * 32,
    config_digest="e" * 16,
    machine="f" * 8,
    now=ENDED_S,
)
OFF = dict.fromkeys(instruments(), False)


def target_row(**rule: Any) -> Row:
    """One row that is judged in every profile: the p99 of times below 1 s, 5 processes of 10."""
    row = {"optional": rule.pop("optional", False), "population": rule.pop("population", {})}
    return one_gate(rule, row).rows[0]


def one_gate(rule: Mapping[str, Any] | None = None, *rows: Mapping[str, Any]) -> Gate:
    """A gate "speed.limit" whose rows measure speed-0, speed-1, and so on."""
    return gates({"id": "speed.limit", "rule": dict(rule or {}), "row": rows or ({},)}).gates[0]


def gates(*given: Mapping[str, Any]) -> Targets:
    """Targets with these gates; what they do not say is filled in."""
    defaults = {
        "confidence": 0.95,
        "resample": "process",
        "processes_min": 5,
        "samples_min": 10,
        "age_max_s": 86_400,
        "instruments": OFF,
        "accepts": ["live", "recorded", "emulated"],
        "metric": "time",
        "statistic": "p99",
        "unit": "s",
        "comparator": "<",
        "limit": 1.0,
    }
    listed = []
    for gate in given:
        filled = {
            "claim": "it is fast enough",
            "owner": "nobody",
            "blocking": ["ci", "nightly", "release"],
            "row": ({},),
            **gate,
        }
        name = filled["id"].partition(".")[0]
        filled["row"] = [
            {
                "id": f"{filled['id']}.{place}",
                "label": f"row {place}",
                "measurement": f"{name}-{place}",
                "population": {},
                **row,
            }
            for place, row in enumerate(filled["row"])
        ]
        # a gate without a row that decides is refused; this one stands in for the rest
        if all(row.get("optional") for row in filled["row"]):
            steady = {"id": f"{filled['id']}.steady", "label": "steady", "population": {}}
            filled["row"].append({**steady, "measurement": f"{name}-steady"})
        listed.append(filled)
    return parse_targets(
        {
            "schema_version": 1,
            "release": {"models": ["any"]},
            "defaults": defaults,
            "gate": listed,
        }
    )


def measured(
    name: str = "speed-0", values: Sequence[float] | None = None, **more: Any
) -> Measurement:
    """Five processes of ten equal samples, of SETTING; `more` overrides any field."""
    samples = [0.5] * 10 if values is None else list(values)
    fields: dict[str, Any] = {
        "id": name,
        "unit": "s",
        "evidence": "emulated",
        "population": {"files": 100, "dimension": 1024, "operations": 100_000},
        "commit": SETTING.commit,
        "content_digest": SETTING.content_digest,
        "config_digest": SETTING.config_digest,
        "machine": SETTING.machine,
        "started": ENDED_S - 20,
        "ended": ENDED_S - 10,
        "processes": [Process(values=samples, instruments=OFF) for _ in range(5)],
    }
    return Measurement(**{**fields, **more})


def bits(name: str, *, differing: float = 0.0, **more: Any) -> Measurement:
    """A measurement of quality.bits of the real targets."""
    processes = [Process(values=[0.0, differing], instruments=OFF)]
    return measured(name, unit="count", processes=processes, **more)


def clean_bits() -> list[Measurement]:
    """All that quality.bits wants."""
    return [
        bits("quality.bits-recorded", evidence="recorded"),
        bits("quality.bits-emulated"),
        bits("quality.bits-hostile", evidence="synthetic"),
    ]


def manifest_of(run: Path, **more: Any) -> dict[str, Any]:
    """A manifest that vouches for the samples now in `run`."""
    return {
        "schema_version": 1,
        "id": run.name,
        "profile": SETTING.profile,
        "strict": False,
        "command": ["harness", "gate"],
        "commit": SETTING.commit,
        "content_digest": SETTING.content_digest,
        "dirty": False,
        "config_digest": SETTING.config_digest,
        "machine": {"id": SETTING.machine},
        "absent": {},
        "started": "2027-01-15T07:59:00+00:00",
        "ended": "2027-01-15T08:00:00+00:00",
        "ended_s": ENDED_S,
        "samples": seal_samples(run),
        "sealed": seal_files(run, SEALED),
        **more,
    }


def write_run(
    run: Path,
    measurements: Sequence[Measurement] | None = None,
    *,
    waivers: Sequence[Mapping[str, Any]] = (),
    **manifest: Any,
) -> Path:
    """A run of the real targets, judged; by default quality.bits passes and the rest is NOT RUN."""
    run.mkdir(parents=True, exist_ok=True)
    for one in clean_bits() if measurements is None else measurements:
        write_measurement(run, one)
    write_json(run / "targets.json", load_targets().document)
    write_json(run / "waivers.json", {"waivers": [dict(one) for one in waivers]})
    write_json(run / "manifest.json", manifest_of(run, **manifest))
    judge_again(run)
    return run


def judge_again(run: Path) -> dict[str, Any]:
    """Write the verdicts that follow from the files as they are."""
    verdicts, _ = verdicts_of_run(run)
    write_verdicts(run, verdicts)
    return verdicts


def gate_of(verdicts: Mapping[str, Any], gate: str) -> Any:
    """One gate of verdicts.json."""
    return next(one for one in verdicts["gates"] if one["id"] == gate)
