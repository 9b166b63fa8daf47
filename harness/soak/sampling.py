"""What the resident process says of itself: memory by page type, descriptors, threads, latencies.

Beside its calls it times two references of its own, so that a machine that became slower is not
taken for a store that did: a piece of arithmetic, and an append with fdatasync.
"""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
import time
from typing import Any

import psutil

from harness.probes.memory import give_back_free_memory, page_types
from harness.soak.checks import SoakSubject
from harness.soak.latency import DISK, PROCESSOR
from harness.soak.layout import Lane
from harness.soak.life import Done

__all__ = ["Sampler"]

_KEPT_MAX = 512  # latencies of a kind between two samples
_WORK = bytes(32 * 1024)
_DISK_EVERY = 4  # writes


class Sampler:
    """Gathers latencies between samples; its own memory is bounded.

    Parameters
    ----------
    start
        The how-manieth start of this process on its store: no slope crosses a restart.
    """

    def __init__(self, subject: SoakSubject, lane: Lane, start: int) -> None:
        self._subject = subject
        self._start = start
        self._process = psutil.Process()
        self._latencies: dict[str, list[float]] = {}
        self._writes = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._scratch = os.open(lane.path / "scratch", flags, 0o644)

    def note(self, done: Done) -> None:
        """One operation ended; time the references beside it."""
        if not done.latency:
            return
        self._keep(done.latency, done.seconds)
        begin = time.perf_counter()
        hashlib.blake2b(_WORK).digest()
        self._keep(PROCESSOR, time.perf_counter() - begin)
        if done.latency == "write":
            self._writes += 1
            if self._writes % _DISK_EVERY == 0:
                begin = time.perf_counter()
                os.pwrite(self._scratch, _WORK[:4096], 0)
                os.fdatasync(self._scratch)
                self._keep(DISK, time.perf_counter() - begin)

    def _keep(self, kind: str, seconds: float) -> None:
        kept = self._latencies.setdefault(kind, [])
        if len(kept) < _KEPT_MAX:
            kept.append(seconds)

    def sample(self) -> dict[str, Any]:
        """Resources in bytes and numbers, lower quartiles in seconds; begins anew."""
        self._subject.wait_for_prefetch()
        gc.collect()
        give_back_free_memory()
        sizes = page_types()
        latencies = {
            kind: statistics.quantiles(kept, n=4, method="inclusive")[0]
            for kind, kept in self._latencies.items()
            if len(kept) > 1
        }
        self._latencies.clear()
        return {
            "process": self._start,
            "resources": {
                **{
                    name: float(sizes[name])
                    for name in ("anonymous", "shared memory", "clean file pages")
                },
                "descriptors": float(self._process.num_fds()),
                "threads": float(self._process.num_threads()),
            },
            "latencies": latencies,
        }
