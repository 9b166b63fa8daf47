"""What a source of vectors is: batches of keys and vectors, and a fingerprint."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from numpy.typing import NDArray

from titanstore.errors import ErrorKind, MigrationError
from titanstore.keys import embedding_key

Kind = Literal["npy", "npz", "parquet", "lance", "langchain", "sqlite", "jsonl"]
KINDS: tuple[Kind, ...] = ("npy", "npz", "parquet", "lance", "langchain", "sqlite", "jsonl")
RawType = Literal["float16", "float32", "float64"]
_KEY_NAMES = ("key", "keys", "id", "_id", "chunk_id", "custom_id")
_VECTOR_NAMES = ("vector", "vectors", "embedding", "embeddings", "value")


class Batch(NamedTuple):
    """Rows that follow each other in a source.

    Attributes
    ----------
    vectors
        Each of shape (dimension,), float16, float32 or float64 as the source has them.
    documents
        The document of each row, None where it has none.
    """

    keys: list[str]
    vectors: list[NDArray[Any]]
    documents: list[str | None]


class Source(Protocol):
    """Vectors that lie elsewhere. Read by one thread; nothing of it is ever written."""

    @property
    def kind(self) -> Kind:
        """Which of `KINDS` it is."""
        ...

    def fingerprint(self) -> str:
        """What changes when the source does: sizes and times of its files, or its version."""
        ...

    def count(self) -> int | None:
        """Number of rows, where the source can tell it without being read; else None."""
        ...

    def batches(self) -> Iterator[Batch]:
        """All rows, always in the same order; raises MigrationError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is to be read. None: found by looking, and refused where that is ambiguous.

    Attributes
    ----------
    key, vector, document
        Names of the columns, fields or npz members.
    text, model, model_options
        Column of the texts that were embedded, and by what: keys are then
        `embedding_key(model, text, model_options)`, as a Bedrock client over the store has them.
    keys_file
        Text file with one key a line, for a matrix without keys.
    table, namespace
        Of an SQLite file or a LanceDB folder; of LangChain's SQL store.
    raw
        Number type of vectors that are stored as bare bytes, little-endian.
    dimension
        Refuse vectors of any other one; also tells the type of bare bytes.
    shortest_digits
        Also take a float64 that has the shortest digits of a float32, which is what parsing
        Titan's answers of 2024 gives: 0.41210938 for 0.412109375.
    batch_rows
        Most rows in memory at a time.
    """

    kind: Kind | None = None
    key: str | None = None
    vector: str | None = None
    document: str | None = None
    text: str | None = None
    model: str | None = None
    model_options: Mapping[str, object] = field(default_factory=dict)
    keys_file: Path | None = None
    table: str | None = None
    namespace: str | None = None
    raw: RawType | None = None
    dimension: int | None = None
    shortest_digits: bool = False
    batch_rows: int = 1024

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise refused(f"a source is one of {', '.join(KINDS)}, not {self.kind!r}")
        if (self.text is None) != (self.model is None):
            raise refused("a column of texts and a model belong together: give both")
        if self.text is not None and (self.key is not None or self.keys_file is not None):
            raise refused("keys come from a column, a file, or texts and a model: give one")
        if self.batch_rows < 1:
            raise refused(f"batch_rows is 1 or more, got {self.batch_rows}")
        if self.dimension is not None and self.dimension < 1:
            raise refused(f"a dimension is 1 or more, got {self.dimension}")

    def identity(self, path: Path, kind: Kind) -> str:
        """16 hexadecimal digits that are the same for the same source read in the same way."""
        words = {name: str(value) for name, value in asdict(self).items() if name != "batch_rows"}
        told = repr([str(path.resolve()), kind, sorted(words.items())])
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    def key_of(self, value: object, place: str) -> str:
        """The store's key for what the key or text column says; raises MigrationError."""
        if self.model is not None:
            if not isinstance(value, str):
                raise refused(f"{place}: a text is a string, got {type(value).__name__}")
            return embedding_key(self.model, value, self.model_options)
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise refused(f"{place}: the key is not UTF-8") from error
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise refused(f"{place}: a key is text or a whole number, got {type(value).__name__}")

    def document_of(self, value: object, place: str) -> str | None:
        """The document that a row names, None for none."""
        if value is None or isinstance(value, str):
            return value or None
        raise refused(f"{place}: a document's name is text, got {type(value).__name__}")

    def columns(self, names: Sequence[str], vectors: Sequence[str], place: str) -> Columns:
        """Which of the columns `names` to read; `vectors` are those that could hold vectors.

        Raises
        ------
        MigrationError
            BAD_SOURCE: a column that was named is not there, or looking leaves none or several.
        """
        key = self.text or self.key or _only(_KEY_NAMES, names, "key", place)
        vector = self.vector
        if vector is None:
            vector = vectors[0] if len(vectors) == 1 else None
            vector = vector or _only(_VECTOR_NAMES, vectors, "vector", place)
        for name in (key, vector, self.document):
            if name is not None and name not in names:
                raise refused(f"{place} has no column {name!r}; it has {', '.join(names)}")
        return Columns(key, vector, self.document)


class Columns(NamedTuple):
    """Names of the columns to read."""

    key: str
    vector: str
    document: str | None


def _only(usual: Sequence[str], names: Sequence[str], role: str, place: str) -> str:
    found = [name for name in names if name.lower() in usual]
    if len(found) == 1:
        return found[0]
    raise refused(
        f"{place}: which column is the {role}? name one of {', '.join(names) or 'none'} "
        f"(--{role}-column)"
    )


def refused(message: str, kind: ErrorKind = ErrorKind.BAD_SOURCE) -> MigrationError:
    """The error of a source that cannot be read as it was asked."""
    return MigrationError(message, kind)


@contextmanager
def reading(place: object) -> Iterator[None]:
    """What libraries and the operating system raise on a damaged source, as MigrationError."""
    try:
        yield
    except MigrationError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,  # zipfile: a way of compressing that it does not know
        RuntimeError,  # zipfile: an encrypted member; lancedb: whatever its core raises
        SyntaxError,  # numpy, of a header that is no literal; so the next
        tokenize.TokenError,
        OverflowError,
        MemoryError,  # a length or a depth that nobody has room for
        sqlite3.Error,
    ) as error:
        said = str(error).strip().splitlines()
        told = said[0] if said else type(error).__name__
        raise refused(f"{place} cannot be read: {told}") from error


def needs(extra: str, package: str) -> MigrationError:
    """The error where an optional package is missing."""
    return refused(
        f"this source needs {package}: pip install 'titanstore[{extra}]'",
        ErrorKind.MISSING_PACKAGE,
    )
