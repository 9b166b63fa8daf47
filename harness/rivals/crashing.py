"""In a process of its own: kill a subject's writers, then turn over bits of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.rivals import filling
from harness.rivals.flipping import flip_bits
from harness.rivals.killing import kill_in_mid_write

__all__ = ["sample"]


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of both, in `facts`."""
    subject, rows, seed = job["subject"], Path(job["rows"]), job["seed"]
    scratch = Path(job["scratch"])
    scratch.mkdir(parents=True)
    kills = kill_in_mid_write(subject, scratch / "killed", rows, job["kills"], seed)
    store = scratch / "flipped"
    filling.sample({**job, "action": "fill", "store": str(store)})
    flips = flip_bits(subject, store, rows, job["count"], job["flips"], seed)
    return {"values": [], "facts": {"kills": kills, "flips": flips}}
