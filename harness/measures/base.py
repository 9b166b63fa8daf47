"""What every measure is given, and the sizes of each profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fixtures.titan.recorded import RecordedSet
from harness.environment import Code
from harness.measurement import Measurement, Process
from harness.population import Population
from harness.worker import WorkerError, run_workers

__all__ = ["SIZES", "Context", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much a profile measures."""

    files: int = 100  # SPEC section 2: "100 files"
    processes: int = 5  # the same section: fresh processes, at least 5
    hot_batches: int = 1_000  # a p99 needs 1 000 samples a process
    hot_batch_gets: int = 10_000  # the same section
    disk_gets: int = 6_000
    cold_gets: int = 100  # at most one a document: the next one would not be cold
    hostile_vectors: int = 20_000
    memory_operations: int = 100_000  # the same section
    trace_reads: int = 5_000
    starts: int = 20  # the same section
    catalog_keys: int = 100_000  # the same section
    large_vectors: int = 0  # of the store for the rows at 1 000 000; 0: not measured


SIZES = {
    "ci": Sizes(),
    "nightly": Sizes(
        disk_gets=20_000, hostile_vectors=200_000, trace_reads=40_000, large_vectors=1_000_000
    ),
    "release": Sizes(
        disk_gets=20_000, hostile_vectors=1_000_000, trace_reads=100_000, large_vectors=1_000_000
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run's inputs; measures read it and change nothing.

    Attributes
    ----------
    work
        Folder for prepared data; goes when the run ends.
    populations, stores
        By name: the embedded corpora, and a store of each that nobody writes to.
    recorded
        Vectors that Titan really returned; empty where there are none.
    git
        Repository whose history is replayed, if any.
    step
        Called once for each finished worker, for the progress display.
    """

    work: Path
    profile: str
    sizes: Sizes
    settings: Mapping[str, object]
    config_digest: str
    code: Code
    machine_id: str
    seed: int
    populations: Mapping[str, Population]
    stores: Mapping[str, Path]
    recorded: Sequence[RecordedSet]
    git: Path | None
    step: Callable[[], None] = field(default=lambda: None)

    def workers(
        self, measure: str, jobs: Sequence[Mapping[str, Any]], *, at_once: int = 1
    ) -> list[Process]:
        """Fresh processes, one a job; several at once only where time is not measured."""
        return run_workers(measure, jobs, at_once=at_once, on_done=self.step, timeout_s=1_800)

    def measured(
        self,
        name: str,
        *,
        unit: str,
        evidence: str,
        population: Mapping[str, Any],
        take: Callable[[], Mapping[str, Any]],
    ) -> Measurement:
        """Run `take` and keep what it returns as fields of a measurement.

        A worker that fails is a failure of this measurement alone: its row becomes INVALID and
        says why; the others go on.
        """
        started = time.time()
        try:
            fields = dict(take())
        except WorkerError as error:
            fields = {"failure": str(error)}
        return Measurement(
            id=name,
            unit=unit,
            evidence=evidence,
            population=population,
            commit=self.code.commit,
            content_digest=self.code.content_digest,
            config_digest=self.config_digest,
            machine=self.machine_id,
            started=started,
            ended=time.time(),
            **fields,
        )
