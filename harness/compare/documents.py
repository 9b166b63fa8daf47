"""The files of a comparison, and `compare.json` as it follows from the others.

manifest.json      what was compared, by what, where, when; SHA-256 of the raw files
rounds.jsonl       raw rounds (or counts.jsonl: instruction counts)
calibration.json   the A/A rounds that the verdicts rely on
compare.json       what follows; harness/compare/compare.schema.json
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from harness.compare.calibrate import Rate, Standing
from harness.compare.calibrations import Calibration, calibration_of
from harness.compare.decide import RULE, Decision, Look, Rule, Verdict, decide
from harness.compare.rawfile import log_ratios, read_lines, read_rounds
from harness.compare.rounds import Round
from harness.compare.verdicts import Outcome, judge_benchmark, judge_suite
from harness.errors import EvidenceError
from harness.evidence import read_json
from harness.verify import differences

__all__ = [
    "RAW",
    "check_document",
    "compute_document",
    "document_of",
    "is_compare",
    "seal",
    "verify_compare",
]

VERSION = 1
RAW = ("rounds.jsonl", "counts.jsonl", "calibration.json")
_SCHEMA = Path(__file__).with_name("compare.schema.json")
_RUN = ("id", "tier", "command", "started", "ended", "seed", "is_complete", "is_aa", "strict")


def is_compare(folder: Path) -> bool:
    """Is this the folder of a comparison, and not of a gate run?"""
    return (folder / "compare.json").exists()


def seal(folder: Path) -> dict[str, str]:
    """SHA-256 of each raw file, by name."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in RAW
        if (folder / name).exists()
    }


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def check_document(document: Any) -> str:
    """Where and how it breaks harness/compare/compare.schema.json; "" if it does not."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(document))
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"


def document_of(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Compute compare.json from the other files, trusting none of them.

    Returns
    -------
    document, faults
        The faults say which raw file is missing or was changed; then nothing is comparable.

    Raises
    ------
    EvidenceError
        manifest.json cannot be read at all.
    """
    manifest = read_json(folder / "manifest.json")
    raw, found = manifest.get("raw"), seal(folder)
    sealed: dict[str, str] = raw if isinstance(raw, dict) else {}
    faults = [
        f"{name}: {'missing' if name not in found else 'changed after the comparison'}"
        for name in sorted(sealed)
        if found.get(name) != sealed[name]
    ]
    faults += [f"{name} is not in the manifest" for name in sorted(found.keys() - sealed.keys())]
    try:
        rule = Rule(**{**manifest["rule"], "looks": tuple(manifest["rule"]["looks"])})
        if rule != RULE:
            faults.append(
                "manifest.json: not the rule of this checkout (harness/compare/decide.py)"
            )
        calibration = calibration_of(read_json(folder / "calibration.json"))
        rounds = read_rounds(folder / "rounds.jsonl") if manifest["tier"] == "time" else []
        counts = read_lines(folder / "counts.jsonl") if manifest["tier"] != "time" else []
        document = compute_document(manifest, rounds, counts, calibration)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvidenceError(f"manifest.json or calibration.json is damaged: {error!r}") from error
    return document, faults


def compute_document(
    manifest: Mapping[str, Any],
    rounds: Sequence[Round],
    counts: Sequence[Mapping[str, Any]],
    calibration: Calibration,
) -> dict[str, Any]:
    """The content of compare.json; a function of its arguments only."""
    outcomes = []
    for name in sorted({*manifest["benchmarks"], *manifest["incomparable"]}):
        reason = manifest["incomparable"].get(name, "") or _other_machine(manifest)
        if manifest["tier"] == "time":
            outcomes.append(_by_time(name, rounds, calibration, manifest, reason))
        else:
            outcomes.append(_by_count(name, counts, manifest, reason))
    suite = judge_suite(outcomes, strict=manifest["strict"])
    times = _times(manifest, rounds)
    return {
        "schema_version": VERSION,
        "run": {name: manifest[name] for name in _RUN},
        "base": manifest["base"],
        "head": manifest["head"],
        "machine": manifest["machine"]["id"],
        "calibration": _age(calibration),
        "decision": {
            "verdict": suite.verdict,
            "exit_code": suite.exit_code,
            "reasons": list(suite.reasons),
        },
        "benchmarks": [
            _as_json(one, suite.p_holm.get(one.name), times.get(one.name, (None, None)))
            for one in outcomes
        ],
    }


def _age(calibration: Calibration) -> dict[str, Any]:
    """Comparisons made before the oldest round was noted do not have it."""
    known = {"newest": calibration.newest, "machine": calibration.machine}
    return known if calibration.oldest is None else {**known, "oldest": calibration.oldest}


