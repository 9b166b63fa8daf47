"""Risk: a test is left to `make test-long` under a name that nothing has any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.conftest import LONG

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("listed", LONG)
def test_what_is_left_out_is_there(listed: str) -> None:
    name, _, function = listed.partition("::")
    assert (ROOT / name).exists()
    if function:
        assert f"def {function}" in (ROOT / name).read_text(encoding="utf-8")


def test_nightly_runs_it() -> None:
    nightly = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert "run: make test-long\n" in nightly
