"""A store with a document and a vector of none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.tests.unit.titanstore.versions.rows import FAST, row
from titanstore import EmbeddingStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path / "s", FAST) as opened:
        opened.put_many(["a", "b"], [row(1), row(2)], "doc")
        opened.put("free", row(3))
        yield opened
