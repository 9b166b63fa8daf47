"""float32 blobs in SQLite, with write-ahead log and full synchronisation: durable as ours is.

Settings as SQLite's documentation recommends for a local database with blobs of some kB:
journal_mode=WAL, synchronous=FULL, mmap_size of 256 MiB, and a table with rowids:
WITHOUT ROWID is for rows below 200 bytes. Many keys are asked for in one query.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.subject import Vectors

__all__ = ["SqliteBlobSubject"]

_KEYS_MAX = 999  # parameters that every build of SQLite takes


class SqliteBlobSubject:
    """One table (key, vector). One thread."""

    name = "sqlite-blob"
    capabilities = frozenset({"durable", "shared"})

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._file = path / "vectors.sqlite"
        self._connection = sqlite3.connect(self._file, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "mmap_size=268435456"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)"
        )
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One transaction, synchronised when it returns."""
        rows = [(key, vector.tobytes()) for key, vector in zip(keys, vectors, strict=True)]
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def update_document(self, _document: str, chunks: Sequence[tuple[str, Vectors]]) -> None:
        """It knows no documents: the chunks are stored."""
        if chunks:
            self.put_many([key for key, _ in chunks], np.stack([vector for _, vector in chunks]))

    def _get(self, key: str) -> Vectors:
        found = self._connection.execute(
            "SELECT vector FROM vectors WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            raise KeyError(key)
        return np.frombuffer(found[0], np.float32)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """A stacked copy; one query for as many keys as a query may name."""
        found: dict[str, bytes] = {}
        for first in range(0, len(keys), _KEYS_MAX):
            part = keys[first : first + _KEYS_MAX]
            marks = ", ".join("?" * len(part))
            query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"  # noqa: S608  # marks
            found.update(self._connection.execute(query, part))
        return np.stack([np.frombuffer(found[key], np.float32) for key in keys])

    def stored_bytes(self) -> int:
        """Bytes of the database after its log was folded in."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._file.stat().st_size

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._connection.close()
