"""One bulk job: parts written by workers, then one commit. Killed at any moment, it goes on.

Parts whose note is there are not done again. What is committed is what the notes name, without
rows whose key the table has or an earlier part has, and only if the table is still the version
that was compared with: so nothing is lost and nothing is there twice, whoever was killed, and
whether the job runs once, twice, or in two places at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from titanstore.scale.fragments import are_there, commit, read_batches, tries, write_rows
from titanstore.scale.ledger import Ledger
from titanstore.scale.location import Location, reaching
from titanstore.scale.parts import Job
from titanstore.scale.repeats import Hashes, hashes_of, suspects
from titanstore.scale.runners import Runner
from titanstore.scale.table import SharedTable, conflict
from titanstore.scale.work import write_part
from titanstore.search.lance_schema import STORED_COLUMNS, LanceRow, StoredRow, stored_rows

Told = Callable[[int, int], None]
_ASKED = 4_096  # suspects compared with the table at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What a job did, over all its runs.

    Attributes
    ----------
    added
        Vectors that the table has by this job; 0 where an earlier run was killed at its commit, or
        one elsewhere was faster: then they are among the repeated.
    repeated
        Rows left out: their key was in the table, or in an earlier part.
    parts, parts_now
        Of the job; and how many of them this run wrote.
    vector_bytes, file_bytes
        Of all rows as float32; of the files that were written.
    version
        Of the table, with the job's rows.
    """

    job: str
    added: int
    repeated: int
    parts: int
    parts_now: int
    vector_bytes: int
    file_bytes: int
    version: int


def run_job(job: Job, runner: Runner, progress: Told | None = None) -> JobReport:
    """Do what of a job is not done, and commit it.

    Parameters
    ----------
    progress
        Told parts that are done, and how many there are.

    Raises
    ------
    AnswerError, MigrationError, CorruptionError, StorageError, BusyError, InvalidInputError
        Parts that are done stay done: the same job goes on from there.
    """
    table = SharedTable.create(job.table, job.dimension, job.values)
    name = f"{job.name}-{table.identity}"
    ledger = Ledger(job.table, name)
    ended = ledger.ended()
    if ended is not None:
        return JobReport(**ended | {"parts_now": 0})
    # `compact` may have taken the files of a job that was not committed in a week
    notes = ledger.notes(lambda note: are_there(job.table, note["fragments"]))
    left = [part for part in job.parts if part.number not in notes]
    tell = progress or (lambda done, total: None)
    tell(len(notes), len(job.parts))
    for note in runner.run(partial(write_part, job, name), left):
        notes.setdefault(note["part"], note)
        tell(len(notes), len(job.parts))
    ordered = [notes[part.number] for part in job.parts]
    version, added = _commit(table, name, ordered)
    rows = sum(note["rows"] for note in ordered)
    report = JobReport(
        job=name,
        added=added,
        repeated=rows - added,
        parts=len(job.parts),
        parts_now=len(left),
        vector_bytes=sum(note["vector_bytes"] for note in ordered),
        file_bytes=sum(note["file_bytes"] for note in ordered),
        version=version,
    )
    ledger.end(asdict(report))
    return report


