"""quality.bits: every vector, by every path that this build has, compared as 32-bit words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.vectors import GENERATORS
from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan
from harness.statistics import error_rate_bound
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, migrate_npy

__all__ = ["PATHS_ABSENT", "measure", "plan", "sample"]

# SPEC section 2 names them; they come with later parts of the store, and are tested from then on
PATHS_ABSENT = (
    "shared pool",
    "delta",
    "crash recovery (tested in suites/tests/crash, not measured here)",
)
_BATCH = 1_000
_HOSTILE_DIMENSIONS = (1, 3, 256, 512, 1024, 1536)
_HOSTILE_KEPT = 4_000  # vectors written before they are read back: bounds memory
_HOSTILE_AT_ONCE = 40  # so that the smallest profile meets every kind in every dimension


def measure(context: Context) -> list[Measurement]:
    """Rows: what Titan really returned, the emulated corpora, and vectors made to break codecs."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """The same, to be run beside others."""
    return [*_recorded(context), *_emulated(context), _hostile(context)]


def _recorded(context: Context) -> list[Plan]:
    jobs = []
    for group in context.recorded:
        folder = context.work / "recorded" / group.name
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", group.vectors)
        keys = [f"{group.name}/{row}" for row in range(len(group.vectors))]
        (folder / "keys.json").write_text(json.dumps(keys), encoding="utf-8")
        jobs.append(_job(context, folder, name=group.name))
    if not jobs:
        return []
    count = sum(len(group.vectors) for group in context.recorded)
    population = {"sets": len(jobs), "vectors": count}
    return [_plan("quality.bits-recorded", context.recorded_tier, population, jobs)]


def _emulated(context: Context) -> list[Plan]:
    jobs = []
    for name, population in context.populations.items():
        keys = context.work / f"{name}-keys.json"
        keys.write_text(json.dumps(population.keys), encoding="utf-8")
        jobs.append(
            {
                **_job(context, population.folder, name=name),
                "keys": str(keys),
                "built": str(context.stores[name]),
            }
        )
    vectors = sum(len(population.keys) for population in context.populations.values())
    shown = {"corpora": len(jobs), "vectors": vectors}
    return [_plan("quality.bits-emulated", "emulated", shown, jobs)]


def _hostile(context: Context) -> Plan:
    count = context.sizes.hostile_vectors
    shares = 4
    jobs = [
        {
            "hostile": -(-count // shares),
            "seed": context.seed + share,
            "first_pair": share * 33,  # a quarter of all pairs each, where there is time for one
            "settings": dict(context.settings),
            "store": str(context.work / f"hostile-{share}"),
        }
        for share in range(shares)
    ]
    population = {"kinds": len(GENERATORS), "vectors": count}
    return _plan("quality.bits-hostile", "synthetic", population, jobs)


def _job(context: Context, folder: Path, *, name: str) -> dict[str, Any]:
    return {
        "vectors": str(folder / "vectors.npy"),
        "keys": str(folder / "keys.json"),
        "store": str(context.work / f"quality-{name}"),
        "settings": dict(context.settings),
    }


def _plan(
    name: str, evidence: str, population: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]
) -> Plan:
    def take(processes: Sequence[Process]) -> dict[str, Any]:
        compared = sum(process.facts["compared"] for process in processes)
        paths: dict[str, int] = {}
        for process in processes:
            for path, number in process.facts["paths"].items():
                paths[path] = paths.get(path, 0) + number
        return {
            "processes": processes,
            "context": {
                "compared_vectors": compared,
                "error_rate_high": error_rate_bound(compared),
                "paths": paths,
                "paths_not_in_this_build": list(PATHS_ABSENT),
                "first_errors": [e for p in processes for e in p.facts["errors"]][:5],
            },
        }

    return Plan(
        name=name,
        unit="count",
        evidence=evidence,
        population=population,
        tasks=[("quality", job) for job in jobs],
        take=take,
    )


class _Comparison:
    """Counts differing 32-bit words, path by path."""

    def __init__(self) -> None:
        self.differing: list[float] = []
        self.paths: dict[str, int] = {}
        self.errors: list[str] = []

    def vector(self, path: str, wanted: Vectors, read: Callable[[], Vectors]) -> None:
        """One vector by one path; an error of the store counts as all of its words."""
        self.paths[path] = self.paths.get(path, 0) + 1
        try:
            seen = read()
        except ReferenceSubject.errors as error:
            self.differing.append(float(wanted.size))
            self.errors.append(f"{path}: {error}")
            return
        if seen.shape != wanted.shape or seen.dtype != np.float32:
            self.differing.append(float(wanted.size))
            self.errors.append(f"{path}: {seen.dtype} of shape {seen.shape}")
            return
        words = np.count_nonzero(seen.view(np.uint32) != wanted.view(np.uint32))
        if words:
            self.errors.append(f"{path}: {words} words differ")
        self.differing.append(float(words))

    def answer(self) -> dict[str, Any]:
        """What a worker returns."""
        return {
            "values": self.differing,
            "facts": {
                "compared": len(self.differing),
                "paths": self.paths,
                "errors": self.errors[:5],
            },
        }


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are differing words, one for each vector and path."""
    comparison = _Comparison()
    if "hostile" in job:
        _compare_hostile(job, comparison)
        return comparison.answer()
    vectors = np.load(job["vectors"], mmap_mode="r")
    keys = json.loads(Path(job["keys"]).read_text(encoding="utf-8"))
    rows = [np.asarray(vector) for vector in vectors]
    if "built" in job:  # as the corpus was stored, by another process
        _compare_reads(Path(job["built"]), job["settings"], keys, rows, comparison, "stored by")
    path = Path(job["store"])
    with_settings = {
        "fresh": job["settings"],
        "uncompressed": {**job["settings"], "compression": False},
    }
    for name, settings in with_settings.items():
        subject = ReferenceSubject(path / name, settings)
        for first in range(0, len(keys), 22):
            chunk = slice(first, first + 22)
            subject.put_document(f"d{first}", keys[chunk], vectors[chunk])
        for key, row in zip(keys, rows, strict=True):
            comparison.vector(f"{name}, just written", row, partial(subject.get, key))
        _compare_versions(subject, keys, rows, comparison, name)
        subject.close()
        _compare_reads(path / name, settings, keys, rows, comparison, name)
    _compare_migrated(job, keys, rows, comparison)
    return comparison.answer()


