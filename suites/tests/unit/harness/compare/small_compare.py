"""Folders of comparisons with rounds made by chance, for tests that run nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.calibrate import ROUNDS
from harness.compare.calibrations import Calibration
from harness.compare.decide import RULE, Verdict, decide
from harness.compare.documents import compute_document, document_of, seal
from harness.compare.rawfile import append_line, as_line, log_ratios
from harness.compare.rounds import Round
from harness.evidence import write_json

MACHINE = "0123abcd"
LOOPS = 3


def made_round(
    name_and_shift: Mapping[str, float], rng: np.random.Generator, run: int, number: int
) -> Round:
    """One round in which HEAD is slower by the shifts; 1 % of noise."""
    samples = {}
    for name, shift in name_and_shift.items():
        base = rng.normal(6e6, 6e4, 12)
        head = rng.normal(6e6, 6e4, 12) * (1 + shift)
        samples[name] = ([int(one) for one in base], [int(one) for one in head])
    return Round(
        run=run,
        number=number,
        first="base",
        order=list(name_and_shift),
        hash_seed=1,
        started=1_000.0 + number,
        seconds=1.0,
        load=0.1,
        steal_s=0.0,
        samples=samples,
    )


def made_rounds(
    shifts: Mapping[str, float], second: Mapping[str, float] | None = None, seed: int = 1
) -> list[Round]:
    """Rounds as a real comparison makes them; `second` holds other shifts for the second run."""
    rng = np.random.default_rng(seed)
    found: list[Round] = []
    for run, in_run in ((1, shifts), (2, second or shifts)):
        names = [
            name
            for name in shifts
            if run == 1
            or decide(log_ratios([one for one in found if one.run == 1], name)).verdict
            is Verdict.REGRESSED
        ]
        number = 0
        while names and number < RULE.looks[-1]:
            number += 1
            found.append(made_round({name: in_run[name] for name in names}, rng, run, number))
            of_run = [one for one in found if one.run == run]
            names = [name for name in names if decide(log_ratios(of_run, name)).verdict is None]
    return found


def calibration(names: Sequence[str], rounds: int = ROUNDS, machine: str = MACHINE) -> Calibration:
    rng = np.random.default_rng(4)
    return Calibration(
        machine=machine,
        newest=1_000.0,
        rounds={name: list(rng.normal(0, 0.01, rounds)) for name in names},
        real=dict.fromkeys(names, (0, 3)),
    )


def manifest(names: Sequence[str], **more: Any) -> dict[str, Any]:
    side = {
        "label": "main",
        "commit": "a" * 40,
        "content_digest": "b" * 32,
        "dirty": False,
        "environment": "the running interpreter",
    }
    described = {}
    for name in names:
        benchmark = name.partition("(")[0]
        described[benchmark] = {
            "name": benchmark,
            "version": "1",
            "params": [["1", "3"]] if "(" in name else [],
            "param_names": ["n"] if "(" in name else [],
            "type": "time",
            "unit": "seconds",
            "code": "",
        }
    return {
        "schema_version": 1,
        "id": "compare-x",
        "tier": "time",
        "command": ["harness", "compare", "main", "topic"],
        "started": "2026-11-25T10:00:00+00:00",
        "ended": "2026-11-25T10:05:00+00:00",
        "seed": 1,
        "strict": False,
        "is_aa": False,
        "is_complete": True,
        "rule": {"looks": [10, 16, 32, 64], "alpha": 0.01, "margin": 0.01, "tolerance": 0.05},
        "base": side,
        "head": {**side, "label": "topic", "commit": "c" * 40, "content_digest": "d" * 32},
        "machine": {"id": MACHINE, "id_after": MACHINE},
        "benchmarks": {
            name: {
                "benchmark": name.partition("(")[0],
                "place": {"1": 0, "3": 1}[name[-2]] if "(" in name else None,
                "body": "e",
            }
            for name in names
        },
        "described": described,
        "incomparable": {},
        "loops": dict.fromkeys(names, LOOPS),
        **more,
    }


def write_folder(
    folder: Path,
    shifts: Mapping[str, float],
    second: Mapping[str, float] | None = None,
    known: Calibration | None = None,
    **more: Any,
) -> Path:
    """A whole comparison with its compare.json."""
    folder.mkdir(parents=True)
    names = list(shifts)
    for one in made_rounds(shifts, second):
        append_line(folder / "rounds.jsonl", as_line(one))
    write_json(folder / "calibration.json", (known or calibration(names)).as_json())
    content = manifest(names, **more)
    write_json(folder / "manifest.json", {**content, "raw": seal(folder)})
    document, faults = document_of(folder)
    assert faults == []
    write_json(folder / "compare.json", document)
    return folder


def document(shifts: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """compare.json of such a comparison, without files."""
    names = list(shifts)
    known = more.pop("known", None) or calibration(names)
    content = manifest(names, **more)
    return compute_document(content, made_rounds(shifts), [], known)
