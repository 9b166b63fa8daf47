"""update.latency: one file changed, durable when acknowledged, maintenance inside the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from fixtures.titan.emulator import Serving
from harness.clock import without_gc
from harness.measurement import Measurement, Process
from harness.measures.base import Context
from harness.measures.replay import copy_store
from harness.population import Population, load_population
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject
from harness.worker import WorkerError
from harness.workload.edits import Session

__all__ = ["MAINTAIN_EVERY", "SERVINGS", "measure", "sample"]

SERVINGS = {
    "v1": Serving.TEXT_V1,
    "v2_2024": Serving.TEXT_V2_2024,
    "v2": Serving.TEXT_V2,
}
# So often that more than one update in a hundred waits for it: maintenance is in the p99. SPEC
# section 2 looks at queries after up to 600 updates without.
MAINTAIN_EVERY = 64
_BLOCK = 20
_FLOOR_WRITES = 300
_CHANGED_MEAN = 2
_SHOWN = 5


def measure(context: Context) -> list[Measurement]:
    """One measurement a serving at 100 files; on a large store where the profile has one; and
    what all of them lost."""
    found = []
    taken: list[Process] = []
    for name in SERVINGS:
        population = context.updated[name]
        built = context.stores.get(population.name, context.work / "updates" / name)
        found.append(_of(context, name, population, built, taken))
    if context.sizes.search_vectors_large:
        name = "v2_2024"
        found.append(
            _of(context, f"{name}-100000", context.prepared["many"], context.work / "many", taken)
        )
    return [*found, _lost_of_all(context, taken)]


def _lost_of_all(context: Context, taken: Sequence[Process]) -> Measurement:
    """A loss is a broken promise of its own, not a time that could not be measured."""

    def take() -> dict[str, Any]:
        if not taken:
            raise WorkerError("updates: no process of the sessions gave samples")
        processes = [replace(one, values=one.facts["differs"], block=1, facts={}) for one in taken]
        errors = [error for one in taken for error in one.facts["first_lost"]]
        return {"processes": processes, "context": {"first_errors": errors[:_SHOWN]}}

    population = next(iter(context.updated.values()))
    return context.measured(
        "update.lost",
        unit="count",
        evidence=population.evidence,
        population={"files": len(population.documents), "servings": len(SERVINGS)},
        take=take,
    )


def _of(
    context: Context, name: str, population: Population, source: Path, taken: list[Process]
) -> Measurement:
    job = {
        "population": str(population.folder),
        "edits": str(context.edits[population.name]),
        "source": str(source),
        "settings": dict(context.settings),
        "updates": context.sizes.updates,
    }

    def take() -> dict[str, Any]:
        if not source.exists():
            context.workers("updates", [{**job, "kind": "build"}])
        jobs = [
            {**job, "kind": "time", "store": str(context.work / f"updates-{name}-{place}")}
            for place in range(context.sizes.processes)
        ]
        processes = context.workers("updates", jobs)
        taken.extend(processes)
        lost = [error for process in processes for error in process.facts["first_lost"]]
        if lost:
            raise WorkerError(f"updates were lost, so their time is none: {lost[0]}")
        floor = {**job, "kind": "floor", "store": str(context.work / f"updates-{name}-floor")}
        (machine,) = context.workers("updates", [floor])
        return {"processes": processes, "context": _shown(processes, machine)}

    return context.measured(
        f"update.latency-{name}",
        unit="s",
        evidence=population.evidence,
        population={
            **population.facts(),
            "serving": population.model,
            "updates": context.sizes.updates,
            "chunks changed": "1 to 3",
            "maintenance": f"after every {MAINTAIN_EVERY}th update, in its time",
        },
        take=take,
    )


def _shown(processes: Sequence[Process], machine: Process) -> dict[str, Any]:
    from harness.trend import trend  # scipy.stats takes a second to load, and no worker needs it

    pooled = np.concatenate([process.values for process in processes])
    maintenance = [one for process in processes for one in process.facts["maintenance_s"]]
    return {
        "p50_s": float(np.quantile(pooled, 0.5)),
        "slowest_s": float(pooled.max()),
        "keys_compared": sum(process.facts["compared"] for process in processes),
        "keys_lost": 0,  # else there would be no times to show
        "maintenance_median_s": float(np.median(maintenance)) if maintenance else None,
        "maintenance_max_s": max(maintenance, default=None),
        "floor_p50_s": float(np.quantile(machine.values, 0.5)),
        "floor_p99_s": float(np.quantile(machine.values, 0.99)),
        "floor_is": "append and fdatasync of as many bytes, and a durable LMDB commit of 3 keys",
        **trend([process.values for process in processes]),
    }


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are seconds of each update, with the maintenance it waits for."""
    population = load_population(Path(job["population"]))
    session = Session(Path(job["edits"]), population)
    match job["kind"]:
        case "build":
            return _build(job, session)
        case "floor":
            return _floor(Path(job["store"]), population, job["updates"])
    path = Path(job["store"])
    copy_store(Path(job["source"]), path)
    _write_back(path)
    subject = ReferenceSubject(path, job["settings"], create=False)
    saves = list(session.saves(job["updates"]))
    values: list[float] = []
    maintenance: list[float] = []
    clock = time.perf_counter
    with without_gc():
        for number, (document, content) in enumerate(saves, start=1):
            begin = clock()
            subject.update_document(document, content)
            if number % MAINTAIN_EVERY == 0:
                middle = clock()
                subject.maintain()
                maintenance.append(clock() - middle)
            values.append(clock() - begin)
    subject.close()
    lost, compared = _lost(path, job["settings"], session)
    return {
        "values": values,
        "block": _BLOCK,
        "facts": {
            "maintenance_s": maintenance,
            "compared": compared,
            "first_lost": lost[:_SHOWN],
            "differs": [1.0] * len(lost) + [0.0] * max(0, compared - len(lost)),
        },
    }


