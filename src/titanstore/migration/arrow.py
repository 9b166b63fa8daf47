"""Parquet files and LanceDB tables. pyarrow is loaded when one of them is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from titanstore.migration.exact import decoded
from titanstore.migration.folders import file_stamp, files_named, folder_stamp
from titanstore.migration.source import (
    Batch,
    Columns,
    SourceOptions,
    needs,
    reading,
    refused,
)

PARQUET_MAGIC = b"PAR1"


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise needs("lance", "pyarrow") from error
    return pyarrow


def _chosen(schema: Any, options: SourceOptions, place: str) -> Columns:
    """Columns to read; those that could hold vectors are lists of floats."""
    types = _pyarrow().types
    lists = [
        field.name
        for field in schema
        if (
            types.is_list(field.type)
            or types.is_large_list(field.type)
            or types.is_fixed_size_list(field.type)
        )
        and types.is_floating(field.type.value_type)
    ]
    return options.columns(list(schema.names), lists or list(schema.names), place)


def _batch(found: Any, columns: Columns, options: SourceOptions, place: str) -> Batch:
    """One Arrow record batch."""
    keys = [options.key_of(one, place) for one in found.column(columns.key).to_pylist()]
    documents: list[str | None] = [None] * len(keys)
    if columns.document is not None:
        named = found.column(columns.document).to_pylist()
        documents = [options.document_of(one, place) for one in named]
    return Batch(keys, _rows(found.column(columns.vector), keys, options), documents)


def _rows(column: Any, keys: list[str], options: SourceOptions) -> list[NDArray[Any]]:
    types = _pyarrow().types
    if column.null_count:
        place = column.is_null().to_pylist().index(True)
        raise refused(f"{keys[place]!r} has no vector")
    if types.is_fixed_size_list(column.type):
        values, width = column.flatten(), column.type.list_size
        ends = np.arange(len(keys) + 1) * width
    elif types.is_list(column.type) or types.is_large_list(column.type):
        values, ends = column.flatten(), np.zeros(len(keys) + 1, np.int64)
        np.cumsum(column.value_lengths().to_numpy(), out=ends[1:])
    else:
        return [
            decoded(value, key, options)
            for key, value in zip(keys, column.to_pylist(), strict=True)
        ]
    if values.null_count:
        at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        place = int(np.searchsorted(ends, at, side="right")) - 1
        raise refused(f"the vector of {keys[place]!r} has a hole: a value is null")
    if not types.is_floating(values.type):
        raise refused(f"vectors of {values.type}: only float16, float32, float64 can be moved")
    flat: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return [flat[ends[row] : ends[row + 1]] for row in range(len(keys))]


class ParquetFiles:
    """One Parquet file, or all of a folder. Checksums of pages are compared where there are any."""

    kind: Literal["parquet"] = "parquet"

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._options = options

    def fingerprint(self) -> str:
        """Of the file or files."""
        if self._path.is_dir():
            return folder_stamp(self._path, ".parquet")
        return file_stamp(self._path)

    def count(self) -> int | None:
        """Rows, by the footers."""
        return sum(int(file.metadata.num_rows) for _, file in self._files())

    def batches(self) -> Iterator[Batch]:
        """All rows; of a file, in order."""
        for path, file in self._files():
            with reading(path):
                columns = _chosen(file.schema_arrow, self._options, str(path))
                names = [name for name in columns if name is not None]
                found = file.iter_batches(batch_size=self._options.batch_rows, columns=names)
            yield from _read(found, columns, self._options, str(path))

    def _files(self) -> Iterator[tuple[Path, Any]]:
        parquet = _pyarrow().parquet
        paths: Iterable[Path] = [self._path]
        if self._path.is_dir():
            paths = (path for _, path in files_named(self._path, ".parquet", PARQUET_MAGIC))
        for path in paths:
            with reading(path):
                file = parquet.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
            with file:
                yield path, file


def _read(
    batches: Iterable[Any], columns: Columns, options: SourceOptions, place: str
) -> Iterator[Batch]:
    following = iter(batches)
    while True:
        with reading(place):  # text is looked at by Arrow only when it becomes Python's
            found = next(following, None)
            if found is None:
                return
            batch = _batch(found, columns, options, place)
        if batch.keys:
            yield batch


class LanceFolder:
    """One table of a LanceDB database, at the version that it has when reading begins."""

    kind: Literal["lance"] = "lance"

    def __init__(self, path: Path, options: SourceOptions) -> None:
        folder, name = path.absolute(), options.table
        if folder.suffix == ".lance":
            folder, name = folder.parent, folder.stem
        self._folder = folder
        self._name = name
        self._options = options

    def _table(self) -> Any:
        _pyarrow()
        try:
            import lancedb
        except ImportError as error:
            raise needs("lance", "lancedb") from error
        names = sorted(one.stem for one in self._folder.glob("*.lance") if one.is_dir())
        name = self._name or (names[0] if len(names) == 1 else None)
        if name not in names:
            told = ", ".join(names) or "none"
            raise refused(f"{self._folder}: which table? it has {told} (--table)")
        with reading(self._folder / f"{name}.lance"):
            return lancedb.connect(str(self._folder)).open_table(name)

    def fingerprint(self) -> str:
        """Name and newest version of the table."""
        table = self._table()
        return f"{table.name}@{table.version}"

    def count(self) -> int | None:
        """Number of rows."""
        return int(self._table().count_rows())

    def batches(self) -> Iterator[Batch]:
        """All rows of the table."""
        table = self._table()
        place = f"{self._folder}, table {table.name}"
        with reading(place):
            table.checkout(table.version)
            columns = _chosen(table.schema, self._options, place)
            names = [name for name in columns if name is not None]
            found = table.search().select(names).to_batches(self._options.batch_rows)
        yield from _read(found, columns, self._options, place)
