"""One bit of a store's files turned over: is it noticed, or is a wrong vector returned?"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.rivals.catalogue import open_store
from harness.rivals.inputs import key_of
from harness.subject import Vectors
from harness.worker import WorkerError, run_worker

__all__ = ["OUTCOMES", "flip_bits", "sample"]

_GONE = "crashed or hung"
OUTCOMES = ("noticed", "no effect", "lost without an error", "wrong vector", _GONE)
_TIMEOUT_S = 60.0


def flip_bits(
    subject: str, store: Path, rows: Path, count: int, flips: int, seed: int
) -> dict[str, int]:
    """Outcomes of single flips, each in a copy of a closed store with `count` vectors.

    The places are drawn from all bytes of all files, the same draw for every subject. A process
    that a flip kills is one outcome; another one goes on with the rest.
    """
    job = {"subject": subject, "store": str(store), "rows": str(rows), "count": count}
    found: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    log = store.with_name(f"{store.name}-flips")
    done = 0
    while done < flips:
        log.write_text("")
        work = {**job, "log": str(log), "from": done, "flips": flips, "seed": seed}
        try:
            run_worker("harness.rivals.flipping", work, timeout_s=_TIMEOUT_S)
            is_gone = False
        except WorkerError as error:
            is_gone = "killed by signal" in str(error)
            is_late = "no answer in time" in str(error)
            if not is_gone and not is_late:
                raise
        outcomes = log.read_text().splitlines()
        for outcome in outcomes:
            found[outcome] += 1
        done += len(outcomes)
        # one that was only slow goes on where it stopped; one that came nowhere hangs
        if done < flips and (is_gone or not outcomes):
            found[_GONE] += 1
            done += 1
    return found


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a process of its own: flip after flip, a line of the log for each."""
    rows = np.asarray(np.load(job["rows"], mmap_mode="r")[: job["count"]])
    keys = [key_of(number) for number in range(job["count"])]
    store = Path(job["store"])
    with Path(job["log"]).open("a") as log:
        for turn in range(job["from"], job["flips"]):
            copy = store.with_name(f"{store.name}-{turn}")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(store, copy)
            _flip(copy, random.Random(f"{job['seed']} {turn}"))
            log.write(_outcome(job["subject"], copy, keys, rows) + "\n")
            log.flush()
            shutil.rmtree(copy, ignore_errors=True)
    return {"values": [], "facts": {}}


def _flip(folder: Path, rng: random.Random) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # the holes of a sparse file are no bytes of it
    sizes = [min(one.stat().st_size, 512 * one.stat().st_blocks) for one in files]
    place = int(rng.random() * sum(sizes))
    bit = 1 << rng.randrange(8)
    for path, size in zip(files, sizes, strict=True):
        if place < size:
            with path.open("r+b") as file:
                file.seek(place)
                byte = file.read(1)
                file.seek(place)
                file.write(bytes([byte[0] ^ bit]))
            return
        place -= size


def _outcome(subject: str, folder: Path, keys: Sequence[str], rows: Vectors) -> str:
    """The worst of what its vectors come back as, if none of them raised."""
    worst = "no effect"
    try:
        opened = open_store(subject, folder)
        try:
            for key, row in zip(keys, rows, strict=True):
                try:
                    seen = opened.get(key)
                except KeyError:
                    worst = "lost without an error" if worst == "no effect" else worst
                    continue
                bits = seen.view(np.uint32) if seen.dtype == np.float32 else None
                if bits is None or not np.array_equal(bits, row.view(np.uint32)):
                    worst = "wrong vector"
        finally:
            opened.close()
    except Exception:  # whatever a subject raises, it noticed
        return "noticed" if worst == "no effect" else worst
    return worst
