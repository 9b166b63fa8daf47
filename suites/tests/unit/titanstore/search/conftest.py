"""A Lance table of 300 vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.vectors import gaussians
from suites.tests.unit.titanstore.search.lance_rows import (
    COUNT,
    DIMENSION,
    SETTINGS,
    Vectors,
    rows_of,
)
from titanstore.search.lance import LanceTable


@pytest.fixture
def vectors(rng: np.random.Generator) -> Vectors:
    return gaussians(rng, COUNT, DIMENSION)


@pytest.fixture
def table(tmp_path: Path, vectors: Vectors) -> Iterator[LanceTable]:
    with LanceTable.create(tmp_path, DIMENSION, SETTINGS) as table:
        table.sync(rows_of(vectors), [], COUNT)
        yield table
