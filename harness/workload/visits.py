"""Assembling a trace visit by visit: pace inside a visit, think time between visits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from harness.workload.trace import ACCESSES_MAX, CHUNK_INTERVAL_S, Operation, Parameter, Trace

__all__ = ["VisitRecorder", "read_all", "save_document"]

# Mean pause between two visits of a person at work. Assumption; a replay shortens it, so it sets
# only the order of magnitude of the trace's time axis.
THINK_S_MEAN = 20.0
# A save changes 1 to 3 of a document's chunks (SPEC section 4; section 2, `update.latency`).
CHUNKS_CHANGED_MIN, CHUNKS_CHANGED_MAX = 1, 3

Step = tuple[int, int, Operation]


def read_all(document: int, chunks: int) -> list[Step]:
    """A whole document read in order."""
    return [(document, chunk, Operation.READ) for chunk in range(chunks)]


def save_document(rng: np.random.Generator, document: int, chunks: int) -> list[Step]:
    """One save: all chunks are read to be compared, then the 1 to 3 that differ are written.

    Those that differ are neighbours: an edit is one place in the text.
    """
    changed = min(chunks, int(rng.integers(CHUNKS_CHANGED_MIN, CHUNKS_CHANGED_MAX + 1)))
    first = int(rng.integers(chunks - changed + 1))
    writes = [(document, first + place, Operation.WRITE) for place in range(changed)]
    return [*read_all(document, chunks), *writes]


class VisitRecorder:
    """Collects the accesses of one trace; owned by one generator, not shared."""

    def __init__(self, rng: np.random.Generator, *, think_s_mean: float = THINK_S_MEAN) -> None:
        self._rng = rng
        self._think_s_mean = think_s_mean
        self._clock_s = 0.0
        self._visits = 0
        self._times: list[float] = []
        self._steps: list[Step] = []
        self._visit: list[int] = []

    def __len__(self) -> int:
        return len(self._steps)

    def visit(self, steps: Iterable[Step]) -> None:
        """Append one visit after a pause drawn from an exponential distribution.

        Raises
        ------
        ValueError
            The trace would have more than `ACCESSES_MAX` accesses.
        """
        self._clock_s += float(self._rng.exponential(self._think_s_mean))
        for step in steps:
            if len(self._steps) == ACCESSES_MAX:
                raise ValueError(f"more than {ACCESSES_MAX} accesses in one trace")
            self._clock_s += CHUNK_INTERVAL_S
            self._times.append(self._clock_s)
            self._steps.append(step)
            self._visit.append(self._visits)
        self._visits += 1

    def finish(
        self,
        *,
        name: str,
        seed: int,
        documents: int,
        chunks_per_document: int,
        row_bytes: int,
        parameters: Mapping[str, Parameter],
        source: str = "",
    ) -> Trace:
        """The trace of all visits so far; the recorder stays usable."""
        columns = np.array(self._steps, np.int64).reshape(-1, 3)
        return Trace(
            name=name,
            seed=seed,
            documents=documents,
            chunks_per_document=chunks_per_document,
            row_bytes=row_bytes,
            parameters=parameters,
            source=source,
            time_s=np.array(self._times, np.float64),
            document=columns[:, 0].astype(np.int32),
            chunk=columns[:, 1].astype(np.int32),
            operation=columns[:, 2].astype(np.uint8),
            visit=np.array(self._visit, np.int32),
        )
