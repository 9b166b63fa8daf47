"""What child processes of these tests do; importable, so that spawned workers find it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from titanstore.migration import SourceOptions
from titanstore.scale import Job, LocalRunner, Location, Part, SharedTable, parts_of, run_job
from titanstore.scale import job as jobs
from titanstore.scale.ledger import Ledger
from titanstore.scale.work import write_part

DIMENSION = 32
PARTS, PART_ROWS, OVERLAP = 4, 50, 5
ROWS = PARTS * PART_ROWS - (PARTS - 1) * OVERLAP


def vectors_of(count: int, seed: int = 7) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)


def write_inputs(folder: Path) -> Path:
    """Files of vectors that overlap: the last keys of one are the first of the next."""
    folder.mkdir()
    rows = vectors_of(ROWS)
    for part in range(PARTS):
        start = part * (PART_ROWS - OVERLAP)
        keys = np.array([f"key {number}" for number in range(start, start + PART_ROWS)])
        np.savez(folder / f"{part}.npz", keys=keys, vectors=rows[start : start + PART_ROWS])
    return folder


def job_of(place: Location, inputs: Path) -> Job:
    return Job(table=place, parts=parts_of([inputs]), dimension=DIMENSION, vectors=SourceOptions())


def place_of(uri: str, endpoint: str) -> Location:
    return Location(uri=uri, endpoint=endpoint or None)


def die_once(mark: str, job: Job, name: str, part: Part) -> dict[str, Any]:
    """`write_part`, but the worker that first comes to part 1 is killed when it has written it."""
    if part.number == 1 and not Path(mark).exists():

        def killed(*_: Any) -> None:
            Path(mark).write_text("killed")
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(Ledger, "note", killed)  # noqa: B010  # a method: mypy would have none of it
    return write_part(job, name, part)


def die_always(job: Job, name: str, part: Part) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def run_and_die(uri: str, endpoint: str, inputs: str, moment: str) -> None:
    """Run the job, and be killed at a moment: before so many notes, at the commit, or after it."""
    note, seen = Ledger.note, [0]

    def counted(self: Ledger, part: int, told: Any) -> None:
        if moment == f"note {seen[0]}":
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1
        note(self, part, told)

    def killed(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    changed = {"commit": (jobs, "commit"), "end": (Ledger, "end")}
    setattr(Ledger, "note", counted)  # noqa: B010
    if moment in changed:
        setattr(*changed[moment], killed)
    run_job(job_of(place_of(uri, endpoint), Path(inputs)), LocalRunner())


def put_many_times(uri: str, endpoint: str, writer: str, times: str) -> None:
    """Commit again and again: a key of its own, and one that the other writer has too."""
    rows = vectors_of(100)
    table = SharedTable.open(place_of(uri, endpoint))
    for number in range(int(times)):
        own = 50 * int(writer) + number
        added = table.put_many([f"own {own}", f"common {number}"], rows[[own, number]])
        print(added, flush=True)  # noqa: T201


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
