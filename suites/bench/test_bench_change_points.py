"""The script behind reports/decisions/0012 runs, at smoke size, and finds what is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_ours_sees_a_step_of_a_tenth_and_no_other() -> None:
    script = Path(__file__).parent / "change_points.py"
    done = subprocess.run(
        [sys.executable, str(script), "--series", "5"], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ours = [line for line in lines if line["method"].startswith("ours")]
    assert len(ours) == 6
    assert all(line["found_10"] >= 0.8 and line["false"] <= 0.2 for line in ours)
    assert {line["failed"] for line in ours} == {0}
