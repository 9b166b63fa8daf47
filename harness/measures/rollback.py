"""rollback.exact: a session of changes rolled back; rollbacks killed before every write step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan
from harness.oracle import Oracle
from harness.population import Population, load_population
from harness.probes.writes import Trial, kill_after, run_traced
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject
from harness.workload.edits import Session
from harness.workload.queries import make_queries

__all__ = ["measure", "plan", "sample"]

_QUERIES = 30
_QUERIES_AFTER_A_KILL = 3
_STEPS_MAX = 2_000  # a rollback that never ends must not hang a run
_FIRST_ERRORS = 5


def measure(context: Context) -> list[Measurement]:
    """One measurement: exact rollbacks of a session, and kills."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """The same, to be run beside others."""
    population = context.populations["files-1024"]
    job = {
        "population": str(population.folder),
        "edits": str(context.edits[population.name]),
        "settings": dict(context.settings),
        "saves": context.sizes.rollback_saves,
        "seed": context.seed,
    }
    kills = {
        "documents": context.sizes.killed_documents,
        "moments": context.sizes.kill_moments,
        "saves": context.sizes.killed_saves,
    }
    jobs = [
        {
            **job,
            "kind": "exact",
            "store": str(context.work / "rollback-exact"),
            "source": str(context.stores[population.name]),
        },
        {**job, **kills, "kind": "kills", "store": str(context.work / "rollback-kills")},
    ]

    def take(processes: Sequence[Process]) -> dict[str, Any]:
        exact, killed = processes
        errors = [error for process in processes for error in process.facts["errors"]]
        facts = {**exact.facts, **killed.facts}
        del facts["errors"]
        return {
            "processes": processes,
            "context": {**facts, "first_errors": errors[:_FIRST_ERRORS]},
        }

    shown = {
        **population.facts(),
        "steps": "all",
        "killed before": "every system call that changes a file, and at chosen moments",
    }
    return [
        Plan(
            name="rollback.exact",
            unit="count",
            evidence=population.evidence,
            population=shown,
            tasks=[("rollback", one) for one in jobs],
            take=take,
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a store must hold: every key with its vector, every document with its keys."""

    vectors: Mapping[str, Vectors]
    documents: Mapping[str, Sequence[str]]

    def differences(self, subject: ReferenceSubject) -> list[str]:
        """Keys and documents that differ, and keys that are too many."""
        found = []
        for key, wanted in self.vectors.items():
            try:
                seen = subject.get(key)
            except ReferenceSubject.errors as error:
                found.append(f"{key}: {error}")
                continue
            if seen.tobytes() != wanted.tobytes():
                found.append(f"{key}: other bits")
        if len(subject) != len(self.vectors):
            found.append(f"{len(subject)} keys, {len(self.vectors)} wanted")
        documents = subject.documents()
        names = sorted(documents.keys() | self.documents.keys())
        return found + [
            f"document {name} has other keys"
            for name in names
            if documents.get(name) != list(self.documents.get(name, ()))
        ]


