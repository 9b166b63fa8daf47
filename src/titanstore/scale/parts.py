"""What a bulk job is: its inputs cut into parts, and how the rows of a part are made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crc32c import crc32c

from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.keys import stored_key
from titanstore.migration.exact import exact_vector
from titanstore.migration.find import open_source
from titanstore.migration.lines import GZIP_MAGIC, LINE_BYTES_MAX, objects_of
from titanstore.migration.source import SourceOptions, reading, refused
from titanstore.scale.location import Location
from titanstore.scale.table import conflict
from titanstore.search.lance_schema import LanceRow
from titanstore.search.lance_settings import ValueType

if TYPE_CHECKING:
    from titanstore.clients.bedrock.requests import TitanRequest

_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class Part(NamedTuple):
    """Input files whose vectors one worker writes: done whole or not at all."""

    number: int
    paths: tuple[str, ...]


class Text(NamedTuple):
    """One text to embed."""

    text: str
    document: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Which model embeds the texts, and how it is called.

    Attributes
    ----------
    model, options
        A Titan model, and the fields of the request beside the text.
    text_field, document_field
        Of JSON lines.
    endpoint, region
        Of Bedrock; None: as boto3 finds them. So are the credentials, in each worker.
    parallel
        Calls of the model at a time, for each worker.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    text_field: str = "text"
    document_field: str = "document"
    endpoint: str | None = None
    region: str | None = None
    parallel: int = 8

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise InvalidInputError("parallel is 1 or more", ErrorKind.BAD_SETTING)
        self.request("any")

    @property
    def dimension(self) -> int:
        """Values of a vector."""
        return int(self.request("any").dimension)

    def request(self, text: str) -> TitanRequest:
        """The request of a text, with its key. Needs `titanstore[bedrock]`.

        Raises
        ------
        InvalidInputError
            NOT_TITAN: another model. BAD_SETTING: an option that Titan would refuse.
            MISSING_PACKAGE.
        """
        try:
            from titanstore.clients.bedrock.requests import checked_model, titan_request
        except ImportError as error:
            raise InvalidInputError(
                f"{error}: pip install 'titanstore[bedrock]'", ErrorKind.MISSING_PACKAGE
            ) from error
        found = titan_request(checked_model(self.model), self.fields(text))
        if found is None:
            raise InvalidInputError(
                f"{self.model} takes no options {sorted(self.options)} of these values",
                ErrorKind.BAD_SETTING,
            )
        return found

    def fields(self, text: str) -> dict[str, Any]:
        """The body of the request of a text."""
        return {"inputText": text, **self.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One bulk job: the same inputs and settings are the same job, which goes on where it was.

    Attributes
    ----------
    parts
        From `parts_of`.
    vectors
        How inputs that hold vectors are read; or
    embedding
        how inputs that hold texts are embedded. One of the two.
    dimension, values
        Of the table, if the job makes it.
    """

    table: Location
    parts: tuple[Part, ...]
    dimension: int
    vectors: SourceOptions | None = None
    embedding: Embedding | None = None
    values: ValueType = "float16"

    def __post_init__(self) -> None:
        if (self.vectors is None) == (self.embedding is None):
            raise InvalidInputError("a job loads vectors or embeds texts", ErrorKind.BAD_SETTING)

    @property
    def name(self) -> str:
        """16 hexadecimal digits out of all that determines what is written.

        Raises MigrationError (BAD_SOURCE) where an input is gone.
        """
        files = []
        for path in (path for part in self.parts for path in part.paths):
            with reading(path):
                status = os.stat(path)  # noqa: PTH116
            files.append([path, status.st_size, status.st_mtime_ns])
        shape = [self.dimension, self.values, [len(part.paths) for part in self.parts]]
        how = repr(self.vectors) if self.embedding is None else _how(self.embedding)
        told = json.dumps([self.table.uri, files, shape, how])
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _how(embedding: Embedding) -> str:
    """What of an embedding changes its result."""
    options = json.dumps(dict(embedding.options), sort_keys=True)
    return repr([embedding.model, options, embedding.text_field, embedding.document_field])


def parts_of(inputs: Sequence[Path], files_per_part: int = 1_000) -> tuple[Part, ...]:
    """Inputs as parts, in order of their names.

    A file is a part; of a folder every file below it is one, but plain texts, of which
    `files_per_part` are. So large inputs are cut into files, and the vectors of one fit into
    minutes of a worker's time: that is what a kill costs.

    Raises
    ------
    MigrationError
        BAD_SOURCE: an input is not there, or there is none.
    """
    found: list[tuple[str, ...]] = []
    for given in inputs:
        path = given.absolute()
        if not path.exists():
            raise refused(f"there is no {path}")
        if not path.is_dir():
            found.append((str(path),))
            continue
        files = sorted(each for each in path.rglob("*") if each.is_file())
        texts = [str(each) for each in files if _is_plain(each)]
        found += [(str(each),) for each in files if not _is_plain(each)]
        starts = range(0, len(texts), files_per_part)
        found += [tuple(texts[start : start + files_per_part]) for start in starts]
    if not found:
        raise refused("there is no input")
    return tuple(Part(number, paths) for number, paths in enumerate(found))


def _is_plain(path: Path) -> bool:
    """Is it a text, not a file of many rows?"""
    if path.name.endswith(_LINES):
        return False
    with reading(path), path.open("rb") as file:
        head = file.read(8)
    return not head.startswith((b"PAR1", b"\x93NUMPY", b"PK\x03\x04", b"SQLite f", GZIP_MAGIC))


def given_rows(part: Part, options: SourceOptions) -> Iterator[LanceRow]:
    """The rows of inputs that hold vectors; raises MigrationError as `open_source` does."""
    for path in part.paths:
        for batch in open_source(Path(path), options).batches():
            for key, vector, document in zip(*batch, strict=True):
                stored_key(key)
                yield LanceRow(key, exact_vector(vector, key, options), 0, document, options.model)


def texts_of(part: Part, embedding: Embedding) -> Iterator[Text]:
    """The texts of a part: of JSON lines a field, of any other file all of it.

    Raises
    ------
    MigrationError
        BAD_SOURCE: a line is no object with the field, or a file is not UTF-8; or one of them is
        longer than a line of vectors may be.
    """
    for name in part.paths:
        path = Path(name)
        if path.name.endswith(_LINES):
            for number, _, told in objects_of(path):
                yield _text(told, embedding, f"{path}, line {number}")
            continue
        with reading(path), path.open(encoding="utf-8") as file:
            text = file.read(LINE_BYTES_MAX)
        if len(text) == LINE_BYTES_MAX:
            raise refused(f"{path} is longer than {LINE_BYTES_MAX} characters")
        if text:
            yield Text(text, name)


def _text(told: Mapping[str, object], embedding: Embedding, place: str) -> Text:
    text = told.get(embedding.text_field)
    if not isinstance(text, str) or not text:
        raise refused(f"{place} has no text {embedding.text_field!r}")
    document = told.get(embedding.document_field)
    found = Text(text, document if isinstance(document, str) else None)
    with reading(place):  # JSON can name halves of characters
        f"{found.text}{found.document}".encode()
    return found


def once(rows: Iterable[LanceRow]) -> Iterator[LanceRow]:
    """Rows, each key once.

    Raises
    ------
    MigrationError
        CONFLICT: a key comes again with other bits.
    """
    seen: dict[str, int] = {}
    for row in rows:
        found = crc32c(row.vector.data)
        if row.key not in seen:
            seen[row.key] = found
            yield row
        elif seen[row.key] != found:
            raise conflict(row.key)
