"""Comparisons of two commits of a tiny repository."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.compare.documents import check_document, verify_compare
from harness.compare.progress import CompareProgress
from harness.compare.run import run_compare
from harness.evidence import read_json
from suites.tests.unit.harness.compare.tiny import STORE, options_of

INIT, SUITE = "src/titanstore/__init__.py", "suites/timings/counted.py"
SLOWER = STORE.replace("STEPS = 2_000", "STEPS = 2_600")
QUIET = CompareProgress()
needs_valgrind = pytest.mark.skipif(
    shutil.which("callgrind_control") is None, reason="valgrind is not installed"
)


class Notes(CompareProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def result(root: Path, base: str, head: str, **more: object) -> tuple[Path, dict[str, Any]]:
    folder = run_compare(options_of(root, base, head, **more), QUIET)
    assert folder is not None
    assert verify_compare(folder) == []
    document = read_json(folder / "compare.json")
    assert check_document(document) == ""
    return folder, document


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in document["benchmarks"]}
