"""What this machine can and cannot measure."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from fixtures.titan.recorded import usual_folder
from harness.clock import timer_floor_s
from harness.environment import instruments, machine
from harness.measures.disk import drop_pages
from harness.probes.memory import page_types
from harness.probes.writes import why_not
from harness.procedures.runbook import PROGRAMS

__all__ = ["Finding", "diagnose"]

_FREE_BYTES = 2 * 10**9
_SLOW_SYNC_S = 5e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about the machine; "missing" means that a gate cannot be measured."""

    what: str
    state: Literal["good", "worse", "missing"]
    seen: str
    advice: str = ""


def diagnose() -> list[Finding]:
    """Look at everything the measures need; takes about a second."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _cores,
        _load,
        _proc,
        _clock,
        _disk,
        _page_cache,
        _blas,
        _recorded,
        _git,
        _tracing,
        _runbooks,
        _lancedb,
        _profilers,
    )
    return [check() for check in checks]


def _python() -> Finding:
    good = sys.version_info >= (3, 11) and sys.platform.startswith("linux")
    return Finding(
        what="Python on Linux",
        state="good" if good else "missing",
        seen=f"{sys.version.split()[0]} on {sys.platform}",
        advice="" if good else "the harness needs Python 3.11 or newer on Linux",
    )


def _cores() -> Finding:
    cores = os.cpu_count() or 1
    facts = machine()
    return Finding(
        what="processor",
        state="good" if cores > 1 else "worse",
        seen=f"{cores} cores, {facts['cpu_model']}",
        advice="" if cores > 1 else "with one core the prefetch thread has no time of its own",
    )


def _load() -> Finding:
    load = os.getloadavg()[0]
    busy = load > 0.5 * (os.cpu_count() or 1)
    return Finding(
        what="load",
        state="worse" if busy else "good",
        seen=f"{load:.2f}, {psutil.cpu_times().steal:.0f} s stolen since boot",
        advice="timings will scatter: expect INCONCLUSIVE; let the other work end" if busy else "",
    )


def _proc() -> Finding:
    try:
        page_types()
    except (OSError, KeyError) as error:
        return Finding(
            what="memory by page type",
            state="missing",
            seen=f"/proc/self/smaps_rollup: {error}",
            advice="memory.steady cannot be measured on this kernel",
        )
    return Finding(what="memory by page type", state="good", seen="/proc/self/smaps_rollup")


def _clock() -> Finding:
    floor = timer_floor_s()
    coarse = floor > 5e-7
    return Finding(
        what="clock",
        state="worse" if coarse else "good",
        seen=f"{floor * 1e9:.0f} ns between two readings",
        advice="single calls below 1 µs cannot be told apart" if coarse else "",
    )


def _disk() -> Finding:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "probe"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            times = []
            for _ in range(20):
                os.write(descriptor, bytes(4096))
                begin = time.perf_counter()
                os.fdatasync(descriptor)
                times.append(time.perf_counter() - begin)
        finally:
            os.close(descriptor)
        free = shutil.disk_usage(folder).free
    sync = sorted(times)[10]
    if free < _FREE_BYTES:
        return Finding(
            what="disk",
            state="missing",
            seen=f"{free / 1e9:.1f} GB free",
            advice=f"a run needs {_FREE_BYTES / 1e9:.0f} GB in the reports folder",
        )
    return Finding(
        what="disk",
        state="worse" if sync > _SLOW_SYNC_S else "good",
        seen=f"{free / 1e9:.0f} GB free, fdatasync {sync * 1e3:.2f} ms",
        advice="durable writes will be slow: it is this disk" if sync > _SLOW_SYNC_S else "",
    )


def _page_cache() -> Finding:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "probe"
        path.write_bytes(os.urandom(4_000_000))
        drop_pages(Path(folder))
        before = psutil.Process().io_counters().read_bytes
        path.read_bytes()
        dropped = psutil.Process().io_counters().read_bytes - before
    works = dropped >= 3_000_000
    return Finding(
        what="dropping cached pages",
        state="good" if works else "worse",
        seen=f"{dropped / 1e6:.1f} of 4.0 MB were read from the disk again",
        advice=""
        if works
        else "rows with dropped pages measure the page cache on this file system",
    )


def _blas() -> Finding:
    slow = instruments()["slow_blas"]
    return Finding(
        what="numpy's kernels",
        state="worse" if slow else "good",
        seen="OPENBLAS_CORETYPE or OPENBLAS_L2_SIZE is set" if slow else "not overridden",
        advice="workers run without them" if slow else "",
    )


def _recorded() -> Finding:
    folder = usual_folder()
    return Finding(
        what="recorded vectors",
        state="good" if folder else "worse",
        seen="found" if folder else "none in ../shared/data/titan",
        advice="" if folder else "compression.saving stays NOT RUN without --recorded DIR",
    )


def _tracing() -> Finding:
    reason = why_not()
    return Finding(
        what="killing a child before each write call",
        state="missing" if reason else "good",
        seen=reason or "ptrace works",
        advice="rollback.exact cannot be measured; containers: --cap-add SYS_PTRACE"
        if reason
        else "",
    )


def _runbooks() -> Finding:
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return Finding(
        what="programs of the runbooks",
        state="missing" if absent else "good",
        seen=f"{', '.join(absent)} not installed" if absent else ", ".join(PROGRAMS),
        advice="ops.ready fails: its pages in docs/operations use them" if absent else "",
    )


def _lancedb() -> Finding:
    found = importlib.util.find_spec("lancedb") is not None
    return Finding(
        what="LanceDB",
        state="good" if found else "worse",
        seen="found" if found else "not installed",
        advice="" if found else "rows that ask for LanceDB, and its figures beside, are INVALID",
    )


def _profilers() -> Finding:
    absent = [name for name in ("memray", "py_spy") if not _is_installed(name)]
    return Finding(
        what="profilers",
        state="worse" if absent else "good",
        seen=f"{' and '.join(absent)} not installed" if absent else "memray, py-spy",
        advice="harness memory, harness hotpaths: install the extra `harness`" if absent else "",
    )


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _git() -> Finding:
    found = shutil.which("git")
    return Finding(
        what="git",
        state="good" if found else "worse",
        seen="found" if found else "not found",
        advice="" if found else "runs cannot be tied to a commit",
    )