def _write_back(folder: Path) -> None:
    """The copy's own pages must not be written in an update's time."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _lost(path: Path, settings: Mapping[str, object], session: Session) -> tuple[list[str], int]:
    """Opened anew: keys whose vector is not, bit for bit, what the last save of it handed over."""
    reader = ReferenceSubject(path, settings, read_only=True)
    wanted = session.vectors()
    lost = []
    for key, vector in wanted.items():
        try:
            if reader.get(key).tobytes() != vector.tobytes():
                lost.append(f"{key}: other bits")
        except ReferenceSubject.errors as error:
            lost.append(f"{key}: {error}")
    documents = reader.documents()
    lost += [
        f"document {name}"
        for name, keys in session.documents().items()
        if documents.get(name) != keys
    ]
    reader.close()
    return lost, len(wanted)


def _build(job: Mapping[str, Any], session: Session) -> dict[str, Any]:
    vectors = session.vectors()
    subject = ReferenceSubject(Path(job["source"]), job["settings"])
    for name, keys in session.documents().items():
        subject.update_document(name, [(key, vectors[key]) for key in keys])
    subject.maintain()
    subject.close()
    return {"values": [float(len(vectors))], "facts": {}}


def _floor(path: Path, population: Population, updates: int) -> dict[str, Any]:
    """What this machine takes to make as much durable, with nothing of a store around it."""
    path.mkdir(parents=True)
    half_raw: Vectors = np.array(population.vectors()[:_CHANGED_MEAN])
    record = half_raw.tobytes()[: half_raw.nbytes // 2]  # about what two records take
    environment = lmdb.open(str(path / "floor"), map_size=2**28)
    descriptor = os.open(path / "records", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    values = []
    clock = time.perf_counter
    for number in range(min(_FLOOR_WRITES, updates)):
        begin = clock()
        os.write(descriptor, record)
        os.fdatasync(descriptor)
        with environment.begin(write=True) as transaction:
            for place in range(_CHANGED_MEAN + 1):
                transaction.put(f"{number * 7919 % 10_007}/{place}".encode(), record[:60])
        values.append(clock() - begin)
    os.close(descriptor)
    environment.close()
    return {"values": values, "block": _BLOCK, "facts": {}}
