"""A tiny repository to compare commits of."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.tests.unit.harness.compare.tiny import make_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_repository(tmp_path / "repo")
    return tmp_path / "repo"