def _commit(table: SharedTable, name: str, notes: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Commit what the notes name and the table lacks: its version then, and the rows added."""
    staged = Staged(table, notes)
    for _ in tries(table.location):
        now = table.latest()
        fragments, added = staged.without(now)
        if not added:
            return now.version, 0
        made = commit(table.location, now.dataset, fragments, {"titanstore": "job", "job": name})
        if made is not None:
            return int(made.version), added
    raise AssertionError  # `tries` raises


class Staged:
    """What the parts of a job have written, before it is committed.

    Memory: 16 bytes a row. The keys of the table are read once, then only what is new in it.
    """

    def __init__(self, table: SharedTable, notes: Sequence[dict[str, Any]]) -> None:
        self._table = table
        self._location: Location = table.location
        self._fragments: list[list[str]] = [note["fragments"] for note in notes]
        self._hashes = [self._hashes_of(each) for each in self._fragments]
        self._seen: set[str] = set()  # files of the table whose keys were compared
        self._left_out: dict[int, set[int]] = defaultdict(set)
        self._rewritten: dict[int, tuple[int, list[str]]] = {}  # by how many rows were left out
        self._is_compared = False

    def without(self, now: SharedTable) -> tuple[list[str], int]:
        """Fragments without rows that `now` or an earlier part has, and their number of rows.

        Raises
        ------
        MigrationError
            CONFLICT: a key has two vectors.
        """
        known = self._hashes if not self._is_compared else []
        others = list(self._new_keys(now))
        if known or others:
            self._compare(suspects(self._hashes, others), now)
            self._is_compared = True
        fragments: list[str] = []
        added = 0
        for part, hashes in enumerate(self._hashes):
            left_out = self._left_out[part]
            added += len(hashes) - len(left_out)
            fragments += self._fragments[part] if not left_out else self._part_without(part)
        return fragments, added

    def _hashes_of(self, fragments: Sequence[str]) -> Hashes:
        found = [
            hashes_of(batch.column("key"))
            for batch in read_batches(self._location, fragments, ["key"])
        ]
        return np.concatenate(found) if found else np.zeros(0, np.uint64)

    def _new_keys(self, now: SharedTable) -> Iterator[Hashes]:
        """Hashes of the keys of those fragments that were not compared yet."""
        with reaching(self._location):
            for fragment in now.dataset.get_fragments():
                names = {each.path for each in fragment.metadata.files}
                if names <= self._seen:
                    continue
                self._seen |= names
                for batch in fragment.to_batches(columns=["key"]):
                    yield hashes_of(batch.column("key"))

    def _compare(self, places: Sequence[Any], now: SharedTable) -> None:
        """Of rows that may stand twice, note those that do."""
        first: dict[str, StoredRow] = {}
        rows_of: dict[int, list[int]] = defaultdict(list)
        for place in places:
            if place.row not in self._left_out[place.part]:
                rows_of[place.part].append(place.row)
        for part, wanted in rows_of.items():
            for start in range(0, len(wanted), _ASKED):
                chosen = wanted[start : start + _ASKED]
                rows = self._rows(part, set(chosen))
                there = {row.key: row for row in now.rows_of([row.key for _, row in rows])}
                for number, row in rows:
                    known = there.get(row.key) or first.setdefault(row.key, row)
                    if known is row:
                        continue
                    if known.frame != row.frame and not _same(known, row):
                        raise conflict(row.key)
                    self._left_out[part].add(number)

    def _rows(self, part: int, wanted: set[int]) -> list[tuple[int, StoredRow]]:
        found = []
        at = 0
        for batch in read_batches(self._location, self._fragments[part], STORED_COLUMNS):
            inside = [number - at for number in sorted(wanted) if 0 <= number - at < len(batch)]
            with reaching(self._location):
                rows = stored_rows(batch.take(inside)) if inside else []
            found += [(at + number, row) for number, row in zip(inside, rows, strict=True)]
            at += len(batch)
        return found

    def _part_without(self, part: int) -> list[str]:
        """A part's fragments, written again without the rows that are left out."""
        left_out = self._left_out[part]
        count, fragments = self._rewritten.get(part, (0, []))
        if count != len(left_out):
            kept = self._kept_rows(part, left_out)
            fragments, _ = write_rows(self._location, self._table.shape, kept)
            self._rewritten[part] = (len(left_out), fragments)
        return fragments

    def _kept_rows(self, part: int, left_out: set[int]) -> Iterator[LanceRow]:
        at = 0
        for batch in read_batches(self._location, self._fragments[part], STORED_COLUMNS):
            with reaching(self._location):
                rows = [
                    LanceRow(row.key, row.vector(), row.version, row.document, row.model)
                    for row in stored_rows(batch)
                ]
            yield from (row for number, row in enumerate(rows, at) if number not in left_out)
            at += len(rows)


def _same(one: StoredRow, other: StoredRow) -> bool:
    """Have two rows the same vector, though in frames of other bytes?"""
    return np.array_equal(one.vector().view(np.uint32), other.vector().view(np.uint32))
