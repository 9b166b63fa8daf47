"""A store of N vectors: made in one process, and used in others that say what they added."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.memory.populations import synthetic_rows
from harness.probes.looks import Looks
from harness.probes.memory import counted_bytes
from harness.probes.resources import bytes_by_room
from harness.subjects.reference import LOADED_ON_USE, ReferenceSubject

__all__ = ["CHUNKS", "DIMENSION", "POOL", "sample"]

DIMENSION, CHUNKS = 1024, 20
POOL = 2_000  # distinct vectors, taken in turn under other keys
_BATCH = 2_000
_GETS, _SEARCHES, _UPDATES = 4_000, 20, 100


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Make the store, or use it: then the value is what the process added."""
    return _make(job) if job["action"] == "make" else _use(job)


def _make(job: Mapping[str, Any]) -> dict[str, Any]:
    rows = synthetic_rows(DIMENSION, POOL, job["seed"])
    settings = {**job["settings"], "durability": "power_cut_may_lose_store"}
    subject = ReferenceSubject(Path(job["store"]), settings)
    for document in range(job["documents"]):
        first = document * CHUNKS
        keys = [_key(number) for number in range(first, first + CHUNKS)]
        subject.put_document(_name(document), keys, rows[np.arange(first, first + CHUNKS) % POOL])
    done = job["documents"] * CHUNKS
    while done < job["vectors"]:
        size = min(_BATCH, job["vectors"] - done)
        numbers = np.arange(done, done + size)
        subject.put_many([_key(number) for number in numbers.tolist()], rows[numbers % POOL])
        done += size
    subject.close()
    return {"values": [float(done)], "facts": {"rooms": bytes_by_room(Path(job["store"]))}}


def _use(job: Mapping[str, Any]) -> dict[str, Any]:
    """Reads all over the store, searches by scan, and updates of the same documents at each N."""
    for name in LOADED_ON_USE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    rng = np.random.default_rng(job["seed"])
    rows = synthetic_rows(DIMENSION, CHUNKS + _UPDATES, job["seed"])
    looks = Looks("before", "after")
    gc.collect()
    looks.take("before")
    subject = ReferenceSubject(Path(job["store"]), job["settings"], create=False)
    first = job["documents"] * CHUNKS  # those of documents are being replaced
    for number in rng.integers(first, job["vectors"], size=_GETS):
        subject.get(_key(int(number)))
    for place in range(_SEARCHES):
        subject.search(rows[place])
    for turn in range(_UPDATES):
        document = turn % job["documents"]
        keys = [f"{job['seed']:08x}{turn // job['documents']:08x}{at:016x}" for at in range(CHUNKS)]
        content = [(f"{document:x}-{key}", rows[at + turn]) for at, key in enumerate(keys)]
        subject.update_document(_name(document), content)
    subject.wait_for_prefetch()
    gc.collect()
    looks.take("after")
    facts = {"vectors": job["vectors"], "tiers": subject.tiers()}
    subject.close()
    before, after = (looks.read(name, store=job["store"]) for name in ("before", "after"))
    added = counted_bytes(after.by_type) - counted_bytes(before.by_type)
    facts["by_type"] = {name: after.by_type[name] - before.by_type[name] for name in after.by_type}
    return {"values": [added], "facts": facts}


def _key(number: int) -> str:
    return f"{number:032x}"


def _name(document: int) -> str:
    return f"document {document}"
