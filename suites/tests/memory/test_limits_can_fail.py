"""Risk: the limits of this folder never fail, because nothing looks at them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environment import project_root

# The test of a hot path with one thing more: what it gets, it keeps
LEAKING = """
from suites.tests.memory.test_limits import *

kept = []


@pytest.mark.limit_memory("250 KB")
def test_reads_that_keep(store):
    for place in ORDER:
        store.get(KEYS[place])
        kept.append({keep})
"""


def outcome(folder: Path, keep: str, *options: str) -> str:
    (folder / "test_leaking.py").write_text(LEAKING.format(keep=keep))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c"]
    done = subprocess.run(
        [
            *command,
            str(project_root() / "pyproject.toml"),
            f"--rootdir={folder}",
            *options,
            f"{folder / 'test_leaking.py'}::test_reads_that_keep",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=project_root(),
        env={**os.environ, "PYTHONPATH": str(project_root())},
    )
    return done.stdout


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "on a worker"])
def test_a_leak_of_300_bytes_a_read_is_noticed(tmp_path: Path, options: tuple[str, ...]) -> None:
    told = outcome(tmp_path, "bytearray(300)", *options)
    assert "Test was limited to" in told
    assert "1 failed" in told


def test_the_same_without_a_leak_passes(tmp_path: Path) -> None:
    assert "1 passed" in outcome(tmp_path, "None")
