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
        text = (ROOT / name).read_text(encoding="utf-8")
        function, _, case = function.partition("[")
        assert f"def {function}" in text or f"\n{function} = " in text
        assert f"def {case}" in text  # a case is named after a function too


def test_nightly_runs_it() -> None:
    nightly = (ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8")
    assert "run: make test-long\n" in nightly
