"""startup.time: from the exec of a fresh interpreter to the first vector returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.environment import instruments
from harness.measurement import Measurement, Process
from harness.measures.base import Context
from harness.measures.disk import drop_pages
from harness.measures.replay import copy_store
from harness.population import Population
from harness.subjects.reference import STARTUP_PROGRAM, ReferenceSubject
from harness.worker import WorkerError

__all__ = ["measure"]

_MODULES = ("titanstore", "numpy", "lmdb", "zstandard", "crc32c")
_LARGE_BATCH = 10_000


def measure(context: Context) -> list[Measurement]:
    """Warm and cold at 100 files; at 1 000 000 vectors where the profile measures it."""
    name, population = next(iter(context.populations.items()))
    found = [
        _measured(context, "files", population, context.stores[name], cold=cold)
        for cold in (False, True)
    ]
    if context.sizes.large_vectors:
        path = context.work / "large"
        _build_large(path, population, context.settings, context.sizes.large_vectors)
        found += [
            _measured(context, "million", population, path, cold=cold) for cold in (False, True)
        ]
    return found


def _measured(
    context: Context, name: str, population: Population, store: Path, *, cold: bool
) -> Measurement:
    def take() -> dict[str, Any]:
        path = store
        if cold and name == "files":
            path = context.work / f"startup-{name}-cold"
            copy_store(store, path)
        rng = np.random.default_rng(context.seed)
        processes = []
        for _ in range(context.sizes.starts):
            key = population.keys[int(rng.integers(len(population.keys)))]
            processes.append(_start(path, key, context.settings, cold=cold))
            context.step()
        opened = [process.facts["open_s"] for process in processes]
        return {
            "processes": processes,
            "context": {
                "slowest_s": max(process.values[0] for process in processes),
                "open_s": {"median": float(np.median(opened)), "max": max(opened)},
                "store_vectors": processes[0].facts["vectors"],
                "dropped": (
                    "pages of the store and of its modules that no other process maps"
                    if cold
                    else "nothing"
                ),
            },
        }

    wanted = "cold" if cold else "warm"
    facts = population.facts()
    if name != "files":  # that store holds the corpus' vectors many times over, and no files
        facts = {name: facts[name] for name in ("dimension", "model")}
        facts["vectors"] = context.sizes.large_vectors
    return context.measured(
        f"startup.time-{name}-{wanted}",
        unit="s",
        evidence=population.evidence,
        population={**facts, "page cache": wanted},
        take=take,
    )


def _start(store: Path, key: str, settings: Mapping[str, object], *, cold: bool) -> Process:
    """One fresh interpreter; both ends of the interval are read from CLOCK_MONOTONIC."""
    if cold:
        drop_pages(store)
        for module in _MODULES:
            folder = Path(sysconfig.get_paths()["platlib"]) / module
            if folder.is_dir():
                drop_pages(folder)
    command = [sys.executable, "-c", STARTUP_PROGRAM, os.fspath(store), key, json.dumps(settings)]
    begin = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
        answer = json.loads(done.stdout)
        return Process(
            values=[answer["first_vector"] - begin],
            instruments=instruments(),
            facts={name: answer[name] for name in ("open_s", "import_s", "vectors")},
        )
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip()[-300:]
        raise WorkerError(f"startup: {words}") from error
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise WorkerError(f"startup: {error!r}") from error


def _build_large(
    path: Path, population: Population, settings: Mapping[str, object], count: int
) -> None:
    """A store of `count` keys: the corpus, and its vectors in turn under other keys.

    Only times and the store's own memory are measured on it, never sizes.
    """
    if path.exists():
        return
    subject = ReferenceSubject(path, {**settings, "durability": "power_cut_may_lose_store"})
    vectors = np.asarray(population.vectors())
    subject.put_many(population.keys, vectors)
    done = len(population.keys)
    while done < count:
        size = min(_LARGE_BATCH, count - done)
        rows = np.arange(done, done + size) % len(vectors)
        subject.put_many([f"{number:032x}" for number in range(done, done + size)], vectors[rows])
        done += size
    subject.close()
