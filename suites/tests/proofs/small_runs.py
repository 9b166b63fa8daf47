"""Real runs of one gate, of a few vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import cli
from harness.measures.base import Sizes
from harness.progress import Progress
from harness.run import Options, run_gates

TINY = Sizes(files=1, hostile_vectors=200)
BITS = "quality.bits"


class Stages(Progress):
    """Remembers how far a run came."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str, steps: int) -> None:
        assert steps >= 0
        self.names.append(name)


def small_run(reports: Path, **changed: Any) -> Path:
    """Measure quality.bits, in a tree that nobody edits meanwhile."""
    options = Options(
        **{
            "profile": "ci",
            "reports": reports,
            "command": ["harness", "gate"],
            "only": (BITS,),
            "sizes": TINY,
            **changed,
        }
    )
    return run_gates(options, Stages())


def gate_of(verdicts: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(gate for gate in verdicts["gates"] if gate["id"] == name)
    return found


def gate_with(
    monkeypatch: pytest.MonkeyPatch, reports: Path, *words: str, **changed: Any
) -> Result:
    """The real command with a real run; `changed` are options that it has no words for."""

    def real(options: Options, progress: Progress) -> Path:
        return run_gates(replace(options, **changed), progress)

    monkeypatch.setattr(cli, "run_gates", real)
    return CliRunner().invoke(cli.main, ["gate", "--reports", str(reports), *words])
