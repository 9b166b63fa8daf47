"""A table of an SQLite file: LangChain's SQL store, or any with a column of keys and of vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from titanstore.migration.exact import decoded
from titanstore.migration.folders import file_stamp
from titanstore.migration.source import Batch, SourceOptions, reading, refused

_LANGCHAIN = "langchain_key_value_stores"
_BUSY_S = 30.0


class SqliteFile:
    """One table, read in one transaction: what others write meanwhile is not seen."""

    kind: Literal["sqlite"] = "sqlite"

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._options = options

    def fingerprint(self) -> str:
        """Of the file and its write-ahead log."""
        log = self._path.with_name(self._path.name + "-wal")
        has_log = log.exists() and log.stat().st_size > 0
        return file_stamp(self._path) + (file_stamp(log) if has_log else "")

    def count(self) -> int | None:
        """Number of rows."""
        with closing(self._open()) as database, reading(self._path):
            table = self._table(database)
            where, given = self._where(database, table)
            found = database.execute(f"SELECT count(*) FROM {_quoted(table)}{where}", given)  # noqa: S608
            return int(found.fetchone()[0])

    def batches(self) -> Iterator[Batch]:
        """All rows of the table, or of the namespace."""
        options = self._options
        with closing(self._open()) as database:
            with reading(self._path):
                database.execute("BEGIN")
                table = self._table(database)
                names = _columns(database, table)
                columns = options.columns(names, names, f"{self._path}, table {table}")
                where, given = self._where(database, table)
                wanted = [name for name in columns if name is not None]
                listed = ", ".join(_quoted(name) for name in wanted)
                rows = database.execute(f"SELECT {listed} FROM {_quoted(table)}{where}", given)  # noqa: S608
            number = 0
            while True:
                with reading(f"{self._path}, table {table}"):
                    found = rows.fetchmany(options.batch_rows)
                if not found:
                    return
                batch = Batch([], [], [])
                for row in found:
                    number += 1
                    place = f"{self._path}, table {table}, row {number}"
                    key = options.key_of(row[0], place)
                    batch.keys.append(key)
                    batch.vectors.append(decoded(row[1], key, options))
                    batch.documents.append(
                        options.document_of(row[2] if len(row) > 2 else None, place)
                    )
                yield batch

    def _open(self) -> sqlite3.Connection:
        address = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        with reading(self._path):
            return sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)

    def _table(self, database: sqlite3.Connection) -> str:
        listed = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        names = [str(name) for (name,) in database.execute(listed)]
        wanted = self._options.table
        if wanted is None and _LANGCHAIN in names:
            wanted = _LANGCHAIN
        if wanted is None and len(names) == 1:
            wanted = names[0]
        if wanted is None or wanted not in names:
            told = ", ".join(names) or "none"
            raise refused(f"{self._path}: which table? it has {told} (--table)")
        return wanted

    def _where(self, database: sqlite3.Connection, table: str) -> tuple[str, tuple[str, ...]]:
        """The condition that keeps to one namespace: keys of two may be the same."""
        wanted = self._options.namespace
        if "namespace" not in _columns(database, table):
            if wanted is not None:
                raise refused(f"{self._path}: table {table} has no column namespace")
            return "", ()
        if wanted is None:
            listed = f"SELECT DISTINCT namespace FROM {_quoted(table)} LIMIT 20"  # noqa: S608
            names = [str(name) for (name,) in database.execute(listed)]
            if len(names) > 1:
                raise refused(f"{self._path}: which namespace? {', '.join(names)} (--namespace)")
            return "", ()
        return " WHERE namespace = ?", (wanted,)


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in database.execute(f"PRAGMA table_info({_quoted(table)})")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
