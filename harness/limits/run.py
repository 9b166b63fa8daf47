"""One run of `harness limits`: a store is made, weighed and timed against the bare machine."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import load_recorded
from harness import environment
from harness.bounds import token_mean_bits
from harness.errors import HarnessError, UsageError
from harness.evidence import write_json
from harness.kept import point_latest
from harness.measures.replay import copy_store
from harness.memory.populations import synthetic_rows
from harness.population import Population, build_store
from harness.progress import Progress
from harness.scale.content import key_of
from harness.subjects.reference import effective_settings
from harness.worker import Task, WorkerError, run_tasks, run_worker

__all__ = ["LimitsOptions", "measure_limits"]

_PARTS = "harness.limits.parts"
_TIMEOUT_S = 1_800.0
_UNSYNCED = {"durability": "power_cut_may_lose_store"}
_DIMENSION, _CHUNKS = 1_536, 15  # as titan-embed-text-v1; of a document
_ROWS_MIN = 40  # fewer say little of a vector's bytes, and nothing of a dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsOptions:
    """What is asked for.

    Attributes
    ----------
    recorded
        Folder of recorded vectors; None: synthetic ones, labelled.
    files
        Documents of 15 vectors in the store that is timed.
    """

    reports: Path
    recorded: Path | None
    processes: int = 5
    files: int = 660
    decoded: int = 1_000
    turns: int = 25
    hot_turns: int = 1_000
    appends: int = 60
    catalog_keys: int = 40_000
    seed: int = 20_261_129
    command: tuple[str, ...] = ("harness", "limits")

    @classmethod
    def smoke(cls, reports: Path, **others: Any) -> LimitsOptions:
        """A second or two, of synthetic vectors."""
        small = {"processes": 1, "files": 20, "decoded": 100, "turns": 3, "hot_turns": 20}
        return cls(
            reports=reports, recorded=None, appends=3, catalog_keys=500, **{**small, **others}
        )


def measure_limits(options: LimitsOptions, progress: Progress) -> Path:
    """Measure everything; returns the folder of limits.json.

    Raises
    ------
    UsageError
        Recordings that are damaged, or a folder that cannot be written.
    HarnessError
        A worker failed, or the store answered wrongly.
    """
    environment.require_linux()
    code, machine = environment.code_of(environment.project_root()), environment.machine()
    settings, config_digest = effective_settings({})
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    folder = options.reports / "limits" / f"{stamp}-{code.content_digest[:8]}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"results cannot be kept in {options.reports}: {error}") from error
    before = environment.load_now().load
    try:
        # beside the results: fdatasync is to meet the disk that the reader chose
        with tempfile.TemporaryDirectory(prefix="work-", dir=folder) as named:
            weighed = _weigh(options, Path(named), settings, progress)
            population, processes = _time(options, Path(named), settings, progress)
    except BaseException as error:  # Ctrl-C as well: a folder without limits.json says nothing
        shutil.rmtree(folder)
        if isinstance(error, WorkerError):
            raise HarnessError(str(error)) from error
        raise
    write_json(
        folder / "limits.json",
        {
            "commit": code.commit,
            "content_digest": code.content_digest,
            "dirty": code.dirty,
            "config_digest": config_digest,
            "machine": {**machine, "id": environment.machine_id(machine)},
            "packages": environment.package_versions(),
            "load": [before, environment.load_now().load],
            "command": list(options.command),
            "population": {**population.facts(), "evidence": population.evidence},
            "bytes": weighed,
            "processes": processes,
        },
    )
    point_latest(folder)
    return folder


def _weigh(
    options: LimitsOptions, work: Path, settings: Mapping[str, object], progress: Progress
) -> list[dict[str, Any]]:
    """Bytes a vector, all in, and what its values' entropy demands."""
    sets = _sets(options)
    relaxed = {**settings, **_UNSYNCED}
    catalog = {
        "catalog_keys": options.catalog_keys,
        "settings": relaxed,
        "store": str(work / "catalog"),
    }
    tasks: list[Task] = [("saving", catalog)]
    for name, _, vectors, tokens in sets:
        np.save(work / f"{name}.npy", vectors)
        job = {
            "vectors": str(work / f"{name}.npy"),
            "store": str(work / f"store-{name}"),
            "settings": relaxed,
            "rivals": False,
            "token_count": tokens,
        }
        tasks.append(("saving", job))
    progress.stage("bytes a vector, and their entropy", len(tasks))
    per_key, *found = run_tasks(tasks, timeout_s=_TIMEOUT_S, on_done=progress.step)
    weighed = []
    for (name, evidence, vectors, tokens), process in zip(sets, found, strict=True):
        own = {
            "name": name,
            "evidence": evidence,
            "vectors": len(vectors),
            "dimension": vectors.shape[1],
            "bytes_per_vector": process.facts["record_bytes_per_vector"] + per_key.values[0],
            "catalog_bytes_per_key": per_key.values[0],
        }
        for kind in ("entropy_bound_bytes", "entropy_bound_per_dimension_bytes"):
            own[kind] = process.facts[kind]
        if tokens is not None:
            own["lattice_bytes"] = float(token_mean_bits(tokens).mean()) * vectors.shape[1] / 8
        weighed.append(own)
    return weighed


