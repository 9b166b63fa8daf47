"""Each path followed twice: plain for its time, then under a sampler for where the time goes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import HarnessError, UsageError
from harness.evidence import write_json
from harness.hotpaths.paths import PATHS, SETTINGS
from harness.hotpaths.stacks import narrow, read_stacks
from harness.kept import point_latest
from harness.measures.replay import copy_store
from harness.memory.populations import make_population
from harness.population import build_store
from harness.progress import Progress
from harness.subjects.reference import effective_settings
from harness.worker import WorkerError, run_worker

__all__ = ["HotOptions", "profile_paths", "sampler"]

_PATHS_MODULE = "harness.hotpaths.paths"
_BELOW = "follow ("
_BESIDE = ("titanstore",)  # the prefetch thread
_SHAPES = {1024: "files-1024", 1536: "files-1536"}
_STARTING_S = 60.0
_CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # as harness.worker


@dataclass(frozen=True, slots=True, kw_only=True)
class HotOptions:
    """What is asked for.

    Attributes
    ----------
    seconds
        Of each run of a path, plain and sampled.
    rate
        Samples a second.
    native
        Follow the stack into C too: slower, and needs symbols.
    """

    reports: Path
    recorded: Path | None
    only: tuple[str, ...] = tuple(PATHS)
    seconds: float = 6.0
    rate: int = 250
    dimension: int = 1024
    files: int = 100
    native: bool = False
    seed: int = 20_261_128
    command: tuple[str, ...] = ("harness", "hotpaths")

    def __post_init__(self) -> None:
        unknown = sorted(set(self.only) - PATHS.keys())
        if unknown or not self.only:
            raise UsageError(f"no path {', '.join(unknown)}; there are {', '.join(PATHS)}")


def sampler() -> Path:
    """py-spy's program.

    Raises
    ------
    UsageError
        It is not installed.
    """
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        raise UsageError("py-spy is not installed; it is in the extra `harness`")
    return Path(found)


def profile_paths(options: HotOptions, progress: Progress) -> Path:
    """Profile every path that is asked for; returns the folder of hotpaths.json and stacks.

    Raises
    ------
    UsageError
        No sampler, or a folder that cannot be written.
    HarnessError
        A path failed, or the kernel lets nobody look into it.
    """
    environment.require_linux()
    program = sampler()
    code, machine = environment.code_of(environment.project_root()), environment.machine()
    settings, _ = effective_settings({})
    folder = options.reports / "hotpaths" / f"{code.content_digest[:12]}-{options.dimension}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"a profile cannot be kept in {options.reports}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="harness-hotpaths-") as named:
        work = Path(named)
        progress.stage(f"store of {options.files} files", 1)
        population = make_population(
            _SHAPES[options.dimension],
            work / "population",
            files=options.files,
            recorded=options.recorded,
            seed=options.seed,
        )
        store = work / "store"
        build_store(population, store, settings)
        progress.step()
        found = {}
        for path in options.only:
            progress.stage(f"{path}: plain, then sampled", 2)
            job = {
                "population": str(population.folder),
                "path": path,
                "settings": {**settings, **SETTINGS.get(path, {})},
                "seconds": options.seconds,
                "seed": options.seed,
            }
            found[path] = _profile(job, store, work, folder, options, program, progress)
    write_json(
        folder / "hotpaths.json",
        {
            "commit": code.commit,
            "content_digest": code.content_digest,
            "dirty": code.dirty,
            "machine": {**machine, "id": environment.machine_id(machine)},
            "population": {**population.facts(), "evidence": population.evidence},
            "rate": options.rate,
            "seconds": options.seconds,
            "native": options.native,
            "command": list(options.command),
            "paths": found,
        },
    )
    point_latest(folder)
    return folder


def _profile(
    job: dict[str, Any],
    store: Path,
    work: Path,
    folder: Path,
    options: HotOptions,
    program: Path,
    progress: Progress,
) -> dict[str, Any]:
    path = job["path"]
    own = work / f"{path}-plain"
    copy_store(store, own)
    try:
        plain = run_worker(_PATHS_MODULE, {**job, "store": str(own)})
    except WorkerError as error:
        raise HarnessError(f"{path}: {error}") from error
    finally:
        shutil.rmtree(own)
    progress.step()
    own = work / f"{path}-sampled"
    copy_store(store, own)
    stacks = _sample({**job, "store": str(own)}, work, options, program)
    shutil.rmtree(own)
    progress.step()
    narrowed = narrow(stacks, _BELOW, _BESIDE)
    if not narrowed:
        raise HarnessError(f"{path}: the sampler saw {sum(stacks.values())} stacks, none of it")
    lines = (f"{';'.join(stack)} {count}\n" for stack, count in sorted(narrowed.items()))
    (folder / f"{path}.stacks").write_text("".join(lines), encoding="utf-8")
    return {
        "what": PATHS[path],
        "call_s": plain.values[0],
        "calls": plain.facts["calls"],
        "instruments": [name for name, is_on in plain.instruments.items() if is_on],
        "samples": sum(narrowed.values()),
        "stacks": f"{path}.stacks",
    }


def _sample(
    job: Mapping[str, Any], work: Path, options: HotOptions, program: Path
) -> Mapping[tuple[str, ...], int]:
    """Stacks of one process; py-spy starts it, for a parent may look where others may not."""
    asked, seen = work / "job.json", work / "stacks"
    asked.write_text(json.dumps(job))
    native = ["--native"] if options.native else []
    command: Sequence[str] = [
        *(str(program), "record", "--format", "raw", "--output", str(seen)),
        *("--rate", str(options.rate), "--function", "--threads", *native),
        *("--", sys.executable, "-m", _PATHS_MODULE, str(asked)),
    ]
    environment_ = {name: v for name, v in os.environ.items() if name not in _CLEARED}
    root = str(environment.project_root())
    environment_["PYTHONPATH"] = os.pathsep.join(
        [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment_,
        start_new_session=True,
    )
    try:
        _, words = process.communicate(timeout=_STARTING_S + 10 * options.seconds)
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{job['path']}: the sampler did not come to an end") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    told = words.decode(errors="replace").strip()
    if process.returncode or not seen.is_file():
        raise HarnessError(f"{job['path']}: py-spy: {(told or 'it said nothing')[-300:]}")
    try:
        return read_stacks(seen.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HarnessError(f"{job['path']}: py-spy: {error}") from error
    finally:
        seen.unlink(missing_ok=True)
