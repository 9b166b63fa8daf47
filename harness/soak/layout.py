"""The files of a soak.

soak.json               what it is: seed, tier, hours, keys, code, machine, configuration
segments/               the evidence (harness/soak/evidence.py)
pool/                   the vectors that values are made of (harness/soak/values.py)
killed/, resident/      a lane each: store/ and expected, the ledger (harness/soak/ledger.py)
<lane>/samples.jsonl    what the process itself saw of its resources and latencies
wrong.jsonl             each wrong answer, in words
logs/                   last words of the processes
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "COUNTED",
    "KILLED_LANE",
    "RESIDENT_LANE",
    "Lane",
    "Tail",
    "append_line",
    "files_below",
]

KILLED_LANE, RESIDENT_LANE = "killed", "resident"
COUNTED = ("driver", "writer", "reader-1", "reader-2", "searcher", "killer", "resident")
"""Processes by their row in a ledger."""


class Lane:
    """Where one store and its ledger are."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.path = folder / name
        self.store = self.path / "store"
        self.expected = self.path / "expected"
        self.samples = self.path / "samples.jsonl"


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one line in one write, so that a kill leaves it whole or away."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (json.dumps(content) + "\n").encode())
    finally:
        os.close(descriptor)


class Tail:
    """Lines that are appended to a file from now on."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._offset = 0 if from_start or not path.exists() else path.stat().st_size

    def lines(self) -> Iterator[dict[str, Any]]:
        """Those that are new and whole."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield json.loads(line)


def files_below(path: Path) -> int:
    """Number of files below a folder; what vanishes meanwhile does not count."""
    return sum(len(names) for _, _, names in os.walk(path))
