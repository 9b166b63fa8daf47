"""Rows of a Lance table: made, expected and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from titanstore.search.lance import LanceRow, LanceSettings, LanceTable

Vectors = NDArray[np.float32]
DIMENSION = 32
COUNT = 300
SETTINGS = LanceSettings(vectors_min=256, history_s=0, durable=False)


def rows_of(vectors: Vectors, prefix: str = "key", first: int = 1) -> list[LanceRow]:
    return [
        LanceRow(f"{prefix} {place}", vector, first + place, f"doc {place // 22}", "model")
        for place, vector in enumerate(vectors)
    ]


def content_of(table: LanceTable) -> dict[str, bytes]:
    found = {row.key: row.vector().tobytes() for row in table.rows()}
    assert len(found) == table.content.rows
    return found


def nearest(table: LanceTable, query: Vectors) -> str:
    return table.candidates(query, 5)[0][0]


def latest_version(table: LanceTable) -> int:
    return int(table._loop.run(table._writer.version))
