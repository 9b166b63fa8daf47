"""A comparison in asv's own result files, so that `asv publish` draws its times.

Each side whose commit is known gets its times: one sample a round, the lower quartile of a fresh
process, in seconds a call. They lie beside asv's own results with `sampling` = "compare" among the
parameters of the environment, so that asv draws them as curves of their own: asv takes its
samples otherwise, and the two do not mix. An uncommitted state has no commit and is left out.
"""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from asv import util
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.machine import Machine, MachineCollection
from asv.results import Results, get_filename
from asv.runner import BenchmarkResult

from harness.compare.rawfile import read_rounds
from harness.compare.rounds import Round
from harness.evidence import read_json

__all__ = ["asv_results_folder", "write_asv_results"]

_CONFIG = "asv.conf.json"


def asv_results_folder(root: Path) -> Path | None:
    """Where the checkout's asv.conf.json wants results; None without one."""
    path = root / _CONFIG
    return root / str(Config.load(str(path)).results_dir) if path.is_file() else None


def write_asv_results(folder: Path, root: Path, results: Path) -> list[Path]:
    """Add the times of a comparison's folder to asv's results; the files written, one a commit.

    Earlier results of a commit stay, but for the benchmarks that are given anew. What is not
    comparable has no times that mean anything, and is left out. Without rounds nothing is
    written.
    """
    manifest = read_json(folder / "manifest.json")
    rounds = read_rounds(folder / "rounds.jsonl")
    failed = {name for one in rounds for name in one.failed}
    unfit = failed | manifest["incomparable"].keys()
    loops = {name: one for name, one in manifest["loops"].items() if name not in unfit}
    if manifest["machine"]["id"] != manifest["machine"]["id_after"]:
        return []
    if not any(name in one.samples for one in rounds for name in loops):
        return []
    manifest = {**manifest, "loops": loops}
    machine = _machine(results)
    _describe(results, manifest["described"])
    sides = [("base", 0)] if manifest["head"]["dirty"] else [("base", 0), ("head", 1)]
    if not manifest["head"]["dirty"] and manifest["is_aa"]:
        sides = sides[:1]  # one commit: one file
    return [
        _write_side(manifest, side, place, rounds, root, results, machine) for side, place in sides
    ]


def _machine(results: Path) -> dict[str, Any]:
    name = Machine.get_unique_machine_name()
    try:
        found: dict[str, Any] = MachineCollection.load(name)
    except util.UserError:
        found = Machine.get_defaults()
    path = results / found["machine"] / "machine.json"
    if not path.exists():
        util.write_json(str(path), found, Machine.api_version)
    return found


def _describe(results: Path, described: Mapping[str, Any]) -> None:
    """Make the benchmarks known to `asv publish`, beside those that asv found."""
    path = Path(Benchmarks.get_benchmark_file_path(str(results)))
    known = {}
    if path.exists():
        known = util.load_json(str(path), Benchmarks.api_version)
    util.write_json(str(path), {**known, **described}, Benchmarks.api_version)


def _write_side(
    manifest: Mapping[str, Any],
    side: str,
    place: int,
    rounds: Sequence[Round],
    root: Path,
    results: Path,
    machine: Mapping[str, Any],
) -> Path:
    commit = manifest[side]["commit"]
    python = ".".join(platform.python_version_tuple()[:2])
    params = {**machine, "python": python, "sampling": "compare"}
    params.pop("version", None)
    name = f"compare-py{python}"
    path = results / str(get_filename(params["machine"], commit, name))
    made = (
        Results.load(str(path))
        if path.exists()
        else Results(params, {}, commit, _date(root, commit), python, name, {})
    )
    started = datetime.datetime.fromisoformat(manifest["started"])
    for benchmark, described in manifest["described"].items():
        samples = _samples(manifest, benchmark, described, rounds, place)
        if any(samples):
            numbers = _by_product(manifest, benchmark, described, manifest["loops"])
            medians = [float(np.median(one)) if one else float("nan") for one in samples]
            made.add_result(
                described,
                BenchmarkResult(
                    result=medians,
                    samples=samples,
                    number=[number or 1 for number in numbers],
                    errcode=0,
                    stderr="",
                    profile=None,
                ),
                started_at=started,
                record_samples=True,
            )
    made.save(str(results))
    return path


def _date(root: Path, commit: str) -> int:
    """Milliseconds since 1970, as asv dates a commit."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%at", commit]
    done = subprocess.run(command, capture_output=True, check=True)
    return int(done.stdout) * 1000


def _by_product(
    manifest: Mapping[str, Any],
    benchmark: str,
    described: Mapping[str, Any],
    values: Mapping[str, Any],
) -> list[Any]:
    """Values by bench as a list over asv's product of parameters; None where there is none."""
    count = int(np.prod([len(one) for one in described["params"]], initial=1))
    found: list[Any] = [None] * count
    for name, bench in manifest["benchmarks"].items():
        if bench["benchmark"] == benchmark:
            found[bench["place"] or 0] = values.get(name)
    return found


def _samples(
    manifest: Mapping[str, Any],
    benchmark: str,
    described: Mapping[str, Any],
    rounds: Sequence[Round],
    place: int,
) -> list[list[float]]:
    quartiles = {
        name: [
            float(np.quantile(one.samples[name][place], 0.25)) * 1e-9 / loops
            for one in rounds
            if name in one.samples
        ]
        for name, loops in manifest["loops"].items()
    }
    return [one or [] for one in _by_product(manifest, benchmark, described, quartiles)]
