"""The process that is killed: it says what it finds in its store, then puts batch after batch.

Standard input has the job as JSON. The first line of standard output is what was found; then comes
a number after each put that returned, which is what a caller would call acknowledged.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.rivals.catalogue import open_store
from harness.subject import Subject, Vectors
from harness.worker import end_with

__all__ = ["BATCH", "batch_of", "look"]

BATCH = 5


def batch_of(life: int, number: int, rows: Vectors) -> tuple[list[str], Vectors]:
    """Keys and vectors of a batch; every life of the writer has its own keys."""
    places = [(life * 7_919 + number * BATCH + place) % len(rows) for place in range(BATCH)]
    return [f"{life:04x}-{number:06x}-{place}" for place in range(BATCH)], rows[places]


def look(subject: Subject, lives: Sequence[int], rows: Vectors) -> Counter[str]:
    """What became of the batches of earlier lives, and of one more each, which was being put.

    Counts vectors: "kept", "lost" (acknowledged and not there), "unreadable" (acknowledged, an
    error that is no KeyError), "wrong" (other bits, acknowledged or not); and batches that were
    being put and are there in part, "partial".
    """
    seen: Counter[str] = Counter()
    for life, acknowledged in enumerate(lives):
        for number in range(acknowledged + 1):
            keys, wanted = batch_of(life, number, rows)
            found = [_read(subject, key, row) for key, row in zip(keys, wanted, strict=True)]
            if number < acknowledged:
                seen.update(found)
            else:
                seen["wrong"] += found.count("wrong")
                seen["partial"] += 0 < found.count("kept") < BATCH
    return seen


def _read(subject: Subject, key: str, wanted: Vectors) -> str:
    try:
        row = subject.get(key)
    except KeyError:
        return "lost"
    except Exception:  # whatever a rival raises is an answer, and not a vector
        return "unreadable"
    same = row.shape == wanted.shape and np.array_equal(row.view(np.uint32), wanted.view(np.uint32))
    return "kept" if same else "wrong"


def _main() -> None:
    job: Mapping[str, Any] = json.loads(sys.stdin.buffer.read())
    end_with(job["parent"])
    rows = np.load(job["rows"], mmap_mode="r")
    said = sys.stdout
    try:
        subject = open_store(job["subject"], Path(job["store"]))
    except Exception as error:
        said.write(json.dumps({"unopened": f"{type(error).__name__}: {error}"[:300]}) + "\n")
        return
    said.write(json.dumps(look(subject, job["lives"], np.asarray(rows))) + "\n")
    said.flush()
    number = 0
    while job["is_writing"]:
        subject.put_many(*batch_of(len(job["lives"]), number, rows))
        number += 1
        said.write(f"{number}\n")
        said.flush()
    subject.close()


if __name__ == "__main__":
    _main()
