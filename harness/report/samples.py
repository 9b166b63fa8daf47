"""Raw samples of a row, for the figures: read only, and only from inside the run's directory."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import Any

from harness.measurement import FILE_BYTES_MAX
from harness.report.model import Row

__all__ = ["read_sessions", "read_values"]


def read_values(run_dir: Path, row: Row) -> list[float]:
    """Values of a row's treatment processes, pooled in order; empty when there are none.

    A missing or damaged file gives no values, hence a sentence in place of the figure: judging
    the evidence is the gate's business and `harness verify`'s, not the picture's.
    """
    return [value for values in read_sessions(run_dir, row) for value in values]


def read_sessions(run_dir: Path, row: Row) -> list[list[float]]:
    """The same, process by process."""
    if not row.measurement:
        return []
    path = (run_dir / row.measurement).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        return []
    try:
        with gzip.open(path) as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            return []
        content = json.loads(text)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return []
    return _sessions(content)


def _sessions(content: Any) -> list[list[float]]:
    processes = content.get("processes") if isinstance(content, dict) else None
    sessions: list[list[float]] = []
    for process in processes if isinstance(processes, list) else ():
        if isinstance(process, dict) and not process.get("control"):
            listed = process.get("values")
            sessions.append(
                [
                    float(value)
                    for value in (listed if isinstance(listed, list) else ())
                    if isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
                ]
            )
    return sessions
