"""Fragments of a shared table: written by whoever has rows, read back, committed all at once.

A fragment is files that nobody sees until a commit names them. A commit holds only if the table
still is the version that the writer has looked at: what others committed meanwhile is never
overlooked, so a key that is there is never written a second time, whoever writes.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from crc32c import crc32c

from titanstore.errors import BusyError, ErrorKind, StoreError
from titanstore.scale.location import Location, damaged, lance, reaching
from titanstore.search.lance_schema import (
    STORED_COLUMNS,
    LanceRow,
    StoredRow,
    batch_of,
    batches_of,
    schema,
    stored_rows,
    unit_rows,
)
from titanstore.search.lance_settings import ValueType

STORAGE_VERSION = "2.2"
ROWS_MAX = 1 << 20  # of a fragment
_BATCH_ROWS = 1024
_BATCH_BYTES = 8 << 20
_TRIES = 40
_WAIT_S_MAX = 2.0


class Shape(NamedTuple):
    """What the search vectors of a table are."""

    dimension: int
    values: ValueType


class Written(NamedTuple):
    """What was written or read: numbers that must agree on both sides."""

    rows: int = 0
    digest: int = 0  # sum of CRC-32C over key and exact vector, modulo 2**64
    vector_bytes: int = 0

    def joined(self, rows: Iterable[tuple[str, Any]]) -> Written:
        """With more rows: keys and float32 vectors."""
        count, digest, size = self
        for key, vector in rows:
            count += 1
            digest += crc32c(vector, crc32c(key.encode()))
            size += vector.nbytes
        return Written(count, digest % 2**64, size)


def shape_of(dataset: Any) -> Shape:
    """The shape of a table by its schema."""
    kind = dataset.schema.field("vector").type
    return Shape(kind.list_size, "float16" if str(kind.value_type) == "halffloat" else "float32")


def write_rows(
    location: Location, shape: Shape, rows: Iterable[LanceRow]
) -> tuple[list[str], Written]:
    """Write rows with distinct keys as fragments, and read them back bit by bit.

    Returns
    -------
    list of str
        The fragments as JSON, none for no rows. They are in no version of the table yet.
    Written
        What the rows were, which what was read back is equal to.

    Raises
    ------
    CorruptionError
        BAD_INDEX: what was read back is not what was written.
    StorageError

    Notes
    -----
    Memory: some batches of 8 MiB of vectors, whatever the number of rows.
    """
    import pyarrow as pa

    written = Written()
    failures: list[Exception] = []  # Lance passes on the words of an error only

    def batches() -> Iterator[Any]:
        nonlocal written
        try:
            for each in batches_of(rows, _BATCH_ROWS, _BATCH_BYTES):
                written = written.joined((row.key, row.vector) for row in each)
                yield from batch_of(each, shape.dimension, shape.values).table.to_batches()
        except Exception as error:
            failures.append(error)
            raise

    wanted = schema(shape.dimension, shape.values)
    with _first_of(failures), reaching(location):
        found = lance().fragment.write_fragments(
            pa.RecordBatchReader.from_batches(wanted, batches()),
            location.uri,
            schema=wanted,
            mode="append",
            max_rows_per_file=ROWS_MAX,
            data_storage_version=STORAGE_VERSION,
            storage_options=location.options(),
        )
    listed = [json.dumps(each.to_json()) for each in found if each.physical_rows]
    read = Written()
    for batch in read_batches(location, listed):
        read = read.joined(checked_rows(location, batch, shape))
    if read != written:
        raise damaged(location, f"{read.rows} of {written.rows} rows came back as written")
    return listed, written


@contextmanager
def _first_of(failures: Sequence[Exception]) -> Iterator[None]:
    try:
        yield
    except StoreError:
        if failures:
            raise failures[0] from None
        raise


def read_batches(
    location: Location, fragments: Sequence[str], columns: Sequence[str] | None = None
) -> Iterator[Any]:
    """Arrow batches of fragments that need not be committed, in their order."""
    for fragment in fragments:
        for path in paths_of(fragment):
            with reaching(location):
                reader = lance().file.LanceFileReader(
                    f"{location.uri}/data/{path}",
                    storage_options=location.options(),
                    columns=None if columns is None else list(columns),
                )
                batches = reader.read_all(batch_size=_BATCH_ROWS).to_batches()
                yield from batches


def paths_of(fragment: str) -> list[str]:
    """The names of a fragment's files."""
    return [each["path"] for each in json.loads(fragment)["files"]]


