"""LanceDB's own exhaustive search, as its documentation shows it: the flat path's measure.

Settings: the asynchronous interface, which is the faster one; one table in one fragment; only the
key and the distance selected. No index, so every query is exact search over float32.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.subject import Vectors

__all__ = ["LanceFlatSubject"]


class LanceFlatSubject:
    """One LanceDB table without an index. One thread."""

    name = "lancedb-flat"

    def __init__(self, path: Path, keys: Sequence[str], vectors: Vectors) -> None:
        os.environ.setdefault("LANCEDB_LOG", "error")
        import lancedb  # loaded only where it is measured
        import pyarrow

        dimension = vectors.shape[1]
        column = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(np.ascontiguousarray(vectors).ravel()), dimension
        )
        rows = pyarrow.table({"key": pyarrow.array(list(keys)), "vector": column})
        self._loop = asyncio.new_event_loop()

        async def opened() -> Any:
            connection = await lancedb.connect_async(str(path.resolve()))
            return await connection.create_table("vectors", rows)

        self._table = self._loop.run_until_complete(opened())

    def search(self, query: Vectors, k: int = 10) -> list[tuple[str, float]]:
        """The k nearest by cosine, as LanceDB computes it in float32."""

        async def asked() -> Any:
            builder = self._table.query().nearest_to(query).distance_type("cosine").limit(k)
            return await builder.select(["key", "_distance"]).to_arrow()

        found = self._loop.run_until_complete(asked())
        return list(zip(found["key"].to_pylist(), found["_distance"].to_pylist(), strict=True))

    def close(self) -> None:
        """Close table and loop."""
        self._table.close()
        self._loop.close()
