"""Stores of more and more vectors, one after the other: made, measured, dropped.

Only one store is on the disk at a time, and what was measured at a size is kept as soon as it is
whole: an interrupted call goes on with the size it was at.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.kept import alone_in, name_of, point_latest
from harness.progress import Progress
from harness.scale.content import POOL, documents_of
from harness.subjects.reference import effective_settings
from harness.worker import WorkerError, run_worker

__all__ = ["BYTES_A_VALUE", "ScaleOptions", "disk_wanted", "measure_scale", "sizes_up_to"]

_ACTIONS = "harness.scale.actions"
_SLICE = 1_000  # documents that one process makes
_TIMEOUT_S = 6 * 3_600.0
_SIZE_MIN = 300  # some documents beside those that are updated
BYTES_A_VALUE = 1.8  # of a stored vector, catalog and all; a test holds it against a real store
_BESIDE_BYTES = 10**9  # segments that compaction has copied and not yet removed, catalog, log
_MOST_OF_DISK = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """What is asked for.

    Attributes
    ----------
    sizes
        Numbers of vectors, rising.
    dimension
        1536, as titan-embed-text-v1; another one for the smoke size.
    processes
        That read, and that use, each store; the first open, the walk and the compaction are of
        one process each, since their times are long.
    is_smoke
        A size in one process: seconds instead of minutes; its memory is not a fresh process's.
    """

    reports: Path
    sizes: tuple[int, ...]
    dimension: int = 1_536
    processes: int = 3
    gets: int = 10_000
    searches: int = 10
    updates: int = 200
    is_smoke: bool = False
    seed: int = 20_261_129
    command: tuple[str, ...] = ("harness", "scale")

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or min(self.sizes) < _SIZE_MIN:
            raise UsageError(f"sizes {self.sizes}: at least three, of at least {_SIZE_MIN} vectors")
        if list(self.sizes) != sorted(set(self.sizes)):
            raise UsageError(f"sizes {self.sizes} do not rise")
        if self.processes < 1 or min(self.gets // 4, self.searches, self.updates) < 1:
            raise UsageError("at least one process, 4 gets, one search and one update")

    @classmethod
    def smoke(cls, reports: Path, **others: Any) -> ScaleOptions:
        """10^3 to 10^4 short vectors, seconds."""
        return cls(
            reports=reports,
            sizes=(1_000, 3_000, 10_000),
            dimension=32,
            processes=1,
            gets=1_000,
            searches=2,
            updates=10,
            is_smoke=True,
            **others,
        )


def sizes_up_to(largest: int) -> tuple[int, ...]:
    """Two sizes a decade from 1 000 on, and the largest."""
    steps = [round(base * 10**power) for power in range(3, 9) for base in (1.0, 3.2)]
    return (*(size for size in steps if 1.5 * size < largest), largest)


def disk_wanted(options: ScaleOptions) -> int:
    """Bytes that must be free: of the largest store, since each is dropped before the next."""
    store = int(max(options.sizes) * options.dimension * BYTES_A_VALUE)
    return store + min(store, _BESIDE_BYTES)


def _require_disk(options: ScaleOptions) -> None:
    wanted, free = disk_wanted(options), shutil.disk_usage(options.reports).free
    if wanted > _MOST_OF_DISK * free:
        raise UsageError(
            f"{max(options.sizes)} vectors need {wanted / 1e9:.1f} GB in {options.reports}, where "
            f"{free / 1e9:.1f} GB are free and a tenth stays so: take a smaller --max, or "
            "--reports on another disk"
        )


def measure_scale(options: ScaleOptions, progress: Progress, *, is_fresh: bool = False) -> Path:
    """Measure each size that an interrupted call with the same options has not measured.

    Returns
    -------
    Path
        The folder with scale.json: facts, and what was found at each size.

    Raises
    ------
    UsageError
        A folder that cannot be written, too little disk, or another call at work.
    HarnessError
        A worker failed, or the store answered wrongly.
    """
    environment.require_linux()
    code, machine = environment.code_of(environment.project_root()), environment.machine()
    settings, config_digest = effective_settings({}, search_index="flat")
    facts = {
        "commit": code.commit,
        "content_digest": code.content_digest,
        "dirty": code.dirty,
        "config_digest": config_digest,
        "machine": {**machine, "id": environment.machine_id(machine)},
        "options": _asked(options),
        "packages": environment.package_versions(),
    }
    folder = options.reports / "scale" / name_of(facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"results cannot be kept in {options.reports}: {error}") from error
    _require_disk(options)
    with alone_in(folder, "scale"):
        if is_fresh:
            shutil.rmtree(folder / "parts", ignore_errors=True)
        (folder / "parts").mkdir(exist_ok=True)
        sizes = [_size(options, size, folder, settings, progress) for size in options.sizes]
    write_json(folder / "scale.json", {**facts, "command": list(options.command), "sizes": sizes})
    point_latest(folder)
    return folder


def _asked(options: ScaleOptions) -> dict[str, Any]:
    """What decides a result; not the sizes: more of them go on with what is there."""
    left_out = ("reports", "command", "sizes")
    return {name: value for name, value in asdict(options).items() if name not in left_out}


def _size(
    options: ScaleOptions,
    size: int,
    folder: Path,
    settings: Mapping[str, object],
    progress: Progress,
) -> dict[str, Any]:
    """What is found at one size; kept from an earlier call, or measured now and kept."""
    path = folder / "parts" / f"{size}.json"
    try:
        kept = read_json(path)
    except EvidenceError:
        pass
    else:
        progress.note(f"{size} vectors: kept from an earlier call")
        return kept
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    jobs = _jobs(options, size, store, settings)
    progress.stage(f"{size} vectors", len(jobs))
    processes: list[dict[str, Any]] = []
    before = environment.load_now().load
    try:
        for job in jobs:
            done = run_worker(_ACTIONS, job, timeout_s=_TIMEOUT_S)
            on = [name for name, is_on in done.instruments.items() if is_on]
            processes.append({"actions": job["actions"], "instruments": on, **done.facts})
            progress.step()
    except WorkerError as error:
        raise HarnessError(f"{size} vectors: {error}") from error
    finally:
        shutil.rmtree(store, ignore_errors=True)
    found = {
        "vectors": size,
        "distinct": min(size, 4 * options.dimension * POOL),
        "evidence": "synthetic",
        "load": [before, environment.load_now().load],
        "processes": processes,
    }
    write_json(path, found)
    return found


def _jobs(
    options: ScaleOptions, size: int, store: Path, settings: Mapping[str, object]
) -> Sequence[dict[str, Any]]:
    """The processes of one size, in order."""
    job: dict[str, Any] = {
        "store": str(store),
        "settings": dict(settings),
        "vectors": size,
        "dimension": options.dimension,
        "content_seed": options.seed,
        "seed": options.seed,
        "gets": options.gets,
        "searches": options.searches,
        "updates": options.updates,
    }
    documents = len(documents_of(size))
    if options.is_smoke:
        actions = ["make", "read", "use", "begin", "check", "delete", "compact"]
        return [{**job, "actions": actions, "first": 0, "last": documents}]
    slices = range(0, documents, _SLICE)
    making = [{"actions": ["make"], "first": at, "last": at + _SLICE} for at in slices]
    using = [
        {"actions": [action], "seed": options.seed + 1 + place}
        for action in ("read", "use")
        for place in range(options.processes)
    ]
    keeping = [{"actions": [action]} for action in ("begin", "check", "delete", "compact")]
    every: list[dict[str, Any]] = [*making, *using, *keeping]
    return [{**job, **changed} for changed in every]
