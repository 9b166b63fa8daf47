"""What the store says that it keeps in memory is what it keeps, with both tiers full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "suites" / "bench" / "attribution.py"


def test_the_store_s_account_agrees_with_the_system_s() -> None:
    """Within 10 %, 12 MB in the tiers; the libraries had been used before.

    docs/reference/metrics.md, "Memory", names what is missing.
    """
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "12000000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    print(seen)  # noqa: T201  # pytest shows it with a failure
    assert seen["is_full"]
    assert seen["dimensions"] == [1_024, 1_536]
    assert seen["result_bytes"] > 0
    assert seen["accounted"] == pytest.approx(seen["anonymous"], rel=0.10)
    assert seen["traceable"] == pytest.approx(seen["traced"], rel=0.10)
