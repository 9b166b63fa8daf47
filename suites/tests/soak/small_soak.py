"""Soaks that are small enough for a test: few keys, few operations, the same code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.soak.facts import Facts, begin_soak
from harness.soak.space import Space
from harness.soak.values import Values
from harness.subjects.reference import effective_config

SMALL = Space(documents=2, wide_documents=1, loose_keys=6)
SEED = 11


def values_of(seed: int = SEED) -> Values:
    return Values.from_folder(None, seed)


def begin(folder: Path, **facts: Any) -> Facts:
    settings, digest = effective_config(None)
    wanted: dict[str, Any] = {
        "tier": "simulated",
        "seed": SEED,
        "hours": 0.1,
        "settings": settings,
        "config_digest": digest,
        "is_recorded": False,
        "command": ["a test"],
        "space": asdict(SMALL),
        "sample_s": 300.0,
    }
    seed = facts.get("seed", SEED)
    return begin_soak(folder, values_of(seed), **{**wanted, **facts})
