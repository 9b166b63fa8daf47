"""The scripts behind reports/decisions/0007 and 0008 run, at smoke size, and find what is near."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
ROWS = 600


def lines_of(script: str, *arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_index_kinds_and_memory(tmp_path: Path, recorded_folder: Path) -> None:
    common = [str(tmp_path), "--rows", str(ROWS), "--recorded", str(recorded_folder)]
    common += ["--kinds", "none32,ivf_rq32,ivf_rqfew"]
    built = lines_of("lance_indexes.py", "build", *common)
    assert [line["index_mb"] > 0 for line in built] == [False, True, True]
    ways = lines_of("lance_indexes.py", "query", *common, "--rounds", "1")
    assert len(ways) == 6
    assert all(line["recall"] >= 0.99 for line in ways)
    memory = ["--rounds", "1", "--queries", "120", "--only", "256/16 MiB"]
    (line,) = lines_of("lance_memory.py", str(tmp_path / str(ROWS)), *memory)
    assert line["mapped_files"] == 0
    assert line["caches"] > 0


def test_upkeep(tmp_path: Path, recorded_folder: Path) -> None:
    arguments = [str(tmp_path), "--rows", "2500", "--recorded", str(recorded_folder)]
    lines = lines_of("lance_upkeep.py", *arguments, "--rounds", "2")
    assert all(line["recall"] >= 0.99 for line in lines if "way" in line)
    assert [line["step"] for line in lines if "step" in line][-1] == "all rows read and verified"
