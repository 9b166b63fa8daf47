"""`titanstore top`: readings on a terminal, again and again, or once, or as JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from titanstore.config import StoreConfig
from titanstore.figures.latencies import bound_ns
from titanstore.monitor.page import View, clock_time, page
from titanstore.monitor.reading import Process, Reading, Work, take_reading, work_since

WINDOW_S = 10.0  # of rates, hit ratios and latencies, while it runs
_HEADINGS = ("STORE", "PROCESSES", "TIERS", "LATENCY", "MEMORY")


class Window:
    """Readings of the last seconds, the newest compared with the oldest."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: deque[Reading] = deque()

    def add(self, reading: Reading) -> View:
        """The view that a new reading gives, beside those before it."""
        while len(self._kept) > 1 and reading.taken_s - self._kept[1].taken_s >= self._seconds:
            self._kept.popleft()
        self._kept.append(reading)
        oldest = self._kept[0]
        seconds = reading.taken_s - oldest.taken_s
        if oldest is reading:
            return whole_view(reading, time.time())
        before = {each.name: each for each in oldest.processes}
        work = {
            each.name: _work(before.get(each.name), each, seconds) for each in reading.processes
        }
        return View(reading=reading, work=work, span=f"in the last {seconds:.0f} s")


def whole_view(reading: Reading, now_s: float) -> View:
    """What each process did since it opened the store; `now_s` is Unix time."""
    work = {
        each.name: _work(None, each, now_s - each.figures.opened_s if each.figures else None)
        for each in reading.processes
    }
    return View(reading=reading, work=work, span="since each opened the store")


def _work(before: Process | None, now: Process, seconds: float | None) -> Work | None:
    if now.figures is None:
        return None
    old = None if before is None else before.figures
    return work_since(old, now.figures, seconds if seconds and seconds > 0 else None)


def watch(path: Path, config: StoreConfig, interval_s: float) -> None:
    """Paint readings on the terminal until the user interrupts.

    Raises
    ------
    ImportError
        rich is not installed.
    StoreError
        As `take_reading`.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    window = Window(WINDOW_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                begun = time.monotonic()
                view = window.add(take_reading(path, config, time.monotonic))
                title = f"{path}  {clock_time(time.time())}  every {interval_s:g} s, Ctrl-C ends"
                lines = page(view, title, console.width)[: console.height]
                live.update(_styled(lines, Text), refresh=True)
                time.sleep(max(0.05, interval_s - (time.monotonic() - begun)))
        except KeyboardInterrupt:
            return


def _styled(lines: Iterable[str], make: Callable[..., Any]) -> Any:
    text = make(no_wrap=True, overflow="crop")
    for line in lines:
        is_heading = line.split("  ")[0] in _HEADINGS
        text.append(f"{line}\n", style="bold" if is_heading else "")
    return text


def snapshot_lines(path: Path, config: StoreConfig, width: int) -> list[str]:
    """One reading as lines of text. Raises StoreError."""
    now = time.time()
    view = whole_view(take_reading(path, config, time.monotonic), now)
    return page(view, f"{path}  {clock_time(now)}", width)


def snapshot_json(path: Path, config: StoreConfig) -> str:
    """One reading as a JSON object, in seconds and bytes. Raises StoreError."""
    now = time.time()
    reading = take_reading(path, config, time.monotonic)
    view = whole_view(reading, now)
    stats = reading.stats
    shown = {
        "taken_s": now,
        "store": {
            "vectors": stats.vectors,
            "documents": stats.documents,
            "segments": stats.segments,
            "segment_bytes": stats.segment_bytes,
            "dead_bytes": stats.dead_bytes,
            "plane_bytes": stats.plane_bytes,
            "catalog_bytes": stats.catalog_bytes,
            "lance_bytes": stats.lance_bytes,
            "versions": reading.versions,
            "rows_behind": reading.rows_behind,
        },
        "unreadable": reading.unreadable,
        "processes": [_process_json(each, view.work[each.name]) for each in reading.processes],
    }
    return json.dumps(shown, allow_nan=False)


def _process_json(process: Process, work: Work | None) -> dict[str, Any]:
    figures = process.figures
    shown: dict[str, Any] = {
        "name": process.name,
        "pid": process.pid,
        "command": process.command,
        "memory": None if process.memory is None else asdict(process.memory),
        "opened_s": None,
        "values": None,
        "latencies": None,
    }
    if figures is None or work is None:
        return shown
    latencies = {}
    for name, latency in work.latencies.items():
        counts = enumerate(figures.latencies[name])
        latencies[name] = {
            "sampled": latency.sampled,
            "timed": latency.timed,
            "p50_s": _finite(latency.p50_s),
            "p99_s": _finite(latency.p99_s),
            "below_ns": [[_finite(bound_ns(at)), count] for at, count in counts if count],
        }
    values = dict(figures.values)
    return shown | {"opened_s": figures.opened_s, "values": values, "latencies": latencies}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def is_terminal() -> bool:
    """Is somebody looking, who can be shown one page after the other?"""
    return sys.stdout.isatty()
