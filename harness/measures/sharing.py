"""sharing.zero_copy: readers of one hot set, what each get copies, and what a killed one leaves.

A get copies nothing if the row that it hands out lies in memory that is mapped shared: there is one
such page for all processes, which the sum of their proportional shares shows beside it.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.measurement import Measurement, Process
from harness.measures.base import Context
from harness.population import Population, load_population
from harness.probes.memory import page_types
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject
from harness.worker import WorkerError

__all__ = ["measure", "sample"]

_READERS = (1, 2, 4, 8)  # the row's population in targets.toml
_SET_SHARE = 0.6  # of the hot tier: also with what prefetching adds, all of it stays
_ROW_OVERHEAD_BYTES = 1_000
_PASSES = 4  # before the reads that count: another reader may have decoded a row at the same time
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")
_GROWTH_MAX = 1.1  # of the shared pages of all readers, from one to eight
_KILLS = 5
_PATIENCE_S = 300.0

# What is killed: a process that reads the set again and again. Says so when it has read it once.
_VICTIM = """
import json, sys
from harness.subjects.reference import ReferenceSubject
path, settings, keys = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split()
subject = ReferenceSubject(path, settings, read_only=True)
while True:
    for key in keys:
        subject.get(key)
    print("read", flush=True)
"""


def measure(context: Context) -> list[Measurement]:
    """One measurement: every reader of every number of readers."""
    population = context.populations["files-1024"]
    documents = _documents(context.settings, population)
    job = {
        "population": str(population.folder),
        "store": str(context.stores[population.name]),
        "settings": dict(context.settings),
        "rows": documents * population.chunks_per_document,
    }

    def take() -> dict[str, Any]:
        processes: list[Process] = []
        shared: dict[str, float] = {}
        for readers in _READERS:
            meeting = context.work / f"sharing-{readers}"
            meeting.mkdir()
            jobs = [
                {**job, "meeting": str(meeting), "readers": readers, "place": place}
                for place in range(readers)
            ]
            found = context.workers("sharing", jobs, at_once=readers)
            shared[str(readers)] = sum(one.facts["shared_memory"] for one in found)
            processes += found
        fewest, most = shared[str(_READERS[0])], shared[str(_READERS[-1])]
        if not most <= _GROWTH_MAX * fewest:
            raise WorkerError(f"sharing: shared pages grow with the readers: {shared}")
        killed = context.workers("sharing", [{**job, "kills": _KILLS}])
        return {"processes": [*processes, *killed], "context": _shown(processes, killed[0], shared)}

    return [
        context.measured(
            "sharing.zero_copy",
            unit="B",
            evidence=population.evidence,
            population={
                **population.facts(),
                "readers": ", ".join(map(str, _READERS)),
                "rows of the hot set": job["rows"],
                "readers killed": _KILLS,
            },
            take=take,
        )
    ]


def _documents(settings: Mapping[str, object], population: Population) -> int:
    """Whole documents: prefetching brings in no more than what is read."""
    limits = (settings["hot_bytes_max"], settings["memory_bytes_max"])
    tier = min(limit for limit in limits if isinstance(limit, int))
    document = population.chunks_per_document * (4 * population.dimension + _ROW_OVERHEAD_BYTES)
    return max(1, min(int(_SET_SHARE * tier) // document, len(population.documents)))


def _shown(
    processes: Sequence[Process], killed: Process, shared: Mapping[str, float]
) -> dict[str, Any]:
    anonymous = [one.facts["anonymous_added"] for one in processes]
    return {
        "shared_pages_of_all_readers": shared,
        "anonymous_added_by_a_reader": {"mean": float(np.mean(anonymous)), "most": max(anonymous)},
        "rows_decoded_by_readers_that_count": sum(one.facts["decoded"] for one in processes),
        "killed_readers": killed.facts["kills"],
        "slabs_left_by_killed_readers": killed.facts["slabs_left"],
    }


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: bytes that each get copied; or bytes that killed readers left."""
    population = load_population(Path(job["population"]))
    keys = population.keys[: job["rows"]]
    if "kills" in job:
        return _kill_readers(job, keys)
    return _read(job, keys, population.vectors())


