"""Makes the parts of one comparison, each kept as soon as it is made."""

from __future__ import annotations

import datetime
import random
import shutil
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import EvidenceError, HarnessError
from harness.evidence import read_json, write_json
from harness.measurement import Process
from harness.progress import Progress
from harness.rivals.catalogue import OURS, SEARCHERS, STORES, why_not
from harness.rivals.inputs import Inputs, make_inputs
from harness.rivals.options import TIMED, RivalOptions
from harness.worker import Task, WorkerError, run_each

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
            for name, rows in self._inputs.sets.items():
                self._two_at_a_time(f"size {name}", partial(self._size, rows))
        if set(TIMED) & set(measures):
            self._rounds("time", sizes.rounds, self._stores, self._time)
        if {"memory", "open"} & set(measures):
            self._rounds("memory", sizes.rounds, self._stores, self._memory)
        if "search" in measures:
            for count in sizes.searched:
                one = partial(self._search, count)
                self._rounds(f"search {count}", sizes.rounds, self._searchers, one)
        if "crash" in measures:
            self._two_at_a_time("crash", self._crash)
        told = {"rows": self._inputs.told, "evidence": self._inputs.evidence}
        return told, self._parts

    # -- how parts are made ----------------------------------------------------------------

    def _kept(self, name: str) -> bool:
        """Take a part of an earlier call; False if there is none."""
        try:
            self._parts[name] = read_json(self._path(name))
        except EvidenceError:
            return False
        return True

    def _path(self, name: str) -> Path:
        return self._folder / "parts" / f"{name.replace(' ', '-')}.json"

    def _keep(self, name: str, made: Process | WorkerError, **more: str) -> None:
        """What a rival fails at is its result; what ours fails at ends the run."""
        if isinstance(made, WorkerError):
            if name.endswith(f" {OURS}"):
                raise HarnessError(f"{name}: {made}") from made
            self._progress.note(f"{name}: {made}")
            part: dict[str, Any] = {"failed": str(made), **more}
        else:
            part = {"values": list(made.values), **made.facts, **more}
        self._path(name).parent.mkdir(exist_ok=True)
        write_json(self._path(name), part)
        self._parts[name] = part

    def _rounds(
        self,
        kind: str,
        rounds: int,
        subjects: Sequence[str],
        task: Callable[[str, int], Task],
    ) -> None:
        """One process a subject in each round, in random order: what drifts, drifts for all.

        A round that an earlier call has made in part is made anew: a ratio is of one hour.
        """
        whole = {turn for turn in range(rounds) if self._is_whole(kind, turn, subjects)}
        if len(whole) < rounds:
            self._fill(int(kind.partition(" ")[2] or self._sizes.vectors), subjects)
        self._progress.stage(f"{kind}: {rounds} rounds", rounds * len(subjects))
        for turn in range(rounds):
            began = datetime.datetime.now(datetime.UTC).isoformat()
            order = list(subjects)
            random.Random(f"{self._options.seed} {kind} {turn}").shuffle(order)
            for subject in order:
                if turn not in whole:
                    (made,) = self._run([task(subject, turn)])
                    self._keep(f"{kind} {turn} {subject}", made, round_began=began)
                self._progress.step()

    def _is_whole(self, kind: str, turn: int, subjects: Sequence[str]) -> bool:
        """Has an earlier call made all of a round, at one time?"""
        names = [f"{kind} {turn} {one}" for one in subjects]
        if not all(map(self._kept, names)):
            return False
        return len({self._parts[name].get("round_began") for name in names}) == 1

    def _two_at_a_time(self, kind: str, task: Callable[[str], Task]) -> None:
        """What is not timed, of every store."""
        self._progress.stage(kind, len(self._stores))
        wanted = [one for one in self._stores if not self._kept(f"{kind} {one}")]
        for first in range(0, len(wanted), 2):
            pair = wanted[first : first + 2]
            for subject, made in zip(pair, self._run([task(one) for one in pair]), strict=True):
                self._keep(f"{kind} {subject}", made)
                self._progress.step()

    def _run(self, tasks: Sequence[Task]) -> list[Process | WorkerError]:
        """Whatever happens, no worker outlives the call, and nothing of theirs stays."""
        try:
            return run_each(tasks, at_once=2, timeout_s=_TIMEOUT_S)
        finally:
            for _, job in tasks:
                shutil.rmtree(job["scratch"], ignore_errors=True)

    def _task(self, module: str, subject: str, **more: Any) -> Task:
        job = {
            "subject": subject,
            "rows": str(self._inputs.rows),
            "scratch": str(self._work / f"scratch-{subject}"),
            "count": self._sizes.vectors,
            "seed": self._options.seed,
        }
        return f"harness.rivals.{module}", {**job, **more}

    def _store(self, subject: str, count: int) -> str:
        return str(self._work / f"store-{subject}-{count}")

    def _fill(self, count: int, subjects: Collection[str]) -> None:
        """Once a run; what cannot be filled fails again when it is measured, and says why then."""
        wanted = [
            (subject, store)
            for subject in self._stores
            if subject in subjects and (store := self._store(subject, count)) not in self._filled
        ]
        if not wanted:
            return
        self._progress.stage(f"store {count} vectors", len(wanted))
        for first in range(0, len(wanted), 2):
            tasks = [
                self._task("filling", subject, action="fill", store=store, count=count)
                for subject, store in wanted[first : first + 2]
            ]
            for (subject, store), made in zip(wanted[first:], self._run(tasks), strict=False):
                self._filled.add(store)
                if isinstance(made, WorkerError):
                    self._progress.note(f"{subject} could not be filled: {made}")
                self._progress.step()

    # -- parts -----------------------------------------------------------------------------

    def _size(self, rows: Path, subject: str) -> Task:
        return self._task(
            "filling",
            subject,
            action="weigh",
            store=str(self._work / f"scratch-{subject}" / "weighed"),
            rows=str(rows),
            sized=self._sizes.sized,
        )

    def _time(self, subject: str, turn: int) -> Task:
        sizes = self._sizes
        return self._task(
            "timing",
            subject,
            measures=list(self._options.timed),
            store=self._store(subject, sizes.vectors),
            seed=self._options.seed + turn,
            warm_gets=sizes.warm_gets,
            cold_gets=sizes.cold_gets,
            puts=sizes.puts,
        )

    def _memory(self, subject: str, turn: int) -> Task:
        store = self._store(subject, self._sizes.vectors)
        seed, gets = self._options.seed + turn, self._sizes.warm_gets
        return self._task("weighing", subject, store=store, seed=seed, gets=gets)

    def _search(self, count: int, subject: str, turn: int) -> Task:
        return self._task(
            "searching",
            subject,
            store=self._store(subject, count),
            count=count,
            queries=self._sizes.queries,
            seed=self._options.seed + turn,
            is_checked=turn == 0,
        )

    def _crash(self, subject: str) -> Task:
        sizes = self._sizes
        count = min(66, sizes.vectors)
        return self._task("crashing", subject, count=count, kills=sizes.kills, flips=sizes.flips)
