"""Replaying a trace on a subject, at full speed or at the trace's own pace.

The parent lays a trace out as a mapped array, so that a worker whose memory is judged holds one
visit of it at a time and nothing else.

A visit that reads single chunks instead of a document from its first to its last is a search whose
results are then read (SPEC section 4). A subject that can search is asked for them before. What is
read is what the trace says, so that every subject, and the bound beside it, has the same accesses.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.population import Population
from harness.subject import DocumentSubject, SearchSubject, Vectors
from harness.subjects.reference import ReferenceSubject
from harness.workload.trace import Operation, Trace

__all__ = ["Replay", "copy_store", "fill_baseline", "lay_out"]

_THINK_S_MAX = 2e-3  # between visits; people think for longer, and the store then has more time


def copy_store(source: Path, target: Path) -> None:
    """A store of its own for a process that writes; nobody has `source` open for writing."""
    shutil.copytree(source, target)


def lay_out(trace: Trace, folder: Path) -> Path:
    """Write a trace as arrays that `Replay` maps: one row an access, and where visits begin."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = (trace.key, trace.document, trace.chunk, trace.operation, trace.time_s * 1e9)
    np.save(folder / "accesses.npy", np.stack([column.astype(np.int64) for column in columns], 1))
    starts = np.flatnonzero(np.diff(trace.visit, prepend=-1))
    np.save(folder / "visits.npy", np.append(starts, len(trace)))
    np.save(folder / "shape.npy", np.array([trace.documents, trace.chunks_per_document]))
    os.sync()  # unwritten pages of a mapped file would count as the worker's own
    return folder


class _Access(NamedTuple):
    key: int
    document: int
    chunk: int
    operation: int
    time_ns: int


class Replay:
    """A trace, and which key and vector each of its chunks has at each moment.

    A write gives a chunk new content, hence a new key, as content-addressed keys do. Its vector is
    taken from the population in turn: the replay measures traffic, not compression.

    It has its own copy of each key and row from the beginning, so that it takes no more memory the
    more of them have been replaced: that looked like a store that grows by 20 kB an hour.
    """

    def __init__(self, folder: Path, population: Population) -> None:
        self._accesses = np.load(folder / "accesses.npy", mmap_mode="r")
        self._starts = np.load(folder / "visits.npy", mmap_mode="r")
        documents, self.chunks_per_document = np.load(folder / "shape.npy").tolist()
        count = self.chunks_per_document
        self._vectors = population.vectors()
        self._names = list(population.documents[:documents])
        self._keys = [
            [key.encode().decode() for key in population.keys[first : first + count]]
            for first in range(0, len(self._names) * count, count)
        ]
        for document in range(len(self._names), documents):
            # a history has more files than the corpus: their vectors are taken in turn
            self._names.append(f"document {document}")
            self._keys.append([_digest_key(document * count + chunk) for chunk in range(count)])
        self._rows = np.arange(len(self._names) * count).reshape(-1, count)

    @property
    def documents(self) -> int:
        """Number of documents that the trace speaks of."""
        return len(self._names)

    def __len__(self) -> int:
        return len(self._accesses)

    def fill(self, subject: ReferenceSubject) -> None:
        """Store what a trace starts with, where no prepared store has it."""
        for document, name in enumerate(self._names):
            subject.update_document(name, self._content(document))

    def _visits(self) -> Iterator[list[_Access]]:
        for at in range(len(self._starts) - 1):
            rows = self._accesses[int(self._starts[at]) : int(self._starts[at + 1])].tolist()
            yield [_Access(*row) for row in rows]

    def _vector(self, document: int, chunk: int) -> Vectors:
        return np.asarray(self._vectors[int(self._rows[document, chunk]) % len(self._vectors)])

    def _content(self, document: int) -> list[tuple[str, Vectors]]:
        return [(key, self._vector(document, at)) for at, key in enumerate(self._keys[document])]

    def _change(self, writes: Sequence[_Access]) -> list[tuple[str, Vectors]]:
        """New keys for the written chunks of one document; returns its whole new content."""
        document = writes[0].document
        keys = self._keys[document]
        for access in writes:
            keys[access.chunk] = _digest_key(access.key)
            self._rows[document, access.chunk] = access.key
        return self._content(document)

    def _query(self, visit: Sequence[_Access]) -> Vectors | None:
        """What a visit searches for, if it is a search: between its first two results."""
        if len(visit) < 2 or visit[-1].operation == Operation.WRITE:
            return None
        if [access.chunk for access in visit] == list(range(self.chunks_per_document)):
            return None
        first, second = (self._vector(one.document, one.chunk) for one in visit[:2])
        return first + second

    def run(self, subject: DocumentSubject, on_visit: Callable[[int], None] | None = None) -> int:
        """All accesses one after the other; returns how many searches were made.

        `on_visit` is told after each visit how many accesses are done.
        """
        searches = done = 0
        search = subject.search if isinstance(subject, SearchSubject) else None
        for visit in self._visits():
            query = self._query(visit)
            if search is not None and query is not None:
                search(query)
                searches += 1
            for access in visit:
                if access.operation == Operation.READ:
                    subject.get(self._keys[access.document][access.chunk])
            self._write(subject, visit)
            done += len(visit)
            if on_visit is not None:
                on_visit(done)
        return searches

    def run_without(self, on_visit: Callable[[int], None] | None = None) -> None:
        """The same without a store: what a control process does."""
        done = 0
        for visit in self._visits():
            _ = self._query(visit)
            for access in visit:
                if access.operation == Operation.READ:
                    _ = self._keys[access.document][access.chunk]
            writes = [access for access in visit if access.operation == Operation.WRITE]
            if writes:
                self._change(writes)
            done += len(visit)
            if on_visit is not None:
                on_visit(done)

    def _write(self, subject: DocumentSubject, visit: Sequence[_Access]) -> None:
        writes = [access for access in visit if access.operation == Operation.WRITE]
        if writes:
            subject.update_document(self._names[writes[0].document], self._change(writes))

    def run_paced(self, subject: ReferenceSubject, *, pace: float) -> list[tuple[int, int]]:
        """Accesses of a visit at the trace's intervals times `pace`; think time cut short.

        Returns
        -------
        list of (hits, reads)
            One entry a visit with reads, counted by the store: a read that comes before its
            prefetch has ended is no hit.
        """
        outcome = []
        for visit in self._visits():
            query = self._query(visit)
            if query is not None:
                subject.search(query)
            before = subject.counters()["hot_hits"]
            begin, first_ns = time.perf_counter_ns(), visit[0].time_ns
            reads = 0
            for access in visit:
                if access.operation != Operation.READ:
                    continue
                due = (access.time_ns - first_ns) * pace
                wait_s = (due - (time.perf_counter_ns() - begin)) * 1e-9
                if wait_s > 0:
                    time.sleep(wait_s)
                subject.get(self._keys[access.document][access.chunk])
                reads += 1
            if reads:
                outcome.append((subject.counters()["hot_hits"] - before, reads))
            self._write(subject, visit)
            time.sleep(_THINK_S_MAX)
        return outcome


def fill_baseline(subject: DocumentSubject, population: Population) -> None:
    """Store a population in a subject, a document at a time."""
    vectors = population.vectors()
    count = population.chunks_per_document
    for place, name in enumerate(population.documents):
        rows = range(place * count, (place + 1) * count)
        subject.update_document(
            name, [(population.keys[row], np.asarray(vectors[row])) for row in rows]
        )


def _digest_key(number: int) -> str:
    """A key of the form that `embedding_key` gives, unlike any of the population's."""
    return f"{number:032x}"
