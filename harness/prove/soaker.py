"""A worker that lives through simulated hours on a real store, and can leak meanwhile.

`python -m harness.prove.soaker` reads a job as JSON from its standard input and writes segments of
evidence. The store, its answers, the process and its memory are real; only the clock is injected:
each step is 10 s of it. What leaks is kept by this process and nobody else, as a leak is.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fixtures.vectors import GENERATORS
from harness.evidence import write_json
from harness.probes.memory import give_back_free_memory, page_types
from harness.soak.decide import SAMPLE_S
from harness.soak.evidence import Observation, SegmentWriter
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject
from harness.worker import end_with

__all__ = ["run"]

_STEP_S = 10.0
_DOCUMENTS, _CHUNKS, _DIMENSION = 40, 22, 1024
_GETS_A_STEP = 4
_SAVE_EVERY, _SEARCH_EVERY, _MAINTAIN_EVERY = 30, 15, 720
_PIECE = 1_024  # bytes; of this size malloc takes them from the heap, as most buffers
_SETTLING_STEPS = 4_000  # before the clock starts: tiers fill, arenas and caches are made


class Leak:
    """Memory that grows with the clock and is never given back."""

    def __init__(self, folder: Path, *, heap_bytes_an_hour: float, mapped_bytes_an_hour: float):
        self._heap_rate = heap_bytes_an_hour / 3600
        self._mapped_rate = mapped_bytes_an_hour / 3600
        self._pieces: list[bytearray] = []
        self._mapped = mmap.PAGESIZE
        self._file = (folder / "grows").open("w+b")
        self._file.truncate(self._mapped)
        self._map = mmap.mmap(self._file.fileno(), self._mapped)

    def reach(self, time_s: float) -> None:
        """Hold as much as is due at this moment."""
        due = int(time_s * self._heap_rate)
        while len(self._pieces) * _PIECE + _PIECE <= due:
            self._pieces.append(bytearray(b"\x5a" * _PIECE))
        pages = int(time_s * self._mapped_rate) // mmap.PAGESIZE * mmap.PAGESIZE
        if pages > self._mapped:
            self._grow(pages)

    def kept(self) -> dict[str, int]:
        """Bytes that this process holds at this moment, counted by what it holds."""
        return {
            "buffers": sum(map(len, self._pieces)),
            "mapped pages": len(self._map) - mmap.PAGESIZE,
        }

    def close(self) -> None:
        """Give back all of it; idempotent. A leak would not, so a worker does not call it."""
        self._pieces.clear()
        self._map.close()
        self._file.close()

    def _grow(self, length: int) -> None:
        """Map more of the file and read it: clean pages of the kernel's, in one mapping."""
        self._map.resize(length)
        for page in range(self._mapped, length, mmap.PAGESIZE):
            _ = self._map[page]
        self._mapped = length


class _Life:
    """The operations of one step, each checked against a model in memory."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pool = GENERATORS["bfloat16_divided"](self.rng, _DOCUMENTS * _CHUNKS, _DIMENSION)
        self.rows = np.arange(len(self.pool)).reshape(_DOCUMENTS, _CHUNKS)
        self.subject = ReferenceSubject(folder / "store", settings)
        self.step = 0
        for document in range(_DOCUMENTS):
            self._save(document)

    def _content(self, document: int) -> list[tuple[str, Vectors]]:
        return [
            (f"document {document}, chunk {chunk}", self.pool[row])
            for chunk, row in enumerate(self.rows[document].tolist())
        ]

    def _save(self, document: int) -> None:
        self.subject.update_document(f"document {document}", self._content(document))

    def go_on(self) -> tuple[int, int]:
        """One step; returns operations verified and answers that were wrong."""
        self.step += 1
        wrong = 0
        for document, chunk in self.rng.integers(0, (_DOCUMENTS, _CHUNKS), (_GETS_A_STEP, 2)):
            seen = self.subject.get(f"document {document}, chunk {chunk}")
            wrong += seen.tobytes() != self.pool[self.rows[document, chunk]].tobytes()
        if self.step % _SAVE_EVERY == 0:
            document, chunk, row = self.rng.integers(0, (_DOCUMENTS, _CHUNKS, len(self.pool)))
            self.rows[document, chunk] = row
            self._save(int(document))
        if self.step % _SEARCH_EVERY == 0:
            document, chunk = self.rng.integers(0, (_DOCUMENTS, _CHUNKS))
            (nearest, *_) = self.subject.search(self.pool[self.rows[document, chunk]], 10)
            wrong += not nearest[1] < 1e-6
        if self.step % _MAINTAIN_EVERY == 0:
            self.subject.maintain()
        return _GETS_A_STEP, wrong


def _resources(process: psutil.Process, subject: ReferenceSubject) -> dict[str, float]:
    subject.wait_for_prefetch()
    gc.collect()
    give_back_free_memory()
    sizes = page_types()
    return {
        **{name: float(sizes[name]) for name in ("anonymous", "shared memory", "clean file pages")},
        "descriptors": float(process.num_fds()),
        "threads": float(process.num_threads()),
    }


def run(job: Mapping[str, Any]) -> None:
    """Live through `hours` simulated hours and write the evidence; raises whatever goes wrong."""
    folder = Path(job["folder"])
    life = _Life(folder, job["settings"], job["seed"])
    leak = Leak(
        folder,
        heap_bytes_an_hour=job["heap_bytes_an_hour"],
        mapped_bytes_an_hour=job["mapped_bytes_an_hour"],
    )
    process = psutil.Process()
    # what is there by now stays: looked through again before each of 400 looks it took 14 s
    gc.collect()
    gc.freeze()
    for step in range(_SETTLING_STEPS if job["hours"] else 0):
        life.go_on()
        if step % _SAVE_EVERY == 0:
            _resources(process, life.subject)  # the observer too has caches to fill
    chain = {name: job[name] for name in ("content_digest", "machine")}
    with SegmentWriter(folder / "soak", tier=job["tier"], **chain) as segment:
        for step in range(1, round(job["hours"] * 3600 / _STEP_S) + 1):
            time_s = step * _STEP_S
            operations, wrong = life.go_on()
            leak.reach(time_s)
            is_due = time_s % SAMPLE_S == 0
            segment.append(
                Observation(
                    time_s=time_s,
                    operations=operations,
                    mismatches=wrong,
                    resources=_resources(process, life.subject) if is_due else {},
                )
            )
    write_json(folder / "kept.json", leak.kept())
    life.subject.close()


def _main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    end_with(job["parent"])
    run(job)
    os.sync()


if __name__ == "__main__":
    _main()
