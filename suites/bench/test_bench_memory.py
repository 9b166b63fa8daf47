"""What does a store add to the memory of its process: reading, searching, saving?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.benchmarks import note_limit
from harness.targets import load_targets
from suites.bench.conftest import CHUNKS, Stores
from titanstore import EmbeddingStore

STORED = {"smoke": 220, "full": 2_200}
ROUNDS = {"smoke": 1, "full": 5}
CHILD = Path(__file__).parent / "memory_child.py"
LIMIT = load_targets().rows()["memory.steady.files-1024"].limit


@pytest.mark.parametrize("what", ["read", "search", "save"])
def test_bench_memory(
    benchmark: Any, told: dict[str, Any], stores: Stores, size: str, tmp_path: Path, what: str
) -> None:
    """Each round is a fresh process; its bytes are what counts, its time is shown."""
    filled = stores.of(STORED[size])
    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    os.sync()  # unwritten pages would count as the child's own
    answers = []

    def run() -> None:
        done = subprocess.run(
            [sys.executable, str(CHILD), str(path), what],
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(json.loads(done.stdout))

    benchmark.pedantic(run, rounds=ROUNDS[size])
    assert {answer["documents"] for answer in answers} == {STORED[size] // CHUNKS}
    with EmbeddingStore.open(path, read_only=True) as store:
        assert store.check().is_clean
    told["added_bytes"] = added = [answer["added"] for answer in answers]
    note_limit(
        told,
        what="bytes added",
        statistic="mean",
        comparator="<=",
        limit=LIMIT,
        unit="B",
        values=added,
    )