def _other_machine(manifest: Mapping[str, Any]) -> str:
    before, after = manifest["machine"]["id"], manifest["machine"]["id_after"]
    return "" if before == after else "the machine became another one meanwhile"


def _by_time(
    name: str,
    rounds: Sequence[Round],
    calibration: Calibration,
    manifest: Mapping[str, Any],
    reason: str,
) -> Outcome:
    runs = [[one for one in rounds if one.run == run] for run in (1, 2)]
    failed = [one.failed[name] for one in rounds if name in one.failed]
    first, second = (log_ratios(run, name) for run in runs)
    here, stand_in = calibration, manifest.get("stand_in", "")
    if calibration.machine != manifest["machine"]["id"]:  # of another machine it says nothing
        here = Calibration(machine=manifest["machine"]["id"], newest=None)
    return judge_benchmark(
        name,
        decide(first, is_over=True),
        decide(second, is_over=True) if second else None,
        None if reason or stand_in else here.standing(name),
        reason=reason or (failed[0] if failed else ""),
        stand_in=stand_in,
    )


def _by_count(
    name: str, counts: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], reason: str
) -> Outcome:
    """Counts are exact: each run decides by one ratio, and the second has to agree."""
    seen = [one for one in counts if one["name"] == name]
    failed = [str(one["failed"]) for one in seen if one.get("failed")]
    runs = {one["run"]: _exact(one["head"] / one["base"]) for one in seen if not failed}
    if not seen and not manifest["is_complete"]:
        runs[1] = Decision(verdict=Verdict.INCONCLUSIVE, look=None, rounds=0)
    return judge_benchmark(
        name,
        runs.get(1),
        runs.get(2),
        None,
        reason=reason or (failed[0] if failed else ""),
        stand_in=manifest.get("stand_in", ""),
    )


def _exact(ratio: float) -> Decision:
    slower, faster = ratio > 1 + RULE.margin, 1 / ratio > 1 + RULE.margin
    verdict = Verdict.NO_REGRESSION
    if slower or faster:
        verdict = Verdict.REGRESSED if slower else Verdict.IMPROVED
    value = math.log(ratio)
    look = Look(rounds=1, estimate=value, low=value, high=value, p_regressed=0.0 if slower else 1.0)
    return Decision(verdict=verdict, look=look, rounds=1)


def _times(manifest: Mapping[str, Any], rounds: Sequence[Round]) -> dict[str, tuple[float, float]]:
    """Seconds a call on both sides: median over rounds of the lower quartile."""
    found = {}
    for name, loops in manifest["loops"].items():
        of_name = [one.samples[name] for one in rounds if name in one.samples]
        if of_name:
            quartiles = np.quantile(np.array(of_name, dtype=np.float64), 0.25, axis=2)
            base, head = np.median(quartiles, axis=0) * 1e-9 / loops
            found[name] = (float(base), float(head))
    return found


def _as_json(
    one: Outcome, p_holm: float | None, times: tuple[float | None, float | None]
) -> dict[str, Any]:
    return {
        "id": one.name,
        "verdict": str(one.verdict),
        "decides": one.decides,
        "reason": one.reason,
        "base_s": times[0],
        "head_s": times[1],
        "first": _decision(one.first),
        "second": _decision(one.second),
        "p": one.p,
        "p_holm": p_holm,
        "calibration": _standing(one.standing),
    }


def _decision(one: Decision | None) -> dict[str, Any] | None:
    """With ratios instead of logarithms; an infinite bound is null."""
    if one is None:
        return None
    look = one.look
    return {
        "verdict": str(one.verdict),
        "rounds": one.rounds,
        "look": None if look is None else look.rounds,
        "ratio": None if look is None else math.exp(look.estimate),
        "low": None if look is None or math.isinf(look.low) else math.exp(look.low),
        "high": None if look is None or math.isinf(look.high) else math.exp(look.high),
        "p": None if look is None else look.p_regressed,
        "smallest_effect": one.smallest_effect,
    }


def _standing(one: Standing | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "state": one.state,
        "reason": one.reason,
        "rounds": one.rounds,
        "false_regressed": _rate(one.false_regressed),
        "found": _rate(one.found),
        "real": _rate(one.real),
        "autocorrelation": one.autocorrelation,
    }


def _rate(one: Rate) -> dict[str, Any]:
    return {"count": one.count, "of": one.of, "low": one.low, "high": one.high}


def verify_compare(folder: Path) -> list[str]:
    """Every difference between what a comparison claims and what its raw rounds give.

    Raises
    ------
    EvidenceError
        Files without which nothing can be recomputed are missing or damaged.
    """
    computed, faults = document_of(folder)
    claimed = read_json(folder / "compare.json")
    breach = check_document(claimed)
    if breach:
        faults.append(f"compare.json breaks its schema: {breach}")
    return faults + differences("", claimed, json.loads(json.dumps(computed)))
