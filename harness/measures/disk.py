"""latency.disk: `store.get` through the mapped segments, page cache warm and cold."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.clock import call_times_s, timer_floor_s, without_gc
from harness.measurement import Measurement, Rival
from harness.measures.base import Context
from harness.measures.replay import copy_store, fill_baseline
from harness.population import Population, load_population
from harness.subject import Subject
from harness.subjects import open_baseline
from harness.subjects.reference import ReferenceSubject

__all__ = ["drop_pages", "measure", "sample", "timed_gets"]

_BLOCK = 50
_HOT_S_MAX = 3e-6
_INTERRUPTED_MIN = 5


def measure(context: Context) -> list[Measurement]:
    """Two measurements a corpus: pages in the cache, and dropped before."""
    found = []
    for name, population in context.populations.items():
        found += [_warm(context, name, population), _cold(context, name, population)]
    return found


def _job(context: Context, name: str, population: Population) -> dict[str, Any]:
    return {
        "population": str(population.folder),
        "store": str(context.stores[name]),
        "settings": dict(context.settings),
        "subject": "titanstore",
        "gets": context.sizes.disk_gets,
        "cold": False,
    }


def _warm(context: Context, name: str, population: Population) -> Measurement:
    def take() -> dict[str, Any]:
        job = _job(context, name, population)
        count = context.sizes.processes
        processes = context.workers(
            "disk", [{**job, "seed": context.seed + place} for place in range(count)]
        )
        path = context.work / f"disk-sqlite-{name}"
        sqlite = {**job, "subject": "sqlite-blob", "store": str(path), "seed": context.seed}
        rival = context.workers("disk", [sqlite])
        return {
            "processes": processes,
            "beside": [Rival(subject="sqlite-blob", processes=rival)],
            "context": {
                "timer_floor_s": processes[0].facts["timer_floor_s"],
                "prefetch": context.settings["prefetch"],
                "served": {tier: processes[0].facts[tier] for tier in ("not_hot", "hot")},
            },
        }

    return context.measured(
        f"latency.disk-{name}",
        unit="s",
        evidence=population.evidence,
        population={**population.facts(), "page cache": "warm"},
        take=take,
    )


def _cold(context: Context, name: str, population: Population) -> Measurement:
    def take() -> dict[str, Any]:
        jobs = []
        for place in range(context.sizes.processes):
            path = context.work / f"disk-cold-{name}-{place}"
            copy_store(context.stores[name], path)
            jobs.append(
                {
                    **_job(context, name, population),
                    "store": str(path),
                    "gets": context.sizes.cold_gets,
                    "cold": True,
                    "seed": context.seed + place,
                }
            )
        processes = context.workers("disk", jobs)
        faults = [process.facts["major_faults"] for process in processes]
        return {
            "processes": processes,
            "context": {
                "major_faults": faults,
                "major_faults_per_get": sum(faults) / sum(len(one.values) for one in processes),
                "timer_floor_s": processes[0].facts["timer_floor_s"],
            },
        }

    return context.measured(
        f"latency.disk-cold-{name}",
        unit="s",
        evidence=population.evidence,
        population={**population.facts(), "page cache": "dropped"},
        take=take,
    )


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are seconds of each single get that the hot tier did not serve."""
    population = load_population(Path(job["population"]))
    rng = np.random.default_rng(job["seed"])
    path = Path(job["store"])
    if job["cold"]:
        drop_pages(path)
    subject = _open(job, population)
    keys = list(population.keys)
    if job["cold"]:
        # one chunk a document, and no more: a neighbour's fault would have brought it in
        step = population.chunks_per_document
        order = [int(at) for at in rng.permutation(len(keys) // step) * step]
        order = [at + int(rng.integers(step)) for at in order][: job["gets"]]
    else:
        for key in keys:
            subject.get(key)  # the pages are in the cache now, the last rows in the tiers
        order = rng.integers(0, len(keys), job["gets"]).tolist()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    values, hot = timed_gets(subject, [keys[place] for place in order])
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    _check(subject, population, order[:500])
    subject.close()
    return {
        "values": values,
        "block": _BLOCK,
        "facts": {
            "timer_floor_s": timer_floor_s(),
            "major_faults": faults,
            "not_hot": len(values),
            "hot": hot,
        },
    }


def timed_gets(subject: Subject, keys: list[str]) -> tuple[list[float], int]:
    """Times of the gets that were not hot, and how many were.

    A hot get takes some 0.3 us, any other 10 us and more: they are told apart by that, and the
    store's own count has to agree but for gets that the machine interrupted.
    """
    if not isinstance(subject, ReferenceSubject):
        with without_gc():
            return call_times_s(subject.get, keys), 0
    before = subject.counters()["hot_hits"]
    with without_gc():
        times = call_times_s(subject.get, keys)
    hot = subject.counters()["hot_hits"] - before
    slow = [one for one in times if one > _HOT_S_MAX]
    if abs(len(times) - len(slow) - hot) > max(_INTERRUPTED_MIN, len(times) // 100):
        raise AssertionError(
            f"{len(times) - len(slow)} gets took less than {_HOT_S_MAX} s, the store counted {hot}"
        )
    return slow, hot


def _open(job: Mapping[str, Any], population: Population) -> Subject:
    if job["subject"] == "titanstore":
        return ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
    subject = open_baseline(job["subject"], Path(job["store"]))
    fill_baseline(subject, population)
    return subject


def drop_pages(folder: Path) -> None:
    """Ask the kernel to drop the cached pages of every file below a folder.

    Works for clean pages that no process has mapped; needs no privilege.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _check(subject: Subject, population: Population, order: list[int]) -> None:
    vectors = population.vectors()
    for place in order:
        seen = subject.get(population.keys[place])
        if not np.array_equal(seen.view(np.uint32), vectors[place].view(np.uint32)):
            raise AssertionError(f"row {place} differs: timings of wrong answers do not count")
