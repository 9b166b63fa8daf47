"""A tier filled to a budget in a process of its own: what it says it holds, what the kernel says.

One process says little: the heap holds a hundred kB that belong to no tier. How much the kernel
adds for each byte that a tier states is the slope over several budgets.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.population import load_population
from harness.probes.looks import Looks
from harness.probes.memory import counted_bytes
from harness.subjects.reference import LOADED_ON_USE, ReferenceSubject

__all__ = ["HOT_BESIDE", "sample", "settings_of"]

HOT_BESIDE = 100_000  # rows must leave the hot tier for frames to come into the warm one
_VISITS_MAX = 3_000
_FULL = 0.95


def settings_of(tier: str, budget: int) -> dict[str, object]:
    """Settings with which one tier holds so many bytes, and the other hardly any."""
    if tier == "hot":
        return {"memory_bytes_max": budget, "hot_bytes_max": budget, "warm_bytes_max": 0}
    return {
        "memory_bytes_max": budget + HOT_BESIDE,
        "hot_bytes_max": HOT_BESIDE,
        "warm_bytes_max": budget,
    }


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Visit documents until the tier is full; the value is what the process added.

    A pause follows each read: what leaves the hot tier is put away when reads do not keep jumping.
    """
    for name in LOADED_ON_USE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    population = load_population(Path(job["population"]))
    rng = np.random.default_rng(job["seed"])
    looks = Looks("before", "after")
    gc.collect()
    looks.take("before")
    subject = ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
    tier, budget = job["tier"], job["budget"]
    for place in rng.integers(len(population.keys), size=_VISITS_MAX).tolist():
        subject.get(population.keys[place])
        subject.wait_for_prefetch()
        if subject.tiers()[tier] >= _FULL * budget:
            break
    gc.collect()
    looks.take("after")
    tiers = subject.tiers()
    subject.close()
    before, after = (looks.read(name, store=job["store"]) for name in ("before", "after"))
    added = counted_bytes(after.by_type) - counted_bytes(before.by_type)
    return {"values": [added], "facts": {"tiers": tiers, "tier": tier, "budget": budget}}