def _read(job: Mapping[str, Any], keys: Sequence[str], vectors: Vectors) -> dict[str, Any]:
    subject = ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
    subject.get(keys[0])
    subject.wait_for_prefetch()
    before = page_types()
    for _ in range(_PASSES):
        for key in keys:
            subject.get(key)
        subject.wait_for_prefetch()
        gc.collect()
    _meet(job, "read")
    decoded = _decoded(subject)
    rows = [subject.get(key) for key in keys]
    decoded = _decoded(subject) - decoded
    shared = _shared_mappings()
    values = [0.0 if _lies_in(row, shared) else float(row.nbytes) for row in rows]
    for place, row in enumerate(rows):
        if row.tobytes() != vectors[place].tobytes():
            raise AssertionError(f"key {keys[place]} has another vector")
    del rows, row
    gc.collect()
    anonymous, shared_pages = page_types()["anonymous"], _shared_pages()
    _meet(job, "measured")
    facts = {
        "readers": job["readers"],
        "shared_memory": shared_pages,
        "anonymous_added": anonymous - before["anonymous"],
        "decoded": decoded,
    }
    subject.close()
    return {"values": values, "facts": facts}


def _decoded(subject: ReferenceSubject) -> int:
    counters = subject.counters()
    return counters["warm_hits"] + counters["cold_hits"] + counters["prefetched_rows"]


def _meet(job: Mapping[str, Any], what: str) -> None:
    """Wait until all readers have come as far."""
    meeting = Path(job["meeting"])
    (meeting / f"{what}-{job['place']}").touch()
    end = time.monotonic() + _PATIENCE_S
    while len(list(meeting.glob(f"{what}-*"))) < job["readers"]:
        if time.monotonic() > end:
            raise TimeoutError(f"not all readers have {what}")
        time.sleep(0.01)


def _shared_mappings() -> list[range]:
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions = line.split()[:2]
        if permissions.endswith("s"):
            low, high = addresses.split("-")
            found.append(range(int(low, 16), int(high, 16)))
    return found


def _shared_pages() -> int:
    """Bytes of shared memory by this process's share of it.

    Without the figures that each process publishes of itself (setting `publish`): two pages, which
    hold no rows.
    """
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if _MAPPING.match(line):
            is_figures = f"/titanstore-{os.geteuid()}/" in line
            counts = ("/memfd:" in line or "/dev/shm/" in line) and not is_figures  # noqa: S108
        elif counts and line.startswith("Pss:"):
            total += 1024 * int(line.split()[1])
    return total


def _lies_in(row: Vectors, mappings: Sequence[range]) -> bool:
    first = row.ctypes.data
    return any(first in one and first + row.nbytes - 1 in one for one in mappings)


def _kill_readers(job: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Kill readers at any moment of their reading; what only they had must be gone."""
    rng = np.random.default_rng()
    left = 0
    for _ in range(job["kills"]):
        victim = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _VICTIM,
                job["store"],
                json.dumps(job["settings"]),
                " ".join(keys),
            ],
            stdout=subprocess.PIPE,
        )
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.01)))
        mapped = _shared_memory_of(victim.pid)
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
        others = [entry.name for entry in Path("/proc").glob("[0-9]*")]
        left += len(mapped & set().union(*map(_shared_memory_of, others)))
        subject = ReferenceSubject(Path(job["store"]), job["settings"], read_only=True)
        for key in keys:
            subject.get(key)
        subject.close()
    return {
        "values": [float(left)],
        "facts": {"kills": job["kills"], "slabs_left": left},
    }


def _shared_memory_of(pid: int | str) -> set[str]:
    """Device and inode of the shared memory that a process maps; of none that has ended."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    fields = [line.split(maxsplit=5) for line in lines if "/memfd:" in line or "/dev/shm/" in line]  # noqa: S108
    return {f"{one[3]} {one[4]}" for one in fields}
