"""What a run measures on: corpora cut and embedded, edits of them, larger populations."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fixtures.titan.emulator import Serving
from harness.errors import HarnessError, UsageError
from harness.measures.base import Sizes
from harness.measures.queries import DEBTS
from harness.measures.updates import SERVINGS
from harness.population import Population, load_population
from harness.worker import Task, WorkerError, run_tasks
from harness.workload.corpus import read_corpus

__all__ = ["CORPORA", "Prepared", "prepare"]

# SPEC section 2: "100 files" is both of these
CORPORA = {"files-1024": (22, Serving.TEXT_V2_2024), "files-1536": (15, Serving.TEXT_V1)}
_UPDATED = {Serving.TEXT_V2_2024: "files-1024", Serving.TEXT_V1: "files-1536"}
# Files and chunks of each for a larger population: the first that the folder has enough text for
_SHAPES = ((400, 25), (250, 40), (200, 50), (100, 100))
_MANY_CHUNKS = 25
_NEED_EDITS = {"query.latency", "query.throughput", "quality.search", "rollback.exact"}
_NEED_LARGER = {"query.latency", "quality.search"}


class _Progress(Protocol):
    def stage(self, name: str, steps: int) -> None: ...

    def step(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Prepared:
    """Populations by name, and folders of edits by the same names."""

    populations: dict[str, Population] = field(default_factory=dict)
    further: dict[str, Population] = field(default_factory=dict)
    edits: dict[str, Path] = field(default_factory=dict)
    updated: dict[str, Population] = field(default_factory=dict)


def prepare(
    work: Path,
    sizes: Sizes,
    gates: Collection[str],
    *,
    corpus: Path | None,
    seed: int,
    empty_body: bool,
    progress: _Progress,
    kept: Path | None = None,
) -> Prepared:
    """Make what these gates need, each part in a process of its own, two at a time.

    The two corpora go through real boto3 clients. Larger populations, edits and the serving that
    no corpus has are made without the HTTP layer, and say so.

    Parameters
    ----------
    kept
        Folder of what earlier runs of the same code have made, which is copied instead of being
        made again, and which gets the rest; None: everything is made anew.

    Raises
    ------
    UsageError
        Too few source files.
    HarnessError
        Something could not be embedded.
    """
    shapes = _shapes(sizes, gates, corpus)
    folders = {name: work / "populations" / name for name in (*CORPORA, *shapes)}
    job = {"corpus": None if corpus is None else str(corpus), "seed": seed, "files": sizes.files}
    fewest, saves = _saves(sizes, gates)
    tasks: list[Task] = []
    for name, (chunks, serving) in CORPORA.items():
        own = {**job, "chunks": chunks, "serving": str(serving)}
        embed = {**own, "empty_body": empty_body, "folder": str(folders[name])}
        tasks.append(("embedding", embed))
    for name, (files, chunks, serving) in shapes.items():
        own = {**job, "files": files, "chunks": chunks, "serving": str(serving)}
        # only some are updated; the others are read after at most so many updates
        own_saves = saves if serving not in _UPDATED or name == "many" else min(saves, fewest)
        both = {**own, "population": True, "edits": own_saves, "folder": str(folders[name])}
        tasks.append(("preparing", {**both, "many": name == "many"}))
    edited = _edited(gates, saves)
    for name in edited:
        chunks, serving = CORPORA[name]
        own = {**job, "chunks": chunks, "serving": str(serving)}
        only = {**own, "population": False, "edits": saves, "folder": str(work / "edits" / name)}
        tasks.append(("preparing", only))
    if kept is not None:
        tasks = [task for task in tasks if not _copied(kept / _digest(task), task)]
    progress.stage(f"embed {sizes.files} files through boto3, twice; more without", len(tasks))
    try:
        run_tasks(tasks, at_once=2, on_done=progress.step, timeout_s=1_800)
    except WorkerError as error:
        raise HarnessError(f"the corpora could not be embedded: {error}") from error
    if kept is not None:
        _keep(kept, tasks)
    loaded = {name: load_population(folder) for name, folder in folders.items()}
    edits = {name: work / "edits" / name for name in edited} | {
        name: folders[name] for name in shapes if saves
    }
    return Prepared(
        populations={name: loaded[name] for name in CORPORA},
        further={name: loaded[name] for name in shapes},
        edits=edits,
        updated=_updated(loaded) if "update.latency" in gates else {},
    )


def _digest(task: Task) -> str:
    """The same for tasks that make the same, wherever they put it."""
    measure, job = task
    told = json.dumps([measure, {**job, "folder": None}], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _copied(source: Path, task: Task) -> bool:
    """Put what an earlier run has made where this task would put it; False if there is none."""
    if not source.is_dir():
        return False
    shutil.copytree(source, task[1]["folder"])
    return True


def _keep(kept: Path, tasks: Sequence[Task]) -> None:
    kept.mkdir(exist_ok=True)
    for task in tasks:
        name = _digest(task)
        if (kept / name).exists():
            continue  # another task of this run made the same
        making = kept / f".{name}.new"
        shutil.rmtree(making, ignore_errors=True)
        shutil.copytree(task[1]["folder"], making)
        making.rename(kept / name)


def _saves(sizes: Sizes, gates: Collection[str]) -> tuple[int, int]:
    """Edits of what is only read after them, and of what is updated; 0 where none are needed."""
    fewest = max(DEBTS[-1], sizes.rollback_saves)
    if "update.latency" in gates:
        return fewest, max(fewest, sizes.updates)
    return fewest, fewest if _NEED_EDITS & set(gates) else 0


def _edited(gates: Collection[str], saves: int) -> list[str]:
    if not saves:
        return []
    return list(CORPORA) if "update.latency" in gates else ["files-1024"]


def _updated(loaded: Mapping[str, Population]) -> dict[str, Population]:
    return {
        name: loaded[_UPDATED.get(serving, f"files-{name}")] for name, serving in SERVINGS.items()
    }


def _shapes(
    sizes: Sizes, gates: Collection[str], corpus: Path | None
) -> dict[str, tuple[int, int, Serving]]:
    """Files, chunks and serving of each population beyond the corpora."""
    for chunks, _ in CORPORA.values():
        _check(corpus, sizes.files, chunks)
    found: dict[str, tuple[int, int, Serving]] = {}
    if "update.latency" in gates:
        for name, serving in SERVINGS.items():
            if serving not in _UPDATED:
                found[f"files-{name}"] = (sizes.files, CORPORA["files-1024"][0], serving)
    if _NEED_LARGER & set(gates):
        for size in sizes.search_sizes:
            if size != sizes.files * CORPORA["files-1024"][0]:
                files, chunks = _shape_of(corpus, size)
                found[f"files-{size}"] = (files, chunks, Serving.TEXT_V2_2024)
    if sizes.search_vectors_large and {*_NEED_LARGER, "update.latency"} & set(gates):
        documents = sizes.search_vectors_large // _MANY_CHUNKS
        found["many"] = (documents, _MANY_CHUNKS, Serving.TEXT_V2_2024)
    return found


def _shape_of(corpus: Path | None, size: int) -> tuple[int, int]:
    fitting = [shape for shape in _SHAPES if shape[0] * shape[1] == size] or [(size // 10, 10)]
    for files, chunks in fitting[:-1]:
        try:
            _check(corpus, files, chunks)
        except UsageError:
            continue
        return files, chunks
    _check(corpus, *fitting[-1])
    return fitting[-1]


def _check(corpus: Path | None, files: int, chunks: int) -> None:
    try:
        read_corpus(corpus, files=files, chunks_per_file=chunks)
    except (OSError, ValueError) as error:
        raise UsageError(f"source files: {error} (--corpus DIR)") from error
