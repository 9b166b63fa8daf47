"""Makes the parts of one comparison, each kept as soon as it is made."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import EvidenceError, HarnessError
from harness.evidence import read_json, write_json
from harness.progress import Progress
from harness.rivals.catalogue import OURS, SEARCHERS, STORES, why_not
from harness.rivals.flipping import flip_bits
from harness.rivals.inputs import Inputs, make_inputs
from harness.rivals.killing import kill_in_mid_write
from harness.rivals.options import TIMED, RivalOptions
from harness.worker import WorkerError, run_worker

__all__ = ["Maker"]

_TIMEOUT_S = 240.0


class Maker:
    """Makes the parts: what is not timed two at a time, what is timed one by one and in rounds."""

    def __init__(self, options: RivalOptions, folder: Path, work: Path, progress: Progress) -> None:
        self._options, self._sizes = options, options.sizes
        self._folder, self._work, self._progress = folder, work, progress
        chosen = {OURS, *options.subjects} if options.subjects else {*STORES, *SEARCHERS}
        found = [name for name in (*STORES, *SEARCHERS) if name in chosen and not why_not(name)]
        self._stores = [name for name in found if name in STORES]
        self._searchers = [OURS, *(name for name in found if name in SEARCHERS)]
        self._parts: dict[str, dict[str, Any]] = {}
        self._inputs: Inputs
        self._filled: set[str] = set()
        self._lock = threading.Lock()

    def make(self) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        sizes, measures = self._sizes, self._options.measures
        most = max(sizes.vectors, *sizes.searched)
        self._inputs = make_inputs(
            self._work / "inputs", self._options.recorded, most, self._options.seed
        )
        for name in {*STORES, *SEARCHERS} - {*self._stores, *self._searchers}:
            if reason := why_not(name):
                self._progress.note(f"{name}: {reason}")
        if "size" in measures:
            self._sizes_of_sets()
        if set(TIMED) & set(measures):
            self._rounds("time", sizes.rounds, self._stores, self._time)
        if {"memory", "open"} & set(measures):
            self._rounds("memory", sizes.rounds, self._stores, self._memory)
        if "search" in measures:
            for count in sizes.searched:
                one = partial(self._search, count)
                self._rounds(f"search {count}", sizes.rounds, self._searchers, one)
        if "crash" in measures:
            self._two_at_a_time("crash", self._stores, self._crash)
        told = {"rows": self._inputs.told, "evidence": self._inputs.evidence}
        return told, self._parts

    # -- how parts are made ----------------------------------------------------------------

    def _part(self, name: str, make: Callable[[], dict[str, Any]]) -> bool:
        """A part of an earlier call, or made now and kept; was there anything to make?

        What a rival fails at is its result; what ours fails at ends the run.
        """
        path = self._folder / "parts" / f"{name.replace(' ', '-')}.json"
        try:
            self._parts[name] = read_json(path)
        except EvidenceError:
            pass
        else:
            return False
        try:
            made = make()
        except (WorkerError, HarnessError) as error:
            if name.endswith(f" {OURS}"):
                raise HarnessError(f"{name}: {error}") from error
            made = {"failed": str(error)}
            self._progress.note(f"{name}: {error}")
        path.parent.mkdir(exist_ok=True)
        write_json(path, made)
        self._parts[name] = made
        return True

    def _rounds(
        self,
        kind: str,
        rounds: int,
        subjects: Sequence[str],
        make: Callable[[str, int], dict[str, Any]],
    ) -> None:
        """One process a subject in each round, in random order: what drifts, drifts for all."""
        self._fill_all(kind, subjects, rounds)
        self._progress.stage(f"{kind}: {rounds} rounds", rounds * len(subjects))
        for turn in range(rounds):
            order = list(subjects)
            random.Random(f"{self._options.seed} {kind} {turn}").shuffle(order)
            for subject in order:
                self._part(f"{kind} {turn} {subject}", partial(make, subject, turn))
                self._progress.step()

    def _two_at_a_time(
        self, kind: str, subjects: Sequence[str], make: Callable[[str], dict[str, Any]]
    ) -> None:
        self._progress.stage(kind, len(subjects))

        def one(subject: str) -> None:
            self._part(f"{kind} {subject}", partial(make, subject))
            with self._lock:
                self._progress.step()

        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(one, subjects):
                pass

    def _job(self, subject: str, **more: Any) -> dict[str, Any]:
        return {
            "subject": subject,
            "rows": str(self._inputs.rows),
            "scratch": str(self._work / f"scratch-{subject}"),
            "count": self._sizes.vectors,
            **more,
        }

    def _run(self, module: str, job: Mapping[str, Any]) -> dict[str, Any]:
        try:
            process = run_worker(f"harness.rivals.{module}", job, timeout_s=_TIMEOUT_S)
        finally:
            shutil.rmtree(job["scratch"], ignore_errors=True)
        return {"values": list(process.values), **process.facts}

    def _store(self, subject: str, count: int) -> str:
        return str(self._work / f"store-{subject}-{count}")

    def _fill(self, subject: str, count: int) -> None:
        """Once a run; what cannot be filled fails again when it is measured, and says why then."""
        store = self._store(subject, count)
        job = self._job(subject, action="fill", store=store, count=count)
        if store not in self._filled:
            self._filled.add(store)
            self._run("filling", job)

    def _fill_all(self, kind: str, subjects: Sequence[str], rounds: int) -> None:
        count = int(kind.partition(" ")[2] or self._sizes.vectors)
        path = self._folder / "parts"
        wanted = [
            subject
            for subject in subjects
            if subject in STORES
            and self._store(subject, count) not in self._filled
            and any(
                not (path / f"{kind.replace(' ', '-')}-{turn}-{subject}.json").is_file()
                for turn in range(rounds)
            )
        ]
        if not wanted:
            return
        self._progress.stage(f"store {count} vectors", len(wanted))

        def one(subject: str) -> None:
            try:
                self._fill(subject, count)
            except WorkerError as error:
                if subject == OURS:
                    raise HarnessError(f"{subject} could not be filled: {error}") from error
                self._progress.note(f"{subject} could not be filled: {error}")
            with self._lock:
                self._progress.step()

        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(one, wanted):
                pass

    # -- parts -----------------------------------------------------------------------------

    def _sizes_of_sets(self) -> None:
        for name, rows in self._inputs.sets.items():
            self._two_at_a_time(f"size {name}", self._stores, partial(self._size, rows))

    def _size(self, rows: Path, subject: str) -> dict[str, Any]:
        store = self._work / f"size-{rows.stem}-{subject}"
        try:
            job = {
                **self._job(subject, action="weigh", store=str(store), sized=self._sizes.sized),
                "rows": str(rows),
            }
            found = self._run("filling", job)
        finally:
            shutil.rmtree(store, ignore_errors=True)
        return {"metrics": {f"bytes_{rows.stem}": found["values"][0]}}

    def _time(self, subject: str, turn: int) -> dict[str, Any]:
        sizes = self._sizes
        job = self._job(
            subject,
            measures=list(self._options.timed),
            store=self._store(subject, sizes.vectors),
            seed=self._options.seed + turn,
            warm_gets=sizes.warm_gets,
            cold_gets=sizes.cold_gets,
            puts=sizes.puts,
        )
        return self._run("timing", job)

    def _memory(self, subject: str, turn: int) -> dict[str, Any]:
        store = self._store(subject, self._sizes.vectors)
        seed = self._options.seed + turn
        return self._run("weighing", self._job(subject, store=store, seed=seed))

    def _search(self, count: int, subject: str, turn: int) -> dict[str, Any]:
        job = self._job(
            subject,
            store=self._store(subject, count),
            count=count,
            queries=self._sizes.queries,
            seed=self._options.seed + turn,
            is_checked=turn == 0,
        )
        return self._run("searching", job)

    def _crash(self, subject: str) -> dict[str, Any]:
        store = self._work / f"killed-{subject}"
        count = min(66, self._sizes.vectors)
        seed = self._options.seed
        try:
            kills = kill_in_mid_write(subject, store, self._inputs.rows, self._sizes.kills, seed)
            small = self._work / f"flipped-{subject}"
            job = self._job(subject, action="fill", store=str(small), count=count)
            self._run("filling", job)
            flips = flip_bits(subject, small, self._inputs.rows, count, self._sizes.flips, seed)
        finally:
            shutil.rmtree(store, ignore_errors=True)
        return {"kills": kills, "flips": flips}