class _Tally:
    """One value for each key or query compared: 1 if it differs."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.errors: list[str] = []

    def state(
        self, name: str, state: State, subject: ReferenceSubject, *, walk: bool = True
    ) -> None:
        """All keys and documents, and what the store's own walk finds."""
        found = state.differences(subject) + (subject.problems() if walk else [])
        self.errors += [f"{name}: {error}" for error in found]
        right = max(0, len(state.vectors) - len(found))
        self.values += [1.0] * len(found) + [0.0] * right

    def searches(self, name: str, state: State, subject: ReferenceSubject, count: int) -> None:
        """The index agrees: results are those of exact search over what the state holds."""
        rows = np.stack(list(state.vectors.values()))
        queries = make_queries(rows, count, np.random.default_rng(len(self.values)))
        truth = Oracle(list(state.vectors), rows).search_many(queries, 10)
        for query, wanted in zip(queries, truth, strict=True):
            differs = [tuple(hit) for hit in subject.search(query, 10)] != wanted
            self.values.append(float(differs))
            if differs:
                self.errors.append(f"{name}: a search found something else than the oracle")


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are 1 for each key, document or search that differs, else 0."""
    population = load_population(Path(job["population"]))
    tally = _Tally()
    facts = _exact(job, population, tally) if job["kind"] == "exact" else _kills(job, tally)
    return {"values": tally.values, "facts": {**facts, "errors": tally.errors[:_FIRST_ERRORS]}}


def _exact(job: Mapping[str, Any], population: Population, tally: _Tally) -> dict[str, Any]:
    """Snapshot, a session, back, and forward again; then the same seen by a new object."""
    path = Path(job["store"])
    shutil.copytree(job["source"], path)
    session = Session(Path(job["edits"]), population)
    subject = ReferenceSubject(path, job["settings"], create=False)
    first = State(vectors=session.vectors(), documents=session.documents())
    snapshot = subject.snapshot("before the session")
    half = job["saves"] // 2
    _save(subject, session.saves(half))
    middle = State(vectors=session.vectors(), documents=session.documents())
    at_half = subject.snapshot("half of it")
    _save(subject, session.saves(half))
    last = _rough(subject, session)
    newest = subject.snapshot("after it")
    tally.state("before any rollback", last, subject)
    order = [(snapshot, first), (newest, last), (at_half, middle), (snapshot, first)]
    for number, state in order:
        subject.rollback(number)
        tally.state(f"rolled back to version {number}", state, subject)
        tally.searches(f"rolled back to version {number}", state, subject, _QUERIES)
    subject.close()
    reader = ReferenceSubject(path, job["settings"], read_only=True)
    tally.state("rolled back, opened again", first, reader)
    tally.searches("rolled back, opened again", first, reader, _QUERIES)
    reader.close()
    return {"rollbacks": len(order), "saves": 2 * half, "keys_compared": len(tally.values)}


def _save(
    subject: ReferenceSubject, saves: Iterable[tuple[str, list[tuple[str, Vectors]]]]
) -> None:
    for document, content in saves:
        subject.update_document(document, content)


def _rough(subject: ReferenceSubject, session: Session) -> State:
    """What saves do not: keys deleted, a document gone, one new, a key with another vector."""
    vectors, documents = session.vectors(), session.documents()
    names = list(documents)
    gone = documents[names[0]][:3]
    subject.delete(gone)
    documents[names[0]] = documents[names[0]][3:]
    subject.update_document(names[1], [])
    gone += documents.pop(names[1])
    vectors = {key: vector for key, vector in vectors.items() if key not in gone}
    replaced = documents[names[2]][0]
    rows = list(vectors.values())
    subject.put_many([replaced], rows[7][None, :])
    vectors[replaced] = rows[7]
    fresh = [f"new chunk {place}" for place in range(5)]
    subject.put_document("new document", fresh, np.stack(rows[10:15]))
    vectors |= dict(zip(fresh, rows[10:15], strict=True))
    documents["new document"] = fresh
    return State(vectors=vectors, documents=documents)


def _kills(job: Mapping[str, Any], tally: _Tally) -> dict[str, Any]:
    """The same rollback again and again, each time killed one step later."""
    population = load_population(Path(job["population"]))
    work = Path(job["store"])
    base, trial = work / "base", work / "trial"
    session = Session(Path(job["edits"]), population, documents=job["documents"])
    old, new, snapshot = _prepared(base, job["settings"], session, job["saves"])

    def rolled_back() -> None:
        subject = ReferenceSubject(trial, job["settings"], create=False)
        subject.rollback(snapshot)
        subject.close()

    seen = {"old": 0, "new": 0}

    def judge(name: str, run: Callable[[], Trial]) -> Trial:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(base, trial)
        done = run()
        subject = ReferenceSubject(trial, job["settings"], create=False)
        # either version is right, but whole; one that was acknowledged must be the new one
        is_old = done.was_killed and not old.differences(subject)
        state = old if is_old else new
        seen["old" if state is old else "new"] += 1
        tally.state(f"killed {name}", state, subject)
        tally.searches(f"killed {name}", state, subject, _QUERIES_AFTER_A_KILL)
        subject.rollback(snapshot)
        tally.state(f"killed {name}, then rolled back", new, subject, walk=False)
        subject.close()
        return done

    whole = judge("never", lambda: kill_after(rolled_back, None))
    if whole.status:
        raise AssertionError("the rollback itself failed; its words are above")
    steps: tuple[str, ...] = ()
    for step in range(_STEPS_MAX):
        done = judge(
            f"before write call {step}", partial(run_traced, rolled_back, kill_before=step)
        )
        if not done.was_killed:
            break
        steps = done.steps
    else:
        raise AssertionError(f"a rollback of more than {_STEPS_MAX} write calls")
    for moment in range(job["moments"]):
        after_s = whole.seconds * (moment + 0.5) / job["moments"]
        judge(f"after {after_s * 1e3:.1f} ms", partial(kill_after, rolled_back, after_s))
    return {
        "kill_points": len(steps) + job["moments"],
        "write_calls": len(steps),
        "moments": job["moments"],
        "calls": ", ".join(sorted(set(steps))),
        "old_version_found": seen["old"],
        "new_version_found": seen["new"],
    }


def _prepared(
    path: Path, settings: Mapping[str, object], session: Session, saves: int
) -> tuple[State, State, int]:
    """A store with a snapshot and a session after it; present state, snapshot's state, number."""
    subject = ReferenceSubject(path, settings)
    for name, keys in session.documents().items():
        vectors = session.vectors()
        subject.update_document(name, [(key, vectors[key]) for key in keys])
    new = State(vectors=session.vectors(), documents=session.documents())
    snapshot = subject.snapshot("before the session")
    _save(subject, session.saves(min(saves, len(session.edits))))
    old = _rough(subject, session)
    subject.close()
    return old, new, snapshot
