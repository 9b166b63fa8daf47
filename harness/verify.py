"""Recompute a run's verdicts from its raw samples and compare them with what it claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.evidence import check_verdicts, read_json, verdicts_of_run
from harness.pages import page_faults
from harness.soak.collect import verify_collected
from harness.targets import load_targets

__all__ = ["differences", "verify_run"]


def verify_run(run: Path) -> list[str]:
    """Every difference between a run's claims and its evidence; none means that it stands.

    Raises
    ------
    EvidenceError
        Files without which nothing can be recomputed are missing or damaged.
    """
    computed, faults = verdicts_of_run(run)
    claimed = read_json(run / "verdicts.json")
    breach = check_verdicts(claimed)
    if breach:
        faults.append(f"verdicts.json breaks its schema: {breach}")
    faults += differences("", claimed, computed)
    if read_json(run / "targets.json") != _as_json(load_targets().document):
        faults.append("targets.json is not what this checkout promises (harness/targets.toml)")
    faults += verify_collected(run, read_json(run / "manifest.json"))
    return faults + page_faults(run)


def _as_json(value: Any) -> Any:
    """Tuples and dates do not occur in targets; mappings and lists compare as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    return value


def differences(place: str, claimed: Any, computed: Any) -> list[str]:
    """Where two JSON values differ, each place by its path from `place` on."""
    if isinstance(claimed, dict) and isinstance(computed, dict):
        found = []
        for key in sorted(claimed.keys() | computed.keys()):
            where = f"{place}.{key}" if place else str(key)
            if key not in claimed or key not in computed:
                found.append(f"{where}: {'missing' if key not in claimed else 'not in evidence'}")
            else:
                found += differences(where, claimed[key], computed[key])
        return found
    if isinstance(claimed, list) and isinstance(computed, list) and len(claimed) == len(computed):
        found = []
        for at, (one, other) in enumerate(zip(claimed, computed, strict=True)):
            name = one.get("id", at) if isinstance(one, dict) else at
            found += differences(f"{place}[{name}]", one, other)
        return found
    if claimed == computed and type(claimed) is type(computed):
        return []
    return [f"{place}: claimed {_short(claimed)}, the evidence gives {_short(computed)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
