"""memory.steady: what the store adds to a process after a long editing session."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.measurement import Measurement, Process, Rival
from harness.measures.base import Context
from harness.measures.queries import LANCE
from harness.measures.replay import Replay, copy_store, fill_baseline, lay_out
from harness.population import Population, build_store, load_population
from harness.probes.allocations import bytes_by_module
from harness.probes.memory import counted_bytes, page_types
from harness.subject import DocumentSubject
from harness.subjects import open_baseline
from harness.subjects.reference import LOADED_ON_USE, ReferenceSubject, effective_settings
from harness.worker import WorkerError
from harness.workload.editing import EditingSession, editing_session
from harness.workload.queries import make_queries

__all__ = ["measure", "sample"]

_AT_ONCE = 12
_BESIDE_PROCESSES = 2
_TRACED_OPERATIONS = 3_000
_ENGINE_QUERIES = 500
_PACKAGES = ("titanstore", "lmdb", "numpy", "zstandard")


def measure(context: Context) -> list[Measurement]:
    """One measurement a corpus, and its clean pages; LanceDB's engine; "current" beside it."""
    found = []
    for name, population in context.populations.items():
        if name in context.sizes.memory_corpora:
            first = context.sizes.memory_corpora[0]
            found += _of(context, name, population, is_traced=name == first)
    return [*found, *([_engine(context)] if context.sizes.lance_processes else [])]


def _of(
    context: Context, name: str, population: Population, *, is_traced: bool
) -> list[Measurement]:
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

    taken: list[Process] = []

    def take() -> dict[str, Any]:
        judged = [job(n, subject) for n in range(count) for subject in ("titanstore", "control")]
        rivals = min(count, _BESIDE_PROCESSES) if context.sizes.memory_beside else 0
        beside_jobs = [job(n, "current") for n in range(rivals)]
        is_shown = is_traced and context.sizes.memory_beside
        traced_jobs = [job(0, "titanstore", traced=True)] if is_shown else []
        # they wait for the disk much of the time, and time is not what is measured
        answers = context.workers("memory", [*traced_jobs, *judged, *beside_jobs], at_once=_AT_ONCE)
        traced, answers = answers[: len(traced_jobs)], answers[len(traced_jobs) :]
        processes, current = answers[: len(judged)], answers[len(judged) :]
        taken.extend(processes)
        controls = [process for process in processes if process.control]
        # a rival's figure is compared with the same controls
        beside = [Rival(subject="current", processes=[*current, *controls])] if current else []
        return {
            "processes": processes,
            "beside": beside,
            "context": _shown(processes, traced),
        }

    def take_clean() -> dict[str, Any]:
        if not taken:
            raise WorkerError("memory: the session's processes gave no samples")
        pages = [
            replace(one, values=[one.facts["by_page_type"]["clean file pages"]], facts={})
            for one in taken
        ]
        return {
            "processes": pages,
            "context": {"pages_are": "of mapped files, the kernel's to drop"},
        }

    common: dict[str, Any] = {
        "unit": "B",
        "evidence": population.evidence,
        "population": {**population.facts(), "operations": operations},
    }
    steady = context.measured(f"memory.steady-{name}", take=take, **common)
    clean = f"memory.clean-{name}"
    return [steady, *([context.measured(clean, take=take_clean, **common)] if is_traced else [])]


def _engine(context: Context) -> Measurement:
    """A process that searches through LanceDB, minus one that only imports the store."""
    population = context.populations["files-1024"]
    settings, digest = effective_settings(context.settings, **LANCE)
    store = context.work / "memory-engine"
    job = {
        "population": str(population.folder),
        "settings": settings,
        "store": str(store),
        "queries": _ENGINE_QUERIES,
    }

    def take() -> dict[str, Any]:
        context.workers("memory", [{**job, "engine": "build", "control": False}])
        jobs = [
            {**job, "engine": "search", "control": control, "seed": context.seed + place}
            for place in range(_BESIDE_PROCESSES)
            for control in (False, True)
        ]
        processes = context.workers("memory", jobs, at_once=2)
        first = processes[0].facts
        return {"processes": processes, "context": first, "config_digest": digest}

    return context.measured(
        "memory.engine-lance",
        unit="B",
        evidence=population.evidence,
        population={
            **population.facts(),
            "queries": _ENGINE_QUERIES,
            "search_index": "lance",
            "configuration digest": digest,
        },
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


def _shown(processes: Sequence[Process], traced: Sequence[Process]) -> dict[str, Any]:
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
        "searches_done": first.facts["searches"],
        "modules_beyond_the_control": ", ".join(_beyond(processes)) or "none",
        **({"by_module": traced[0].facts["by_module"]} if traced else {}),
    }


def _beyond(processes: Sequence[Process]) -> list[str]:
    """Modules that processes with the store have loaded and controls have not."""
    with_store, without = (
        {name for one in processes if one.control is control for name in one.facts["modules"]}
        for control in (False, True)
    )
    return sorted(with_store - without)


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: the value is the counted bytes at the end of the session."""
    for name in LOADED_ON_USE:
        with contextlib.suppress(ImportError):  # other releases of a package have other modules
            importlib.import_module(name)
    if "engine" in job:
        return _sample_engine(job)
    population = load_population(Path(job["population"]))
    replay = Replay(Path(job["trace"]), population)
    if job["traced"]:
        tracemalloc.start(8)
    subject = _open(job, population)
    searches = 0
    if subject is None:
        replay.run_without()
    else:
        searches = replay.run(subject)
    if isinstance(subject, ReferenceSubject):
        subject.wait_for_prefetch()
    gc.collect()
    facts: dict[str, Any] = {"done": len(replay), "searches": searches, "tiers": {}}
    facts["modules"] = sorted(sys.modules)
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


def _sample_engine(job: Mapping[str, Any]) -> dict[str, Any]:
    population = load_population(Path(job["population"]))
    path = Path(job["store"])
    if job["engine"] == "build":
        build_store(population, path, job["settings"])
        subject = ReferenceSubject(path, job["settings"], create=False)
        subject.maintain()
        subject.close()
        return {"values": [0.0], "facts": {}}
    rows = np.asarray(population.vectors())
    queries = make_queries(rows, job["queries"], np.random.default_rng(job["seed"]))
    if job["control"]:
        return {"values": [counted_bytes(page_types())], "facts": {}}
    subject = ReferenceSubject(path, job["settings"], read_only=True)
    for query in queries:
        subject.search(query)
    gc.collect()
    types = page_types()
    asked = subject.counters()["lance_searches"]
    subject.close()
    if asked < len(queries):
        raise AssertionError(f"LanceDB chose the candidates of {asked} of {len(queries)} queries")
    return {"values": [counted_bytes(types)], "facts": {"by_page_type": types}}


def _open(job: Mapping[str, Any], population: Population) -> DocumentSubject | None:
    if job["control"]:
        return None
    if job["subject"] == "titanstore":
        return ReferenceSubject(Path(job["store"]), job["settings"], create=False)
    subject = open_baseline(job["subject"], Path(job["store"]))
    fill_baseline(subject, population)
    return subject
