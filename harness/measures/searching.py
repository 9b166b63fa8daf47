"""quality.search: ids, order and distances of the top 10, against the oracle, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan
from harness.measures.queries import LANCE
from harness.measures.replay import copy_store
from harness.oracle import METRICS, Found, Oracle, cosine_similarity
from harness.population import Population, build_store, load_population
from harness.statistics import error_rate_bound
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, effective_settings
from harness.workload.edits import Session
from harness.workload.queries import KINDS, make_queries

__all__ = ["measure", "plan", "sample"]

_K = 10
_CHUNKS = 22
_BATCH = 64
_SAVES = 40  # before the second half of the queries
_AGAIN = 100  # queries asked twice in a row: the second answer comes from the result cache
_BEFORE = 8  # queries asked before a save and after all of them; the cache holds 16 answers
_SHOWN = 5


def measure(context: Context) -> list[Measurement]:
    """Recorded vectors, the emulated corpora by size, and recall where a profile is that large."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """The same, to be run beside others."""
    found = _recorded(context)
    for size in context.sizes.search_sizes:
        population = context.of_size(size)
        found.append(
            _plan(
                f"quality.search-{size}",
                population.evidence,
                {**population.facts(), "queries": context.sizes.search_queries},
                [
                    {
                        **_job(context, f"search-{size}"),
                        "population": str(population.folder),
                        "edits": str(context.edits[population.name]),
                        "source": str(context.stores.get(population.name, "")),
                    }
                ],
            )
        )
    if context.sizes.search_vectors_large:
        found.append(_recall(context))
    return found


def _job(context: Context, name: str) -> dict[str, Any]:
    return {
        "settings": dict(context.settings),
        "queries": context.sizes.search_queries,
        "seed": context.seed,
        "store": str(context.work / name),
    }


def _recorded(context: Context) -> list[Plan]:
    """All recorded sets of one dimension are one store."""
    by_dimension: dict[int, list[tuple[list[str], Vectors]]] = {}
    for group in context.recorded:
        keys = [f"{group.name}/{row}" for row in range(len(group.vectors))]
        by_dimension.setdefault(group.vectors.shape[1], []).append((keys, group.vectors))
    jobs = []
    for dimension, groups in by_dimension.items():
        folder = context.work / "search-recorded" / str(dimension)
        folder.mkdir(parents=True, exist_ok=True)
        keys = [key for names, _ in groups for key in names]
        np.save(folder / "vectors.npy", np.concatenate([vectors for _, vectors in groups]))
        (folder / "keys.json").write_text(json.dumps(keys), encoding="utf-8")
        job = _job(context, f"search-recorded-{dimension}")
        jobs.append({**job, "rows": str(folder)})
    if not jobs:
        return []
    shown = {
        "sets": len(context.recorded),
        "dimensions": ", ".join(map(str, by_dimension)),
        "vectors": sum(len(group.vectors) for group in context.recorded),
        "queries": context.sizes.search_queries,
        "queries are of": "each dimension",
    }
    return [_plan("quality.search-recorded", context.recorded_tier, shown, jobs)]


def _plan(
    name: str, evidence: str, population: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]
) -> Plan:
    def take(processes: Sequence[Process]) -> dict[str, Any]:
        asked = sum(process.facts["asked"] for process in processes)
        return {
            "processes": processes,
            "context": {
                "searches": asked,
                "error_rate_high": error_rate_bound(asked),
                "cosines_compared": sum(process.facts["cosines"] for process in processes),
                "metrics": ", ".join(METRICS),
                "queries_are": "; ".join(KINDS),
                "first_mismatch": next(
                    (error for process in processes for error in process.facts["errors"]), "none"
                ),
            },
        }

    return Plan(
        name=name,
        unit="count",
        evidence=evidence,
        population=population,
        tasks=[("searching", job) for job in jobs],
        take=take,
    )


def _recall(context: Context) -> Plan:
    population = context.prepared["many"]
    settings, digest = effective_settings(context.settings, **LANCE)
    job = {
        **_job(context, "search-recall"),
        "settings": settings,
        "population": str(population.folder),
        "recall": True,
    }

    def take(processes: Sequence[Process]) -> dict[str, Any]:
        return {"processes": processes, "context": processes[0].facts}

    return Plan(
        name="quality.search-100000",
        unit="1",
        evidence=population.evidence,
        population={
            **population.facts(),
            "queries": context.sizes.search_queries,
            "search_index": "lance",
            "configuration digest": digest,
        },
        tasks=[("searching", job)],
        take=take,
    )


class _Comparison:
    """Compares a subject's answers with the oracle's; a query of any metric that differs is 1."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.errors: list[str] = []
        self.asked = self.cosines = 0

    def queries(self, name: str, subject: ReferenceSubject, oracle: Oracle, asked: Vectors) -> None:
        """Each query by each metric, then in batches, and some of them again."""
        wrong = np.zeros(len(asked), bool)
        for metric in METRICS:
            truth = oracle.search_many(asked, _K, metric)
            for place, query in enumerate(asked):
                for word in ("", " again")[: 2 if place < _AGAIN else 1]:
                    found = subject.search(query, _K, metric)
                    words = f"{name}, {metric}, query {place}{word}"
                    wrong[place] |= self._differs(words, found, truth[place])
            for first in range(0, len(asked) if metric == "cosine" else 0, _BATCH):
                block = slice(first, first + _BATCH)
                answers = subject.search_many(asked[block], _K, metric)
                for place, found in enumerate(answers, first):
                    words = f"{name}, batch, query {place}"
                    wrong[place] |= self._differs(words, found, truth[place])
        self.values += wrong.astype(float).tolist()

    def _differs(
        self, name: str, found: Sequence[tuple[str, float]], wanted: Sequence[Found]
    ) -> bool:
        self.asked += 1
        seen, right = [tuple(one) for one in found], [tuple(one) for one in wanted]
        if seen == right:
            return False
        pairs = list(zip_longest(seen, right))
        place = next(place for place, (one, other) in enumerate(pairs) if one != other)
        self.errors.append(f"{name}, result {place}: {pairs[place][0]}, wanted {pairs[place][1]}")
        return True

    def similarities(
        self, subject: ReferenceSubject, originals: Mapping[str, Vectors], asked: Vectors
    ) -> None:
        """Cosines from stored vectors are bit-equal to those from the originals."""
        for query in asked:
            for key, _ in subject.search(query, _K)[:1]:
                seen = cosine_similarity(query, subject.get(key))
                self.cosines += 1
                if seen != cosine_similarity(query, originals[key]):
                    self.values.append(1.0)
                    self.errors.append(f"cosine of a query and the stored {key}: {seen!r}")


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are 1 for each query whose answer differs, else 0."""
    if job.get("recall"):
        return _sample_recall(job)
    comparison = _Comparison()
    path = Path(job["store"])
    for name, subject, originals, count, again in _stages(job, path):
        rows = np.stack(list(originals.values()))
        rng = np.random.default_rng([job["seed"], len(name)])
        asked = np.concatenate([again, make_queries(rows, count - len(again), rng)])
        comparison.queries(name, subject, Oracle(list(originals), rows), asked)
        comparison.similarities(subject, originals, asked)
        subject.close()
    return {
        "values": comparison.values,
        "facts": {
            "asked": comparison.asked,
            "cosines": comparison.cosines,
            "errors": comparison.errors[:_SHOWN],
        },
    }


_Stage = tuple[str, ReferenceSubject, Mapping[str, Vectors], int, Vectors]


def _stages(job: Mapping[str, Any], path: Path) -> Iterator[_Stage]:
    """What is searched: as stored, opened for reading; and after saves, by the writer itself.

    Name, subject, what it holds, number of queries, and those of them that the subject answered
    before the saves: what it kept of them must not be taken for the present.
    """
    count = job["queries"]
    if "rows" in job:
        folder = Path(job["rows"])
        vectors = np.load(folder / "vectors.npy")
        keys = json.loads((folder / "keys.json").read_text(encoding="utf-8"))
        writer = ReferenceSubject(path, job["settings"])
        for first in range(0, len(keys), _CHUNKS):
            rows = slice(first, first + _CHUNKS)
            writer.put_document(f"document {first}", keys[rows], vectors[rows])
        none = vectors[:0]
        yield "just written", writer, dict(zip(keys, vectors, strict=True)), count // 2, none
        reader = ReferenceSubject(path, job["settings"], read_only=True)
        yield (
            "opened again",
            reader,
            dict(zip(keys, vectors, strict=True)),
            count - count // 2,
            none,
        )
        return
    population = load_population(Path(job["population"]))
    session = Session(Path(job["edits"]), population)
    if job["source"]:
        copy_store(Path(job["source"]), path)
    else:
        build_store(population, path, job["settings"])
    reader = ReferenceSubject(path, job["settings"], read_only=True)
    stored = session.vectors()
    held = np.stack(list(stored.values()))
    yield "as stored", reader, stored, count // 2, held[:0]
    writer = ReferenceSubject(path, job["settings"], create=False)
    asked: list[Vectors] = []
    saves = min(_SAVES, len(session.edits))
    for number, (document, content) in enumerate(session.saves(saves)):
        if number >= saves - _BEFORE:
            # what is about to be written: the kept answer, which cannot have it, is stale then
            news = next((vector for key, vector in content if key not in stored), held[0])
            writer.search(news, _K, METRICS[0])
            asked.append(news)
        writer.update_document(document, content)
        stored = {**stored, **dict(content)}
    again = np.stack(asked) if asked else held[:0]
    yield f"after {session.done} saves", writer, session.vectors(), count - count // 2, again


def _sample_recall(job: Mapping[str, Any]) -> dict[str, Any]:
    """Values are the share of the true 10 nearest that were found, one for each query."""
    population: Population = load_population(Path(job["population"]))
    path = Path(job["store"])
    build_store(population, path, job["settings"])
    subject = ReferenceSubject(path, job["settings"], create=False)
    subject.maintain()
    rows = np.asarray(population.vectors())
    asked = make_queries(rows, job["queries"], np.random.default_rng(job["seed"]))
    truth = Oracle(population.keys, rows).search_many(asked, _K)
    values = []
    for query, wanted in zip(asked, truth, strict=True):
        found = {key for key, _ in subject.search(query, _K)}
        values.append(len(found & {one.key for one in wanted}) / _K)
    subject.close()
    return {"values": values, "facts": {"exact_share": float(np.mean(np.array(values) == 1.0))}}
