"""LanceDB alone: one table (key, vector), a scalar index on the key.

Settings as its documentation shows them: the asynchronous interface, a BTREE index for look-ups,
merge_insert for what may be there already, optimize after loading. LanceDB leaves the disk to the
kernel: the files it wrote are fsync'd here before a put returns.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.subject import Vectors
from harness.subjects.disk import sync_files

__all__ = ["LanceTableSubject"]

_TABLE = "vectors"


class LanceTableSubject:
    """One table of one dimension. One thread. Keys are ours: no quotes in them."""

    name = "lancedb"
    capabilities = frozenset({"durable", "search", "shared"})

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("LANCEDB_LOG", "error")
        import lancedb  # a rival's package is loaded only when it is measured

        self._path = path
        self._loop = asyncio.new_event_loop()
        self._connection: Any = self._run(lancedb.connect_async(str(path.resolve())))
        is_there = _TABLE in self._run(self._connection.list_tables()).tables
        self._table: Any = self._run(self._connection.open_table(_TABLE)) if is_there else None
        self._synced = set(self._files())
        self.get: Callable[[str], Vectors] = self._get

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(what)

    def _files(self) -> list[Path]:
        return [path for path in self._path.rglob("*") if path.is_file()]

    def _sync(self) -> None:
        fresh = [path for path in self._files() if path not in self._synced]
        sync_files(fresh)
        self._synced.update(fresh)

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One commit; its files are fsync'd."""
        import pyarrow

        values = pyarrow.array(np.ascontiguousarray(vectors).ravel())
        column = pyarrow.FixedSizeListArray.from_arrays(values, vectors.shape[1])
        rows = pyarrow.table({"key": pyarrow.array(list(keys)), "vector": column})
        if self._table is None:
            self._table = self._run(self._connection.create_table(_TABLE, rows))
        else:
            merge = self._table.merge_insert("key")
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            self._run(merge.execute(rows))
        self._sync()

    def settle(self) -> None:
        """Index the keys, join the fragments and drop older versions, as one does after loading."""
        from lancedb.index import BTree

        self._run(self._table.create_index("key", config=BTree()))
        older = timedelta(0)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of other readers, of which there are none
            self._run(self._table.optimize(cleanup_older_than=older, delete_unverified=True))
        self._sync()

    def _found(self, where: str, limit: int) -> Any:
        query = self._table.query().where(where).select(["key", "vector"]).limit(limit)
        return self._run(query.to_arrow())

    def _get(self, key: str) -> Vectors:
        found = self._found(f"key = '{key}'", 1)
        if not len(found):
            raise KeyError(key)
        values = found["vector"].combine_chunks().flatten()
        row: Vectors = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        return row

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """One query, put in order."""
        wanted = ", ".join(f"'{key}'" for key in keys)
        found = self._found(f"key IN ({wanted})", len(keys))
        values = found["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        rows = values.reshape(len(found), -1)
        places = {key: place for place, key in enumerate(found["key"].to_pylist())}
        return np.asarray(rows[[places[key] for key in keys]], np.float32)

    def search(self, query: Vectors, k: int = 10) -> Sequence[tuple[str, float]]:
        """The k nearest by cosine over all rows, as LanceDB computes it in float32."""
        asked = self._table.query().nearest_to(query).distance_type("cosine").limit(k)
        found = self._run(asked.select(["key", "_distance"]).to_arrow())
        return list(zip(found["key"].to_pylist(), found["_distance"].to_pylist(), strict=True))

    def stored_bytes(self) -> int:
        """Bytes of all files, older versions included where `settle` did not come after them."""
        return sum(path.stat().st_size for path in self._files())

    def close(self) -> None:
        """Close table and loop; idempotent."""
        if self._table is not None:
            self._table.close()
        if not self._loop.is_closed():
            self._loop.close()
