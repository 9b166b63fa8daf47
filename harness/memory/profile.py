"""One profile: sessions, fillings and stores of N vectors, each part kept as soon as it is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.kept import alone_in, name_of, point_latest, recording_digests
from harness.measurement import Process
from harness.measures.replay import copy_store, lay_out
from harness.memory import filling, many
from harness.memory.populations import SHAPES, make_population
from harness.memory.recordings import summary_of, write_reports
from harness.memory.watch import Watch
from harness.population import Population, build_store, load_population
from harness.progress import Progress
from harness.subjects.reference import effective_settings
from harness.worker import WorkerError, run_worker, run_workers
from harness.workload.editing import EditingSession, editing_session

__all__ = ["MemoryOptions", "Profile", "profile_memory"]

_SESSION, _FILLING, _MANY = (f"harness.memory.{name}" for name in ("session", "filling", "many"))
_TIMEOUT_S = 1_800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """What a profile is asked for.

    Attributes
    ----------
    reports
        Folder in which profiles are kept.
    recorded
        Folder of recorded vectors; None: synthetic ones, labelled.
    operations, traced_operations
        Accesses of a plain session, and of one under an instrument, which is far slower.
    processes
        Plain processes, and controls, a session; processes at each N and budget.
    sizes
        Numbers of vectors.
    budgets
        Bytes to fill a tier to.
    leak_bytes
        Kept by the session every 1 000 accesses, to see whether it is noticed; 0: nothing.
    interval_s
        Between two looks at a plain session from outside.
    """

    reports: Path
    recorded: Path | None
    operations: int = 100_000
    traced_operations: int = 3_000
    processes: int = 2
    files: int = 100
    sizes: tuple[int, ...] = (2_000, 10_000, 100_000)
    budgets: tuple[int, ...] = (500_000, 1_500_000, 3_000_000)
    sessions: tuple[str, ...] = tuple(SHAPES)
    leak_bytes: int = 0
    interval_s: float = 0.1
    seed: int = 20_261_128
    command: tuple[str, ...] = ("harness", "memory")

    def __post_init__(self) -> None:
        # else a few kB that every N has would be the slope
        if len(set(self.sizes)) < 2 or min(self.sizes) < 2_000:
            raise UsageError(f"sizes {self.sizes}: at least two, of at least 2000 vectors")
        if min(self.operations, self.traced_operations) < 1_000:
            raise UsageError("a session has at least 1000 accesses: the tiers must fill")
        if self.processes < 1 or self.leak_bytes < 0:
            raise UsageError("processes must be 1 or more, leak_bytes 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where a profile is kept, and its parts by name."""

    folder: Path
    parts: Mapping[str, Mapping[str, Any]]


def profile_memory(
    options: MemoryOptions, progress: Progress, *, is_fresh: bool = False
) -> Profile:
    """Make every part that an interrupted call with the same options has not made.

    Raises
    ------
    UsageError
        Recordings that are damaged, or a folder that cannot be written.
    HarnessError
        A worker failed.
    """
    environment.require_linux()
    root = environment.project_root()
    code, machine = environment.code_of(root), environment.machine()
    settings, config_digest = effective_settings({})
    instruments = _distorting(environment.instruments())
    if instruments:  # workers inherit them
        raise UsageError(f"{', '.join(instruments)} is on: what is seen would be its memory")
    facts = {
        "commit": code.commit,
        "content_digest": code.content_digest,
        "dirty": code.dirty,
        "config_digest": config_digest,
        "machine": {**machine, "id": environment.machine_id(machine)},
        "options": _asked(options),
        "recordings": recording_digests(options.recorded),
        "packages": environment.package_versions(),
    }
    folder = options.reports / "memory" / name_of(facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"a profile cannot be kept in {options.reports}: {error}") from error
    with alone_in(folder, "memory"):
        if is_fresh:
            shutil.rmtree(folder / "parts", ignore_errors=True)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            maker = _Maker(options, folder, work, settings, progress)
            parts = {name: maker.part(name, make) for name, make in maker.plan()}
        finally:
            shutil.rmtree(work, ignore_errors=True)
    write_json(folder / "memory.json", {**facts, "command": list(options.command), "parts": parts})
    point_latest(folder)
    return Profile(folder=folder, parts=parts)


