"""query.latency: k = 10 with the result cache off, by size, by path and by version debt.

Every version debt is a row of its own, so that the gate judges the worst of them and none hides in
the samples of another. One process takes the samples of all, the debts in another order each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import call_times_s, timer_floor_s, without_gc
from harness.measurement import Measurement, Process, Rival
from harness.measures.base import Context
from harness.measures.replay import copy_store
from harness.oracle import Oracle
from harness.population import Population, build_store, load_population
from harness.subject import Vectors
from harness.subjects.lance_flat import LanceFlatSubject
from harness.subjects.reference import ReferenceSubject, effective_settings
from harness.worker import Task, WorkerError, run_each
from harness.workload.edits import Session
from harness.workload.queries import make_queries

__all__ = ["DEBTS", "LANCE", "measure", "sample"]

DEBTS = (0, 100, 600)  # SPEC section 2: updates since the last maintenance
# What makes a store of any size keep a LanceDB table and ask it
LANCE: Mapping[str, object] = {"search_index": "lance"}
_K = 10
_WARM_UP = 40
_CHECKED = 20
_BLOCK = 20
_RIVAL_S = 2.0  # of LanceDB's own flat search, tens of ms a query
_RIVAL_QUERIES = 200
_FASTER_WANTED = 20


def settings_of(context: Context, path: str) -> tuple[dict[str, object], str]:
    """Settings of a path, and the digest of the configuration that they are.

    The flat path is that of the run's own configuration, which is flat below its threshold; LanceDB
    has to be asked for at such sizes. SPEC section 2 has the result cache off for both.
    """
    digest = context.config_digest
    changed: dict[str, object] = {"result_cache_entries": 0}
    if path == "lance":
        changed |= LANCE
        _, digest = effective_settings(context.settings, **LANCE)
    return effective_settings(context.settings, **changed)[0], digest


def _paths(context: Context) -> tuple[str, ...]:
    """In ci there is no time for a path that decides nothing."""
    return ("flat", "lance") if context.sizes.lance_processes else ("flat",)


def _sizes(context: Context) -> list[int]:
    large = context.sizes.search_vectors_large
    return [*context.sizes.search_sizes, *([large] if large else [])]


def _debts(context: Context, size: int) -> list[int]:
    """Of the large store only what the rows at 100 000 are about."""
    return [0] if size == context.sizes.search_vectors_large else list(DEBTS)


def _build(context: Context) -> dict[Path, str]:
    """One store a path, size and debt; time plays no part in that.

    Returns why a path's stores could not be built, by their folder.
    """
    tasks: list[Task] = []
    for path in _paths(context):
        for size in _sizes(context):
            population = context.of_size(size)
            job = {
                "kind": "prepare",
                "debts": _debts(context, size),
                "population": str(population.folder),
                "edits": str(context.edits[population.name]),
                "settings": settings_of(context, path)[0],
                "folder": str(_folder(context, path, size)),
            }
            tasks.append(("queries", job))
    answers = run_each(tasks, at_once=2, timeout_s=1_800, on_done=context.step)
    return {
        Path(job["folder"]): str(answer)
        for (_, job), answer in zip(tasks, answers, strict=True)
        if isinstance(answer, WorkerError)
    }


def _folder(context: Context, path: str, size: int) -> Path:
    return context.work / "queries" / f"{path}-{size}"


def measure(context: Context) -> list[Measurement]:
    """Three measurements a path and size, one a debt."""
    broken = _build(context)
    found = []
    for size in _sizes(context):
        for path in _paths(context):
            found += _of(context, path, size, broken.get(_folder(context, path, size), ""))
    return found


def _of(context: Context, path: str, size: int, broken: str) -> list[Measurement]:
    population = context.of_size(size)
    settings, digest = settings_of(context, path)
    sizes = context.sizes
    is_lance = path == "lance"
    count = sizes.lance_processes if is_lance else sizes.processes
    job = {
        "kind": "time",
        "population": str(population.folder),
        "edits": str(context.edits[population.name]),
        "settings": settings,
        "folder": str(_folder(context, path, size)),
        "queries": sizes.lance_samples if is_lance else sizes.query_samples,
        "debts": _debts(context, size),
    }
    jobs = [{**job, "seed": context.seed + n, "first": n} for n in range(count)]
    taken: list[Process] = []
    failed = [broken] if broken else []
    rivals: dict[str, Process | WorkerError] = {}
    measurements = []
    for debt in _debts(context, size):

        def take(debt: int = debt) -> dict[str, Any]:
            if failed:
                raise WorkerError(failed[0])
            if not taken:
                try:
                    taken.extend(context.workers("queries", jobs))
                except WorkerError as error:
                    failed.append(str(error))
                    raise
            if not rivals and not is_lance:
                rivals.update(_rivals(context, job))
            own = [_part(process, debt) for process in taken]
            fields: dict[str, Any] = {
                "processes": own,
                "context": {**_shown(own), "configuration": digest},
                "config_digest": digest,
            }
            if rivals:
                fields |= _beside(own, rivals)
            return fields

        shown = {
            **population.facts(),
            "updates": debt,
            "k": _K,
            "result cache": "off",
            "search_index": settings["search_index"],
        }
        measurements.append(
            context.measured(
                f"query.latency-{path}-{size}-{debt}",
                unit="s",
                evidence=population.evidence,
                population=shown,
                take=take,
            )
        )
    return measurements


def _part(process: Process, debt: int) -> Process:
    """The samples of one debt."""
    first, last = process.facts["samples"][str(debt)]
    facts = {**process.facts["by_debt"][str(debt)], "timer_floor_s": process.facts["timer_floor_s"]}
    return replace(process, values=process.values[first:last], facts=facts)


def _shown(processes: Sequence[Process]) -> dict[str, Any]:
    pooled = np.concatenate([process.values for process in processes])
    return {
        "p50_s": float(np.quantile(pooled, 0.5)),
        "slowest_s": float(pooled.max()),
        "timer_floor_s": processes[0].facts["timer_floor_s"],
        "answers_compared": sum(process.facts["compared"] for process in processes),
        "answers_as_the_oracle": sum(process.facts["equal"] for process in processes),
        # of the LanceDB path: where most of what it proposes is gone, the store scans instead
        "candidates_by_lancedb": sum(
            process.facts["candidates_by_lancedb"] for process in processes
        ),
    }


def _rivals(context: Context, job: Mapping[str, Any]) -> dict[str, Process | WorkerError]:
    """LanceDB's own flat search and numpy's float32 product, on the same rows.

    One that fails is not there to be compared with, and is no fault of the store.
    """
    folder = Path(job["folder"])
    found: dict[str, Process | WorkerError] = {}
    for kind in ("lancedb-flat", "numpy-float32"):
        own = {**job, "kind": kind, "seed": context.seed, "folder": f"{folder}-{kind}"}
        (found[kind],) = run_each([("queries", own)], on_done=context.step)
    return found


def _beside(own: Sequence[Process], rivals: Mapping[str, Process | WorkerError]) -> dict[str, Any]:
    ours = float(np.median(np.concatenate([process.values for process in own])))
    beside, context = [], _shown(own)
    for kind, process in rivals.items():
        if isinstance(process, WorkerError):
            context[f"{kind} not measured"] = str(process)
            continue
        beside.append(Rival(subject=kind, processes=[process]))
        context[f"times_faster_than_{kind}"] = float(np.median(process.values)) / ours
    context["times_faster_than_lancedb-flat_wanted"] = _FASTER_WANTED
    return {"beside": beside, "context": context}


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are seconds of single queries, debt by debt."""
    population = load_population(Path(job["population"]))
    match job["kind"]:
        case "prepare":
            return _prepare(job, population)
        case "time":
            return _time(job, population)
    rows = np.asarray(population.vectors())
    queries = list(make_queries(rows, _RIVAL_QUERIES, np.random.default_rng(job["seed"])))
    if job["kind"] == "lancedb-flat":
        rival = LanceFlatSubject(Path(job["folder"]), population.keys, rows)
        begin = call_times_s(rival.search, queries[:5])
        fitting = max(30, int(_RIVAL_S / max(begin)))
        values = call_times_s(rival.search, queries[:fitting])
        rival.close()
    else:
        values = _time_numpy(rows, queries)
    return {"values": values, "block": _BLOCK, "facts": {}}


