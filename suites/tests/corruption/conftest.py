"""A small store of three versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.tests.corruption.versioned import FAST, row
from titanstore import EmbeddingStore


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Three versions: keys replaced, deleted and added, and documents changed, between them."""
    with EmbeddingStore.open(tmp_path / "base", FAST) as store:
        store.put_many(["a0", "a1"], [row(1), row(2)], "x.py")
        store.put_many(["b0"], [row(3)], "y.py")
        store.snapshot("one")
        store.put_many(["a1", "b1"], [row(4), row(5)], "x.py")
        store.snapshot("two")
        store.update_document("y.py", [("b0", row(6))])
        store.snapshot("three")
        store.delete(["a1"])
        store.put("b0", row(7))
    return tmp_path / "base"