def are_there(location: Location, fragments: Sequence[str]) -> bool:
    """Are the files of fragments there? A request for each; raises StorageError."""
    with reaching(location):
        session = lance().file.LanceFileSession(location.uri, storage_options=location.options())
        return all(
            session.contains(f"data/{path}") for each in fragments for path in paths_of(each)
        )


def checked_rows(location: Location, batch: Any, shape: Shape) -> list[tuple[str, Any]]:
    """Keys and exact vectors of a batch with all columns: checksums, frames, search vectors.

    Raises
    ------
    CorruptionError
        BAD_INDEX: something of a row is not what was written.
    """
    with reaching(location):
        rows = stored_rows(batch.select(list(STORED_COLUMNS)))
        vectors = [row.vector() for row in rows]
        _check_search_vectors(location, batch, rows, vectors, shape)
    return [(row.key, vector) for row, vector in zip(rows, vectors, strict=True)]


def _check_search_vectors(
    location: Location, batch: Any, rows: Sequence[StoredRow], vectors: Sequence[Any], shape: Shape
) -> None:
    units, has_none, _ = unit_rows(vectors, shape.dimension)
    kind = np.float16 if shape.values == "float16" else np.float32
    column = batch.column("vector")
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    flat = column.values.to_numpy(zero_copy_only=False)
    first = column.offset * shape.dimension
    there = flat[first : first + len(rows) * shape.dimension].reshape(len(rows), -1)
    wanted = units.astype(kind)
    bits = f"u{wanted.itemsize}"
    is_same = (np.ascontiguousarray(there).view(bits) == wanted.view(bits)).all(axis=1)
    is_same = np.where(has_none, is_null, is_same & ~is_null)
    if not is_same.all():
        key = rows[int(np.argmin(is_same))].key
        raise damaged(location, f"the search vector of {key!r} is not what was written")


def commit(
    location: Location, dataset: Any, fragments: Sequence[str], properties: Mapping[str, str]
) -> Any:
    """Add fragments to exactly this version of a table; None if others were faster.

    Notes
    -----
    Lance would put an Append on top of whatever others have appended meanwhile, and two inserts
    of one new key would both hold (seen with merge_insert of lance 14). A Merge that names all
    fragments is the one operation that it never moves behind other writes.

    A fragment's number must never have been that of another one, which an index could still
    know. Compaction gives numbers above all others; a fragment that was removed whole is met by
    looking into the indices too.
    """
    package = lance()
    from lance.dataset import Transaction

    present = [each.metadata for each in dataset.get_fragments()]
    known = {each.id for each in present}
    for index in dataset.describe_indices():
        for segment in index.segments:
            known |= set(segment.fragment_ids)
    first = max(known, default=-1) + 1
    added = []
    for number, text in enumerate(fragments, first):
        told = json.loads(text) | {"id": number}
        added.append(package.FragmentMetadata.from_json(json.dumps(told)))
    operation = package.LanceOperation.Merge([*present, *added], dataset.lance_schema)
    change = Transaction(dataset.version, operation, transaction_properties=dict(properties))
    with reaching(location):
        try:
            return package.LanceDataset.commit(
                location.uri, change, storage_options=location.options(), max_retries=0
            )
        except package.commit.CommitConflictError:
            return None


def tries(location: Location) -> Iterator[int]:
    """Numbers of attempts to commit, with longer and longer waits between them.

    Raises
    ------
    BusyError
        TOO_MANY_WRITERS: others were faster every time.
    """
    for number in range(_TRIES):
        yield number
        most = min(_WAIT_S_MAX, 0.02 * 2**number)
        time.sleep(random.uniform(most / 2, most))  # noqa: S311  # spreads writers, no secret
    raise BusyError(
        f"{location.uri}: others committed first, {_TRIES} times in a row; nothing was written",
        ErrorKind.TOO_MANY_WRITERS,
    )
