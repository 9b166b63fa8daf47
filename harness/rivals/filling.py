"""In a process of its own: fill a subject's store, or weigh what it keeps of a recorded set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.rivals.catalogue import open_store
from harness.rivals.inputs import CHUNKS, key_of
from harness.subject import Subject, Vectors
from harness.subjects.reference import ReferenceSubject

__all__ = ["fill", "sample", "settle"]

_BATCH = 550  # of a bulk load
_HALF = 700  # vectors, at least, on either side of the weighing


def fill(subject: Subject, keys: Sequence[str], rows: Vectors) -> None:
    """Load as each is loaded best: ours by documents, which are its unit, rivals in bulk."""
    is_ours = isinstance(subject, ReferenceSubject)
    size = CHUNKS if is_ours else _BATCH
    for first in range(0, len(keys), size):
        part = keys[first : first + size], np.asarray(rows[first : first + size])
        if isinstance(subject, ReferenceSubject):
            subject.put_document(f"document {first // CHUNKS}", *part)
        else:
            subject.put_many(*part)


def settle(subject: Subject) -> None:
    """What a subject wants done after loading: indices, compaction."""
    if isinstance(subject, ReferenceSubject):
        subject.maintain()
    elif hasattr(subject, "settle"):
        subject.settle()


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fill a store (`action` "fill"), or weigh one (`action` "weigh"): bytes for a vector more."""
    rows = np.load(job["rows"], mmap_mode="r")
    metrics: dict[str, float] = {}
    subject = open_store(job["subject"], Path(job["store"]))
    try:
        if job["action"] == "fill":
            keys = [key_of(number) for number in range(job["count"])]
            fill(subject, keys, rows[: job["count"]])
            settle(subject)
            values = [float(subject.stored_bytes())]
        else:
            sized = job["sized"] or len(rows)
            values = [_weigh(subject, np.asarray(rows[:sized]), min(_HALF, 4 * sized))]
            metrics = {f"bytes_{Path(job['rows']).stem}": values[0]}
    finally:
        subject.close()
    return {"values": values, "facts": {"metrics": metrics}}


def _weigh(subject: Subject, rows: Vectors, half: int) -> float:
    """Bytes of the second half divided by its vectors: what is there once is in the first.

    A recorded set is taken as often as it takes, under other keys; no subject looks for equal
    vectors. What comes back is compared.
    """
    copies = -(-half // len(rows))
    sizes = []
    for turn in range(2):
        for copy in range(turn * copies, (turn + 1) * copies):
            keys = [key_of(copy * len(rows) + place) for place in range(len(rows))]
            fill(subject, keys, rows)
        settle(subject)
        sizes.append(subject.stored_bytes())
    keys = [key_of(place) for place in range(len(rows))]
    seen = subject.get_many(keys)
    if not np.array_equal(seen.view(np.uint32), rows.view(np.uint32)):
        raise AssertionError("a vector came back with other bits")
    return (sizes[1] - sizes[0]) / (copies * len(rows))
