"""hit_ratio.hot: the real store under production-like traces, and how well anyone could do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.measurement import Bound, Measurement, Process, Rival
from harness.measures.base import Context, Plan
from harness.measures.replay import Replay, copy_store, lay_out
from harness.population import Population, load_population
from harness.simulate import POLICIES, capacity_rows, curves, document_bound
from harness.subjects.reference import ReferenceSubject
from harness.worker import WorkerError
from harness.workload.editing import EditingSession, editing_session
from harness.workload.git import git_replay
from harness.workload.trace import CHUNK_INTERVAL_S, Trace

__all__ = ["measure", "sample"]

_CAPACITIES_BYTES = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000)
_HOT_BYTES = 2_000_000  # the gate's capacity (SPEC section 2)
_BESIDE_PROCESSES = 1
# A session waits most of its time. Several at once leave each prefetch less of the machine, so a
# hit ratio can only come out lower than alone.
_AT_ONCE = 4
# Shown beside the gate: what happens when one assumption about the developer is changed
_OTHER_SEARCH_SHARE, _OTHER_ACTIVE_SHARE = 0.40, 0.50


def measure(context: Context) -> list[Measurement]:
    """The editing session, gated; the same back to back and with more scattered searches, shown;
    and each repository's history."""
    population = context.populations["files-1024"]
    found = [
        _session(context, population, "editing", EditingSession(reads=context.sizes.trace_reads)),
        _session(
            context,
            population,
            "editing-hurried",
            EditingSession(reads=context.sizes.trace_reads),
            pace=0.0,
            processes=1,
        ),
        _session(
            context,
            population,
            "editing-scattered",
            EditingSession(
                reads=context.sizes.trace_reads,
                search_share=_OTHER_SEARCH_SHARE,
                result_active_share=_OTHER_ACTIVE_SHARE,
            ),
            processes=1,
        ),
    ]
    if context.git is not None:
        found.append(_history(context, population, context.git))
    return context.together(found, at_once=_AT_ONCE)


def _session(
    context: Context,
    population: Population,
    name: str,
    session: EditingSession,
    *,
    pace: float | None = None,
    processes: int | None = None,
) -> Plan:
    pace = context.sizes.trace_pace if pace is None else pace
    traces = [
        editing_session(context.seed + place, session, source=population.corpus_digest)
        for place in range(processes or context.sizes.processes)
    ]
    return _plan(context, population, name, traces, pace=pace, is_compared=name == "editing")


def _history(context: Context, population: Population, repository: Path) -> Plan:
    trace = git_replay(repository, reads_max=context.sizes.trace_reads)
    traces = [trace] * context.sizes.processes
    return _plan(context, population, "git", traces, pace=1.0)


def _plan(
    context: Context,
    population: Population,
    name: str,
    traces: Sequence[Trace],
    *,
    pace: float,
    is_compared: bool = False,
) -> Plan:
    capacity = int(str(context.settings["hot_bytes_max"]))
    jobs: list[dict[str, Any]] = []
    for place, trace in enumerate(traces if capacity <= _HOT_BYTES else ()):
        folder = context.work / f"hits-{name}-{place}"
        lay_out(trace, folder)
        jobs.append(
            {
                "trace": str(folder),
                "store": str(folder / "store"),
                "source": str(context.stores[population.name]),
                "population": str(population.folder),
                "settings": dict(context.settings),
                "pace": pace,
            }
        )
    # the policy that the configuration does not name, on the first traces
    other = "lru" if context.settings["policy"] != "lru" else "probation"
    rivals = [
        {
            **job,
            "store": f"{job['store']}-{other}",
            "settings": {**context.settings, "policy": other},
        }
        for job in jobs[: _BESIDE_PROCESSES if is_compared else 0]
    ]

    def take(answers: Sequence[Process]) -> dict[str, Any]:
        if capacity > _HOT_BYTES:
            raise WorkerError(f"a hot tier of {capacity} bytes, {_HOT_BYTES} are promised about")
        processes, beside = answers[: len(jobs)], answers[len(jobs) :]
        return {
            "processes": processes,
            "beside": [Rival(subject=f"policy {other}", processes=beside)] if beside else [],
            **_shown(traces, processes, capacity),
        }

    return Plan(
        name=f"hit_ratio.hot-{name}",
        unit="1",
        evidence=population.evidence,
        population={
            "trace": traces[0].name,
            "files": traces[0].documents,
            "source": traces[0].source[:24],
            "reads": traces[0].reads,
            "interval_s": CHUNK_INTERVAL_S * pace,
        },
        tasks=[("hits", job) for job in (*jobs, *rivals)],
        take=take,
    )


def _shown(traces: Sequence[Trace], processes: Sequence[Process], capacity: int) -> dict[str, Any]:
    trace = traces[0]  # the curves are of one, the bound is of all
    rows = capacity_rows(trace, _HOT_BYTES)
    bounds = [document_bound(one, rows) for one in traces]
    capacities = [size for size in _CAPACITIES_BYTES if size >= 2 * trace.row_bytes]
    simulated = curves(trace, [capacity_rows(trace, size) for size in capacities], POLICIES)
    visits = sum(process.facts["visits"] for process in processes)
    misses = sum(process.facts["misses"] for process in processes)
    reads = sum(process.facts["reads"] for process in processes)
    context = {
        "capacities_bytes": capacities,
        "curves": {
            name: [outcome.ratio for outcome in outcomes] for name, outcomes in simulated.items()
        },
        "ours": {"capacity_bytes": capacity, "hit_ratio": 1 - misses / reads},
        "misses_per_visit": misses / visits,
        "prefetched_rows": sum(process.facts["prefetched_rows"] for process in processes),
        "prefetched_unread_bytes": trace.row_bytes
        * sum(process.facts["prefetched_unread"] for process in processes),
        "parameters": dict(trace.parameters),
        "seed": trace.seed,
    }
    fields: dict[str, Any] = {"context": context}
    if all(bound.reads for bound in bounds):
        fields["bound"] = Bound(
            value=sum(bound.hits for bound in bounds) / sum(bound.reads for bound in bounds),
            reason=f"no policy that brings a document's chunks in on a miss does better with "
            f"{rows} rows",
        )
    return fields


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are 1 for a hit and 0 for a miss, visit by visit."""
    population = load_population(Path(job["population"]))
    replay = Replay(Path(job["trace"]), population)
    path = Path(job["store"])
    if replay.documents > len(population.documents):
        relaxed = {**job["settings"], "durability": "power_cut_may_lose_store"}
        builder = ReferenceSubject(path, relaxed)
        replay.fill(builder)
        builder.close()
    else:
        copy_store(Path(job["source"]), path)
    subject = ReferenceSubject(path, job["settings"], create=False)
    outcome = replay.run_paced(subject, pace=job["pace"])
    subject.wait_for_prefetch()
    counters = subject.counters()
    subject.close()
    values: list[float] = []
    for hits, reads in outcome:
        values += [1.0] * hits + [0.0] * (reads - hits)
    return {
        "values": values,
        "block": replay.chunks_per_document,
        "facts": {
            "visits": len(outcome),
            "reads": len(values),
            "misses": int(len(values) - sum(values)),
            "prefetched_rows": counters["prefetched_rows"],
            "prefetched_unread": counters["prefetched_unread"],
        },
    }