def _asked(options: MemoryOptions) -> dict[str, Any]:
    asked = {**asdict(options), "recorded": options.recorded is not None}
    for name in ("reports", "command"):
        del asked[name]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asked.items()}


def _distorting(instruments: Mapping[str, bool]) -> list[str]:
    """Of the instruments that are on, those that take memory themselves."""
    return [name for name in ("tracemalloc", "devmode", "debug_malloc") if instruments.get(name)]


Make = Callable[[], dict[str, Any]]


class _Maker:
    """Makes the parts of one profile, in an order in which each has what it needs."""

    def __init__(
        self,
        options: MemoryOptions,
        folder: Path,
        work: Path,
        settings: Mapping[str, object],
        progress: Progress,
    ) -> None:
        self._options = options
        self._folder = folder
        self._work = work
        self._settings = dict(settings)
        self._progress = progress

    def plan(self) -> list[tuple[str, Make]]:
        """Names of all parts and what makes them."""
        chosen: list[tuple[str, Make]] = []
        for name in self._options.sessions:
            chosen += [
                (f"session {name}", partial(self._session, name)),
                (f"traced {name}", partial(self._traced, name)),
                (f"memray {name}", partial(self._memray, name)),
            ]
        first = self._options.sessions[0]
        chosen.append(("filling", partial(self._fillings, first)))
        chosen += [(f"vectors {size}", partial(self._many, size)) for size in self._options.sizes]
        return chosen

    def part(self, name: str, make: Make) -> dict[str, Any]:
        """A part of an earlier call, or made now and kept."""
        path = self._folder / "parts" / f"{name.replace(' ', '-')}.json"
        try:
            kept = read_json(path)
        except EvidenceError:
            pass
        else:
            self._progress.note(f"{name}: kept from an earlier call")
            return kept
        try:
            made = make()
        except WorkerError as error:
            raise HarnessError(f"{name}: {error}") from error
        path.parent.mkdir(exist_ok=True)
        write_json(path, made)
        return made

    # -- sessions --------------------------------------------------------------------------

    def _population(self, name: str) -> tuple[Population, Path]:
        folder, store = self._work / name, self._work / f"{name}-store"
        if not (folder / "population.json").is_file():
            made = make_population(
                name,
                folder,
                files=self._options.files,
                recorded=self._options.recorded,
                seed=self._options.seed,
            )
            build_store(made, store, self._settings)
        return load_population(folder), store

    def _job(self, name: str, mode: str, place: int) -> dict[str, Any]:
        population, store = self._population(name)
        is_plain = mode in ("plain", "control")
        operations = self._options.operations if is_plain else self._options.traced_operations
        trace = self._work / f"{name}-trace-{operations}-{place}"
        if not trace.is_dir():
            session = EditingSession(
                documents=len(population.documents),
                chunks_per_document=population.chunks_per_document,
                dimension=population.dimension,
                reads=operations,
            )
            lay_out(editing_session(self._options.seed + place, session), trace)
        own = self._work / f"{name}-{mode}-{place}"
        if mode != "control":
            copy_store(store, own)
        return {
            "population": str(population.folder),
            "store": str(own),
            "settings": self._settings,
            "trace": str(trace),
            "mode": mode,
            "control": mode == "control",
            "progress": str(self._work / f"{name}-{mode}-{place}.done"),
            "leak_bytes": self._options.leak_bytes if mode != "control" else 0,
        }

    def _session(self, name: str) -> dict[str, Any]:
        count = self._options.processes
        self._progress.stage(f"session {name}: {count} plain, {count} controls", 2 * count)
        processes, timelines = [], []
        for place in range(count):
            job = self._job(name, "plain", place)
            with Watch(Path(job["progress"]), interval_s=self._options.interval_s) as watch:
                done = run_worker(_SESSION, job, timeout_s=_TIMEOUT_S, on_start=watch.begin)
            self._progress.step()
            processes.append(_kept(done))
            timelines.append(_with_hours(watch.as_json(), Path(job["trace"])))
            shutil.rmtree(job["store"])
        jobs = [self._job(name, "control", place) for place in range(count)]
        controls = run_workers(
            _SESSION, jobs, at_once=2, timeout_s=_TIMEOUT_S, on_done=self._progress.step
        )
        population, _ = self._population(name)
        return {
            "population": {**population.facts(), "evidence": population.evidence},
            "processes": processes,
            "controls": [_kept(one) for one in controls],
            "timelines": timelines,
        }

    def _traced(self, name: str) -> dict[str, Any]:
        self._progress.stage(f"call sites {name}, under tracemalloc", 1)
        job = self._job(name, "traced", 0)
        done = run_worker(_SESSION, job, timeout_s=_TIMEOUT_S)
        self._progress.step()
        wanted = ("growth", "growth_operations", "by_module", "operations")
        return {one: done.facts[one] for one in wanted}

    def _memray(self, name: str) -> dict[str, Any]:
        self._progress.stage(f"allocations {name}, under memray", 2)
        job = self._job(name, "memray", 0)
        folder = self._folder / f"memray-{name}"
        folder.mkdir(exist_ok=True)
        recording = folder / "recording.bin"
        recording.unlink(missing_ok=True)
        done = run_worker(_SESSION, {**job, "recording": str(recording)}, timeout_s=_TIMEOUT_S)
        self._progress.step()
        written = write_reports(recording, folder)
        summary = summary_of(recording)
        recording.unlink()  # a hundred MB that its pages sum up
        self._progress.step()
        return {
            **summary,
            "tiers": done.facts["tiers"],
            "operations": done.facts["operations"],
            "files": [str(path.relative_to(self._folder)) for path in written],
        }

    # -- tiers and N -----------------------------------------------------------------------

    def _fillings(self, name: str) -> dict[str, Any]:
        population, store = self._population(name)
        jobs = [
            {
                "population": str(population.folder),
                "store": str(store),
                "settings": {**self._settings, **filling.settings_of(tier, budget)},
                "tier": tier,
                "budget": budget,
                "seed": self._options.seed + place,
            }
            for tier in ("hot", "warm")
            for budget in self._options.budgets
            for place in range(self._options.processes)
        ]
        self._progress.stage("tiers filled to several budgets", len(jobs))
        done = run_workers(
            _FILLING, jobs, at_once=2, timeout_s=_TIMEOUT_S, on_done=self._progress.step
        )
        return {"processes": [_kept(one) for one in done], "dimension": population.dimension}

    def _many(self, size: int) -> dict[str, Any]:
        count = self._options.processes + 1
        self._progress.stage(f"{size} synthetic vectors", 1 + count)
        store = self._work / f"many-{size}"
        job = {
            "store": str(store),
            # one path at each N: the scan, whose memory is the store's own
            "settings": {**self._settings, "search_index": "flat"},
            "vectors": size,
            "documents": min(50, size // (2 * many.CHUNKS)),
            "seed": self._options.seed,
        }
        made = run_worker(_MANY, {**job, "action": "make"}, timeout_s=_TIMEOUT_S)
        self._progress.step()
        found: list[Process] = []
        for place in range(count):
            use = {**job, "action": "use", "seed": self._options.seed + place}
            found.append(run_worker(_MANY, use, timeout_s=_TIMEOUT_S))
            self._progress.step()
        shutil.rmtree(store)
        return {
            "vectors": size,
            "processes": [_kept(one) for one in found],
            "rooms": made.facts["rooms"],
            "evidence": "synthetic",
            "distinct": min(size, many.POOL),
        }


def _kept(process: Process) -> dict[str, Any]:
    return {
        "added": process.values[0],
        "facts": dict(process.facts),
        "instruments": [name for name, is_on in process.instruments.items() if is_on],
    }


def _with_hours(samples: Sequence[Mapping[str, Any]], trace: Path) -> list[dict[str, Any]]:
    """Samples with the session's own clock, in hours, at the operations done."""
    times_ns = np.load(trace / "accesses.npy", mmap_mode="r")[:, 4]
    done = [min(one["operations"], len(times_ns)) for one in samples]
    hours = [float(times_ns[count - 1]) / 3.6e12 if count else 0.0 for count in done]
    return [{**one, "hours": hour} for one, hour in zip(samples, hours, strict=True)]
