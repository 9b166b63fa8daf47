"""JSON lines, plain or compressed by gzip: one object a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from titanstore.migration.exact import decoded, numbers_of
from titanstore.migration.folders import file_stamp
from titanstore.migration.local_store import VALUE_BYTES_MAX
from titanstore.migration.source import Batch, Columns, SourceOptions, reading, refused

GZIP_MAGIC = b"\x1f\x8b"
LINE_BYTES_MAX = 4 * VALUE_BYTES_MAX  # with the text beside the vector


class JsonLines:
    """One file of JSON lines; columns are the fields of its first object."""

    kind: Literal["jsonl"] = "jsonl"

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._options = options

    def fingerprint(self) -> str:
        """Of the file."""
        return file_stamp(self._path)

    def count(self) -> int | None:
        """Unknown: it would have to be read."""
        return None

    def batches(self) -> Iterator[Batch]:
        """All vectors, in order; blank lines are passed over."""
        batch = Batch([], [], [])
        columns: Columns | None = None
        for number, line, fields in objects_of(self._path):
            place = f"{self._path}, line {number}"
            if columns is None:
                lists = [name for name, value in fields.items() if isinstance(value, list)]
                columns = self._options.columns(list(fields), lists, place)
            for name in (columns.key, columns.vector):
                if name not in fields:
                    raise refused(f"{place} has no {name!r}")
            key = self._options.key_of(fields[columns.key], place)
            value = fields[columns.vector]
            batch.keys.append(key)
            batch.vectors.append(
                numbers_of(value, key, line)
                if isinstance(value, list)
                else decoded(value, key, self._options)
            )
            named = None if columns.document is None else fields.get(columns.document)
            batch.documents.append(self._options.document_of(named, place))
            if len(batch.keys) == self._options.batch_rows:
                yield batch
                batch = Batch([], [], [])
        if batch.keys:
            yield batch


def objects_of(path: Path) -> Iterator[tuple[int, bytes, dict[str, object]]]:
    """Number, bytes and object of each line that is not blank; one line in memory at a time.

    Raises
    ------
    MigrationError
        BAD_SOURCE: a line is no JSON object, or longer than any with a vector.
    """
    with reading(path):
        with path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
        stream = cast("IO[bytes]", (gzip.open if is_gzip else open)(path, "rb"))
    with stream:
        number = 0
        while True:
            number += 1
            place = f"{path}, line {number}"
            with reading(place):
                line = stream.readline(LINE_BYTES_MAX)
            if not line:
                return
            if len(line) == LINE_BYTES_MAX:
                raise refused(f"{place} is longer than {LINE_BYTES_MAX} bytes")
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise refused(f"{place} is no JSON: {error}") from error
            if not isinstance(fields, dict):
                raise refused(f"{place} is no JSON object")
            yield number, line, fields