def _time_numpy(rows: Vectors, queries: Sequence[Vectors]) -> list[float]:
    norms = np.linalg.norm(rows, axis=1)

    def nearest(query: Vectors) -> list[int]:
        scores = (rows @ query) / norms
        chosen = np.argpartition(-scores, _K)[:_K]
        found: list[int] = chosen[np.argsort(-scores[chosen])].tolist()
        return found

    call_times_s(nearest, queries[:_WARM_UP])
    with without_gc():
        return call_times_s(nearest, queries)


def _prepare(job: Mapping[str, Any], population: Population) -> dict[str, Any]:
    """One store a debt, each a copy of the one before with more saves."""
    folder = Path(job["folder"])
    session = Session(Path(job["edits"]), population)
    before: Path | None = None
    for debt in job["debts"]:
        path = folder / str(debt)
        if before is None:
            build_store(population, path, job["settings"])
        else:
            copy_store(before, path)
        subject = ReferenceSubject(path, job["settings"], create=False)
        if before is None:
            subject.maintain()
        for document, content in session.saves(debt - session.done):
            subject.update_document(document, content)
        subject.close()
        before = path
    return {"values": [float(session.done)], "facts": {}}


def _time(job: Mapping[str, Any], population: Population) -> dict[str, Any]:
    rng = np.random.default_rng(job["seed"])
    rows = np.asarray(population.vectors())
    turn = job["first"] % len(job["debts"])
    order = job["debts"][turn:] + job["debts"][:turn]
    values: list[float] = []
    samples: dict[str, tuple[int, int]] = {}
    by_debt: dict[str, dict[str, int]] = {}
    for debt in order:
        path = Path(job["folder"]) / str(debt)
        subject = ReferenceSubject(path, job["settings"], read_only=True)
        queries = list(make_queries(rows, job["queries"] + _WARM_UP, rng))
        call_times_s(subject.search, queries[:_WARM_UP])
        with without_gc():
            times = call_times_s(subject.search, queries[_WARM_UP:])
        is_lance = job["settings"]["search_index"] == "lance"
        asked = _check_path(subject, len(queries), is_lance=is_lance, debt=debt)
        # the oracle takes longer than the samples: one debt a process, all of them between them
        is_looked_at = debt == order[-1]
        by_debt[str(debt)] = (
            _checked(job, population, debt, subject, queries[-_CHECKED:])
            if is_looked_at
            else {"compared": 0, "equal": 0}
        )
        by_debt[str(debt)]["candidates_by_lancedb"] = asked
        subject.close()
        samples[str(debt)] = (len(values), len(values) + len(times))
        values += times
    return {
        "values": values,
        "block": _BLOCK,
        "facts": {"samples": samples, "by_debt": by_debt, "timer_floor_s": timer_floor_s()},
    }