def _sets(options: LimitsOptions) -> list[tuple[str, str, Any, list[int] | None]]:
    """Name, evidence, vectors and token counts of what is weighed."""
    if options.recorded is None:
        count = min(500, 3 * options.files)
        return [
            (f"synthetic {dimension}", "synthetic", synthetic_rows(dimension, count, 1), None)
            for dimension in (_DIMENSION, 1_024)
        ]
    try:
        groups = load_recorded(options.recorded)
    except (OSError, ValueError) as error:
        raise UsageError(f"recorded vectors in {options.recorded}: {error}") from error
    found = []
    for group in groups:
        is_mean = group.serving is Serving.TEXT_V2
        tokens = group.token_count.tolist() if is_mean and group.token_count.min() > 0 else None
        if len(group.vectors) >= _ROWS_MIN:
            found.append((group.name, "recorded", group.vectors, tokens))
    return found


def _population(options: LimitsOptions, folder: Path) -> Population:
    """Vectors of text-v1, all different: where rows repeat, their values are turned round.

    Rows that are turned alike are as near each other as they were.
    """
    kept = [one for one in _sets(options) if one[2].shape[1] == _DIMENSION]
    if not kept:
        raise UsageError(
            f"{options.recorded} has no {_ROWS_MIN} vectors of {_DIMENSION} dimensions"
        )
    name, evidence, rows, _ = kept[0]
    count = options.files * _CHUNKS
    vectors = [np.roll(rows[n % len(rows)], n // len(rows)) for n in range(count)]
    folder.mkdir()
    np.save(folder / "vectors.npy", np.stack(vectors))
    digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
    population = Population(
        name="timed",
        folder=folder,
        model=name,
        dimension=_DIMENSION,
        documents=tuple(f"document {number}" for number in range(options.files)),
        chunks_per_document=_CHUNKS,
        keys=tuple(key_of(number) for number in range(count)),
        corpus=name,
        corpus_digest=digest,
        evidence=evidence,
        embedded=f"{len(rows)} {evidence} vectors, turned round where they repeat",
    )
    content = {**asdict(population), "folder": None}
    (folder / "population.json").write_text(json.dumps(content), encoding="utf-8")
    return population


def _time(
    options: LimitsOptions, work: Path, settings: Mapping[str, object], progress: Progress
) -> tuple[Population, list[dict[str, Any]]]:
    progress.stage("times against the bare machine", options.processes)
    population = _population(options, work / "population")
    store = work / "timed"
    build_store(population, store, {**settings, **_UNSYNCED})
    processes = []
    for place in range(options.processes):
        own = work / f"timed-{place}"
        copy_store(store, own)
        job = {
            "population": str(population.folder),
            "store": str(own),
            "settings": dict(settings),
            "decoded": options.decoded,
            "turns": options.turns,
            "hot_turns": options.hot_turns,
            "appends": options.appends,
            "seed": options.seed + place,
        }
        done = run_worker(_PARTS, job, timeout_s=_TIMEOUT_S)
        on = [name for name, is_on in done.instruments.items() if is_on]
        processes.append({**done.facts, "instruments": on})
        shutil.rmtree(own)
        progress.step()
    return population, processes
