"""memory.steady: what the store adds to a process after a long editing session."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.measurement import Measurement, Process, Rival
from harness.measures.base import Context
from harness.measures.replay import Replay, copy_store, fill_baseline, lay_out
from harness.population import Population, load_population
from harness.probes.allocations import bytes_by_module
from harness.probes.memory import counted_bytes, page_types
from harness.subject import DocumentSubject
from harness.subjects import open_baseline
from harness.subjects.reference import ReferenceSubject
from harness.workload.editing import EditingSession, editing_session

__all__ = ["measure", "sample"]

_AT_ONCE = 12
_BESIDE_PROCESSES = 2
_TRACED_OPERATIONS = 5_000
_PACKAGES = ("titanstore", "lmdb", "numpy", "zstandard")


def measure(context: Context) -> list[Measurement]:
    """One measurement a corpus; the plan's "current" way beside it."""
    return [_of(context, name, population) for name, population in context.populations.items()]


def _of(context: Context, name: str, population: Population) -> Measurement:
    count = context.sizes.processes
    folder = context.work / f"memory-{name}"
    operations = context.sizes.memory_operations
    traces = [_trace(context, population, folder, n, operations) for n in range(count)]
    # tracing makes allocation twenty times slower, and shows the tiers' shares soon after they fill
    short = _trace(context, population, folder, count, min(operations, _TRACED_OPERATIONS))

    def job(place: int, subject: str, *, traced: bool = False) -> dict[str, Any]:
        store = folder / f"{subject}-{place}{'-traced' if traced else ''}"
        if subject == "titanstore":
            copy_store(context.stores[name], store)
        return {
            "population": str(population.folder),
            "subject": subject,
            "control": subject == "control",
            "store": str(store),
            "settings": dict(context.settings),
            "trace": str(short if traced else traces[place]),
            "traced": traced,
        }

    def take() -> dict[str, Any]:
        judged = [job(n, subject) for n in range(count) for subject in ("titanstore", "control")]
        beside_jobs = [job(n, "current") for n in range(min(count, _BESIDE_PROCESSES))]
        # they wait for the disk most of the time, and time is not what is measured
        taken = context.workers(
            "memory",
            [*judged, *beside_jobs, job(0, "titanstore", traced=True)],
            at_once=_AT_ONCE,
        )
        processes = taken[: len(judged)]
        current, traced = taken[len(judged) : -1], taken[-1]
        controls = [process for process in processes if process.control]
        # a rival's figure is compared with the same controls
        beside = [Rival(subject="current", processes=[*current, *controls])]
        return {
            "processes": processes,
            "beside": beside,
            "context": _shown(processes, traced),
        }

    return context.measured(
        f"memory.steady-{name}",
        unit="B",
        evidence=population.evidence,
        population={**population.facts(), "operations": operations},
        take=take,
    )


def _trace(
    context: Context, population: Population, folder: Path, place: int, operations: int
) -> Path:
    session = EditingSession(
        documents=len(population.documents),
        chunks_per_document=population.chunks_per_document,
        dimension=population.dimension,
        reads=operations,
    )
    trace = editing_session(context.seed + place, session, source=population.corpus_digest)
    return lay_out(trace, folder / f"trace-{place}")


def _shown(processes: Sequence[Process], traced: Process) -> dict[str, Any]:
    def mean(control: bool) -> dict[str, float]:
        chosen = [process.facts["by_page_type"] for process in processes]
        chosen = [
            types
            for types, process in zip(chosen, processes, strict=True)
            if process.control is control
        ]
        return {name: float(np.mean([types[name] for types in chosen])) for name in chosen[0]}

    treatment = mean(control=False)
    first = next(process for process in processes if not process.control)
    return {
        "by_page_type": {"treatment": treatment, "control": mean(control=True)},
        "process_total_bytes": sum(treatment.values()),
        "tiers_bytes": first.facts["tiers"],
        "operations_done": first.facts["done"],
        "by_module": traced.facts["by_module"],
        "not_in_this_build": "searches: the session's searches read their results one by one",
    }


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: the value is the counted bytes at the end of the session."""
    population = load_population(Path(job["population"]))
    replay = Replay(Path(job["trace"]), population)
    if job["traced"]:
        tracemalloc.start(8)
    subject = _open(job, population)
    if subject is None:
        replay.run_without()
    else:
        replay.run(subject)
    if isinstance(subject, ReferenceSubject):
        subject.wait_for_prefetch()
    gc.collect()
    facts: dict[str, Any] = {"done": len(replay), "tiers": {}}
    if isinstance(subject, ReferenceSubject):
        facts["tiers"] = subject.tiers()
    if job["traced"]:
        facts["by_module"] = bytes_by_module(tracemalloc.take_snapshot(), _PACKAGES)
        tracemalloc.stop()
    types = page_types()
    facts["by_page_type"] = types
    if subject is not None:
        subject.close()
    return {"values": [counted_bytes(types)], "facts": facts}


def _open(job: Mapping[str, Any], population: Population) -> DocumentSubject | None:
    if job["control"]:
        return None
    if job["subject"] == "titanstore":
        return ReferenceSubject(Path(job["store"]), job["settings"], create=False)
    subject = open_baseline(job["subject"], Path(job["store"]))
    fill_baseline(subject, population)
    return subject
