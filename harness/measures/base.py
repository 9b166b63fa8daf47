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
from harness.worker import Task, WorkerError, run_each, run_workers

__all__ = ["SIZES", "Context", "Plan", "Sizes"]


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
    memory_corpora: tuple[str, ...] = ("files-1024", "files-1536")  # the same section: both
    memory_beside: bool = True  # a rival, and bytes by module: what no verdict needs
    trace_reads: int = 5_000
    trace_pace: float = 1.0  # of the trace's own; 2 is half as fast
    starts: int = 20  # the same section
    catalog_keys: int = 100_000  # the same section
    large_vectors: int = 0  # of the store for the rows at 1 000 000; 0: not measured
    search_queries: int = 1_000  # the same section
    search_sizes: tuple[int, ...] = (2_200, 10_000)  # the same section
    search_vectors_large: int = 0  # of the rows at 100 000; 0: not measured
    query_samples: int = 1_000  # a process, as for every p99
    lance_processes: int = 0  # that path decides nothing: it has a setting of its own
    lance_samples: int = 200
    throughput_s: float = 4.0  # a process; SPEC section 2: in ci 20 s in all, else 60 s each
    knee_step_s: float = 0.7
    updates: int = 1_000  # a process, as for every p99
    client_calls: int = 1_000  # a process, as for every p99
    rollback_saves: int = 60
    killed_documents: int = 5  # at least 3; of the store whose rollback is killed again and again
    killed_saves: int = 12
    kill_moments: int = 20


_LONGER: Mapping[str, Any] = {
    "disk_gets": 20_000,
    "large_vectors": 1_000_000,
    "search_vectors_large": 100_000,
    "lance_processes": 5,
    "lance_samples": 1_000,
    "throughput_s": 60.0,
    "knee_step_s": 3.0,
    "client_calls": 5_000,
    "updates": 2_000,
    "rollback_saves": 200,
    "killed_documents": 20,
    "killed_saves": 60,
    "kill_moments": 100,
}
SIZES = {
    "ci": Sizes(),
    "nightly": Sizes(hostile_vectors=200_000, trace_reads=40_000, **_LONGER),
    "release": Sizes(hostile_vectors=1_000_000, trace_reads=100_000, **_LONGER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One measurement in which time plays no part: its workers may run beside those of others.

    Attributes
    ----------
    tasks
        Workers to run; they share nothing.
    take
        Makes the measurement's fields of the workers' answers, in order of the tasks.
    """

    name: str
    unit: str
    evidence: str
    population: Mapping[str, Any]
    tasks: Sequence[Task]
    take: Callable[[Sequence[Process]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run's inputs; measures read it and change nothing.

    Attributes
    ----------
    work
        Folder for prepared data; goes when the run ends.
    populations, stores
        By name: the embedded corpora, and a store of each that nobody writes to.
    edits
        By the same names: folders of edits (`workload.edits.Session`).
    prepared
        Further populations, embedded without the HTTP layer.
    updated
        By serving: the populations whose updates are timed.
    recorded
        Vectors that Titan really returned; empty where there are none.
    recorded_folder
        Where they are, and the bodies that they came in; None where there are none.
    recorded_tier
        "live" if this machine recorded them, by `harness record`; else "recorded".
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
    edits: Mapping[str, Path] = field(default_factory=dict)
    prepared: Mapping[str, Population] = field(default_factory=dict)
    updated: Mapping[str, Population] = field(default_factory=dict)
    recorded_folder: Path | None = None
    recorded_tier: str = "recorded"
    step: Callable[[], None] = field(default=lambda: None)

    def of_size(self, vectors: int) -> Population:
        """The population of that many vectors; raises KeyError if none is prepared."""
        for population in (*self.populations.values(), *self.prepared.values()):
            if len(population.keys) == vectors and population.name in self.edits:
                return population
        raise KeyError(f"no population of {vectors} vectors")

    def workers(
        self, measure: str, jobs: Sequence[Mapping[str, Any]], *, at_once: int = 1
    ) -> list[Process]:
        """Fresh processes, one a job; several at once only where time is not measured."""
        return run_workers(measure, jobs, at_once=at_once, on_done=self.step, timeout_s=1_800)

    def together(self, plans: Sequence[Plan], *, at_once: int = 2) -> list[Measurement]:
        """Run the workers of all plans, `at_once` of them at a time; one measurement a plan.

        A worker that fails is a failure of its own plan alone.
        """
        tasks = [task for plan in plans for task in plan.tasks]
        started = time.time()
        answers = run_each(tasks, at_once=at_once, on_done=self.step, timeout_s=1_800)
        ended = time.time()
        measurements = []
        for plan in plans:
            own, answers = answers[: len(plan.tasks)], answers[len(plan.tasks) :]
            try:
                failed = [answer for answer in own if isinstance(answer, WorkerError)]
                if failed:
                    raise failed[0]
                fields = dict(plan.take([one for one in own if isinstance(one, Process)]))
            except WorkerError as error:
                fields = {"failure": str(error)}
            measurements.append(
                self._measurement(
                    plan.name,
                    unit=plan.unit,
                    evidence=plan.evidence,
                    population=plan.population,
                    times=(started, ended),
                    fields=fields,
                )
            )
        return measurements

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
        return self._measurement(
            name,
            unit=unit,
            evidence=evidence,
            population=population,
            times=(started, time.time()),
            fields=fields,
        )

    def _measurement(
        self,
        name: str,
        *,
        unit: str,
        evidence: str,
        population: Mapping[str, Any],
        times: tuple[float, float],
        fields: Mapping[str, Any],
    ) -> Measurement:
        whose = {
            "commit": self.code.commit,
            "content_digest": self.code.content_digest,
            "config_digest": self.config_digest,
            "machine": self.machine_id,
            "started": times[0],
            "ended": times[1],
        }
        known = {"id": name, "unit": unit, "evidence": evidence, "population": population}
        return Measurement(**{**known, **whose, **fields})