def _compare_migrated(
    job: Mapping[str, Any], keys: Sequence[str], rows: Sequence[Vectors], comparison: _Comparison
) -> None:
    """The same vectors moved by `titanstore migrate` from the .npy that they lie in."""
    path = Path(job["store"]) / "migrated"
    listed = path.with_name("keys.txt")
    listed.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
    try:
        migrate_npy(Path(job["vectors"]), listed, path, job["settings"])
    except ReferenceSubject.errors as error:
        comparison.errors.append(f"migrated: {error}")
        comparison.differing.append(float(sum(row.size for row in rows)))
        return
    subject = ReferenceSubject(path, job["settings"], read_only=True)
    for key, row in zip(keys, rows, strict=True):
        comparison.vector("migrated", row, partial(subject.get, key))
    subject.close()


def _compare_versions(
    subject: ReferenceSubject,
    keys: Sequence[str],
    rows: Sequence[Vectors],
    comparison: _Comparison,
    name: str,
) -> None:
    """Snapshot, then half of the keys replaced and a quarter deleted; the old state, and back."""
    version = subject.snapshot("before")
    half = len(keys) // 2
    others = np.stack([rows[(place + 1) % len(rows)] for place in range(half)])
    if half:
        subject.put_many(keys[:half], others)
        subject.delete(keys[: half // 2])
    for key, row in zip(keys, rows, strict=True):
        comparison.vector(f"{name}, snapshot", row, partial(subject.get_at, version, key))
    subject.rollback(version)
    for key, row in zip(keys, rows, strict=True):
        comparison.vector(f"{name}, rolled back", row, partial(subject.get, key))


def _compare_reads(
    path: Path,
    settings: Mapping[str, object],
    keys: Sequence[str],
    rows: Sequence[Vectors],
    comparison: _Comparison,
    name: str,
) -> None:
    """Cold, hot, warm, in batches, and after the tiers were swept."""
    subject = ReferenceSubject(path, settings, read_only=True)
    for turn in ("cold", "again"):
        for key, row in zip(keys, rows, strict=True):
            comparison.vector(f"{name}, {turn}", row, partial(subject.get, key))
            if turn == "cold":
                comparison.vector(f"{name}, hot", row, partial(subject.get, key))
    subject.wait_for_prefetch()
    # backwards: what left the hot tier last lies in the warm one
    for key, row in zip(reversed(keys), reversed(rows), strict=True):
        comparison.vector(f"{name}, backwards", row, partial(subject.get, key))
    for first in range(0, len(keys), _BATCH):
        batch = slice(first, first + _BATCH)
        try:
            together = subject.get_many(keys[batch])
        except ReferenceSubject.errors as error:
            comparison.errors.append(f"{name}, batch: {error}")
            comparison.differing.append(float(sum(row.size for row in rows[batch])))
            continue
        for row, seen in zip(rows[batch], together, strict=True):
            comparison.vector(f"{name}, batch", row, partial(_itself, seen))
    for problem in subject.problems():
        comparison.errors.append(f"{name}, check: {problem}")
        comparison.differing.append(1.0)
    comparison.paths[f"{name}, warm hits"] = subject.counters()["warm_hits"]
    subject.close()


def _compare_hostile(job: Mapping[str, Any], comparison: _Comparison) -> None:
    """Write, close, and read everything back from the disk with all tiers off."""
    rng = np.random.default_rng(job["seed"])
    path = Path(job["store"])
    pairs = [(kind, size) for kind in GENERATORS for size in _HOSTILE_DIMENSIONS]
    written: list[tuple[str, str, Vectors]] = []
    done = turn = 0
    subject = ReferenceSubject(path, job["settings"])
    while done < job["hostile"]:
        kind, dimension = pairs[(turn + job["first_pair"]) % len(pairs)]
        count = min(_HOSTILE_AT_ONCE, job["hostile"] - done)
        vectors = GENERATORS[kind](rng, count, dimension)
        keys = [f"{kind}/{dimension}/{turn}/{row}" for row in range(count)]
        subject.put_many(keys, vectors)
        written += [(kind, key, row) for key, row in zip(keys, vectors, strict=True)]
        done += count
        turn += 1
        if len(written) >= _HOSTILE_KEPT or done == job["hostile"]:
            subject.close()
            _compare_from_disk(path, job["settings"], written, comparison)
            written = []
            subject = ReferenceSubject(path, job["settings"])
    subject.close()


def _compare_from_disk(
    path: Path,
    settings: Mapping[str, object],
    written: Sequence[tuple[str, str, Vectors]],
    comparison: _Comparison,
) -> None:
    bare = {**settings, "memory_bytes_max": 0, "prefetch": False}
    reader = ReferenceSubject(path, bare, read_only=True)
    for kind, key, row in written:
        comparison.vector(f"hostile {kind}", row, partial(reader.get, key))
    hot = reader.counters()["hot_hits"]
    reader.close()
    if hot:
        raise AssertionError(f"{hot} of {len(written)} vectors did not come from the disk")


def _itself(vector: Vectors) -> Vectors:
    return vector
