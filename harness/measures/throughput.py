"""query.throughput: an open loop at 100 queries a second, and where the store stops keeping up.

How the claim is decided: reports/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import without_gc
from harness.measurement import Measurement, Process
from harness.measures.base import Context
from harness.openloop import Load, offer
from harness.population import Population, load_population
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, effective_settings
from harness.workload.queries import make_queries

__all__ = ["measure", "sample"]

RATE = 100  # SPEC section 2
_BLOCK_CALLS = 100
_TIMEOUT_S = 1.0  # later than this a caller has gone: the query counts as dropped
_WARM_UP = 40
_KNEE_FIRST, _KNEE_MAX = 200, 51_200
_KNEE_P99_S = 0.05
_THREADS = 4
_FULL_S = 60


def measure(context: Context) -> list[Measurement]:
    """Rate and dropped queries of the same load; the search for the knee beside the rate."""
    size = context.sizes.search_sizes[0]
    population = context.of_size(size)
    # every query is another one: with the result cache on it could answer none of them
    settings, _ = effective_settings(context.settings, result_cache_entries=0)
    seconds = context.sizes.throughput_s * (
        context.sizes.processes if context.sizes.throughput_s < _FULL_S else 1
    )
    name = "query.throughput" if seconds == _FULL_S else "query.throughput-short"
    job = {
        "population": str(population.folder),
        "store": str(context.stores[population.name]),
        "settings": settings,
        "seconds": context.sizes.throughput_s,
        "knee_step_s": context.sizes.knee_step_s,
    }
    shown = {
        **population.facts(),
        "rate": RATE,
        "seconds": seconds,
        "seconds of each process": context.sizes.throughput_s,
        "result cache": "off",
    }
    taken: list[Process] = []
    knees: list[Process] = []

    def take_rates() -> dict[str, Any]:
        jobs = [
            {**job, "kind": "rate", "seed": context.seed + n}
            for n in range(context.sizes.processes)
        ]
        taken.extend(context.workers("throughput", jobs))
        knee_jobs = [
            {**job, "kind": "knee", "seed": context.seed, "threads": n} for n in (1, _THREADS)
        ]
        knees.extend(context.workers("throughput", knee_jobs))
        return {"processes": taken, "context": {**_shown(taken), **_knee(knees)}}

    def take_dropped() -> dict[str, Any]:
        dropped = [
            replace(one, values=one.facts["dropped"], facts={"asked": one.facts["asked"]})
            for one in taken
        ]
        asked = sum(one.facts["asked"] for one in taken)
        return {"processes": dropped, "context": {"asked": asked, "timeout_s": _TIMEOUT_S}}

    common: dict[str, Any] = {"evidence": population.evidence, "population": shown}
    rate = context.measured(name, unit="1/s", take=take_rates, **common)
    dropped_name = name.replace("throughput", "dropped")
    if rate.failure:
        take_dropped = _failed(rate.failure)
    return [rate, context.measured(dropped_name, unit="count", take=take_dropped, **common)]


def _failed(reason: str) -> Any:
    return lambda: {"failure": reason}


def _shown(processes: Sequence[Process]) -> dict[str, Any]:
    latency = np.concatenate([process.facts["latency_s"] for process in processes])
    late = np.concatenate([process.facts["late_s"] for process in processes])
    return {
        "offered_rate": RATE,
        "achieved_rate": float(np.mean([process.facts["achieved_rate"] for process in processes])),
        "latency_p50_s": float(np.quantile(latency, 0.5)),
        "latency_p99_s": float(np.quantile(latency, 0.99)),
        "latency_max_s": float(latency.max()),
        "began_late_p99_s": float(np.quantile(late, 0.99)),
    }


def _knee(processes: Sequence[Process]) -> dict[str, Any]:
    """Highest rate that was kept up with, and the curve; for one thread and for several."""
    found: dict[str, Any] = {"knee_p99_limit_s": _KNEE_P99_S}
    for process in processes:
        threads = process.facts["threads"]
        name = "knee" if threads == 1 else f"knee_{threads}_threads"
        found[f"{name}_rate"] = process.facts["knee_rate"]
        found[f"{name}_curve"] = process.facts["curve"]
    return found


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are answers a second, one for each block of 100 queries."""
    population = load_population(Path(job["population"]))
    subject = ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
    rng = np.random.default_rng(job["seed"])
    for query in _queries(population, _WARM_UP, rng):
        subject.search(query)
    try:
        return (
            _rates(job, population, subject, rng)
            if job["kind"] == "rate"
            else _climb(job, population, subject, rng)
        )
    finally:
        subject.close()


def _queries(population: Population, count: int, rng: np.random.Generator) -> list[Vectors]:
    return list(make_queries(np.asarray(population.vectors()), count, rng))


def _rates(
    job: Mapping[str, Any],
    population: Population,
    subject: ReferenceSubject,
    rng: np.random.Generator,
) -> dict[str, Any]:
    queries = _queries(population, int(RATE * job["seconds"]), rng)
    with without_gc():
        load = offer(subject.search, queries, RATE)
    return {
        "values": load.block_rates(_BLOCK_CALLS),
        "facts": {
            "asked": len(queries),
            "dropped": load.dropped(_TIMEOUT_S).astype(float).tolist(),
            "achieved_rate": load.block_rates(len(queries))[0],
            "latency_s": load.latency_s.tolist(),
            "late_s": load.late_s.tolist(),
        },
    }


def _climb(
    job: Mapping[str, Any],
    population: Population,
    subject: ReferenceSubject,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Double the rate until the p99 from the due time passes 50 ms or the rate is not reached."""
    queries = _queries(population, 2_000, rng)
    curve: list[list[float]] = []
    rate, knee = _KNEE_FIRST, 0.0
    while rate <= _KNEE_MAX:
        count = max(_BLOCK_CALLS, int(rate * job["knee_step_s"]))
        asked = [queries[place % len(queries)] for place in range(count)]
        load = offer(subject.search, asked, rate, threads=job["threads"])
        p50, p99 = (float(np.nanquantile(load.latency_s, cut)) for cut in (0.5, 0.99))
        curve.append([float(rate), _reached(load), p50, p99])
        if p99 > _KNEE_P99_S or load.dropped(_TIMEOUT_S).any():
            break
        knee = float(rate)
        rate *= 2
    return {
        "values": [knee],
        "facts": {"knee_rate": knee, "curve": curve, "threads": job["threads"]},
    }


def _reached(load: Load) -> float:
    """Answers a second over the whole load; a sum that still grew when it ended is not reached."""
    return load.block_rates(len(load.due_s))[0]