def _check_path(subject: ReferenceSubject, queries: int, *, is_lance: bool, debt: int) -> int:
    """Each row is about one path: the other one must not have answered; how many LanceDB did.

    With a debt the store may scan, for one reason: most of what LanceDB proposed is gone.
    """
    asked = subject.counters()["lance_searches"]
    if is_lance and debt and "is gone" in subject.lance_trouble():
        return asked
    if asked != (queries if is_lance else 0):
        raise AssertionError(f"LanceDB chose the candidates of {asked} of {queries} queries")
    return asked


def _checked(
    job: Mapping[str, Any],
    population: Population,
    debt: int,
    subject: ReferenceSubject,
    queries: Sequence[Vectors],
) -> dict[str, int]:
    """Outside the timed part: a path that is exact must be, one that is not must find most."""
    session = Session(Path(job["edits"]), population)
    for _ in session.saves(debt):
        pass
    held = session.vectors()
    truth = Oracle(list(held), np.stack(list(held.values()))).search_many(np.stack(queries), _K)
    answers = [[tuple(hit) for hit in subject.search(query, _K)] for query in queries]
    equal = sum(
        answer == [tuple(one) for one in wanted]
        for answer, wanted in zip(answers, truth, strict=True)
    )
    stale = [key for answer in answers for key, _ in answer if key not in held]
    if stale:
        raise AssertionError(f"{stale[0]} was found, and is no longer stored")
    if job["settings"]["search_index"] != "lance" and equal < len(queries):
        raise AssertionError(f"{len(queries) - equal} of {len(queries)} answers are wrong")
    return {"compared": len(queries), "equal": equal}
