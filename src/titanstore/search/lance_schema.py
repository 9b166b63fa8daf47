"""Rows of the Lance table: its Arrow schema, batches, and a checksum for each row.

LanceDB keeps no checksum over its data files, so each row carries its own, over everything but
the search vector; the frame has one more inside. A wrong search vector can only cost recall.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from titanstore.codec.choose import decode_frame, encode_frame
from titanstore.errors import CorruptionError, NewerFormatError
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_settings import ValueType

Vector = NDArray[np.float32]
STORED_COLUMNS = ("key", "document", "version", "model", "frame", "checksum")
_COVERED = struct.Struct("<IIIQ")
_ABSENT = 0xFFFF_FFFF  # as a length: there is no such text


class LanceRow(NamedTuple):
    """One current vector of the store."""

    key: str
    vector: Vector  # float32, shape (dimension,), any bit patterns, any dimension
    version: int  # the store's sequence number of the write, 0 to 2**64 - 1
    document: str | None = None
    model: str | None = None


class StoredRow(NamedTuple):
    """A row as the table gives it back, its checksum verified."""

    key: str
    document: str | None
    version: int
    model: str | None
    frame: bytes

    def vector(self) -> Vector:
        """The exact vector, freshly allocated.

        Raises
        ------
        LanceUnavailableError
            The frame is not what was written.
        """
        try:
            return decode_frame(self.frame)
        except (CorruptionError, NewerFormatError) as error:
            raise LanceUnavailableError(f"frame of {self.key!r}: {error}") from error


class Norms(NamedTuple):
    """Range of the lengths of vectors that can be searched; (inf, 0) of none."""

    low: float = float("inf")
    high: float = 0.0

    def joined(self, other: Norms) -> Norms:
        """The range of both."""
        return Norms(min(self.low, other.low), max(self.high, other.high))


class Batch(NamedTuple):
    """What one commit writes."""

    table: Any  # pyarrow.Table
    rows: int
    norms: Norms


def schema(dimension: int, values: ValueType) -> Any:
    """The table's Arrow schema. Imports pyarrow.

    The frame is compressed already, so Lance is told to leave it.
    """
    import pyarrow as pa

    alone = {"lance-encoding:compression": "none"}
    element = pa.float16() if values == "float16" else pa.float32()
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("document", pa.string()),
            pa.field("version", pa.uint64(), nullable=False),
            pa.field("model", pa.string()),
            pa.field("frame", pa.binary(), nullable=False, metadata=alone),
            pa.field("checksum", pa.uint32(), nullable=False),
            pa.field("vector", pa.list_(element, dimension)),
        ]
    )


def row_checksum(
    key: str, document: str | None, version: int, model: str | None, frame: bytes
) -> int:
    """CRC-32C over a row's texts with their lengths, its version and its frame."""
    texts = [None if text is None else text.encode() for text in (key, document, model)]
    lengths = [_ABSENT if text is None else len(text) for text in texts]
    found = crc32c(_COVERED.pack(*lengths, version))
    for text in (*texts, frame):
        found = crc32c(text or b"", found)
    return found


def unit_rows(vectors: Sequence[Vector], dimension: int) -> tuple[Vector, NDArray[np.bool_], Norms]:
    """Unit vectors for searching, which rows have none, and the range of the lengths.

    A row has none when it is of another dimension, holds NaN or infinity, or is all zero: such a
    vector is never a neighbour by an index. Lengths are taken in float64, so that no finite
    float32 overflows.
    """
    units = np.zeros((len(vectors), dimension), np.float32)
    lengths = np.zeros(len(vectors))
    for place, vector in enumerate(vectors):
        if vector.shape != (dimension,):
            continue
        with np.errstate(invalid="ignore"):  # a signalling NaN
            wide = vector.astype(np.float64)
        length = float(np.sqrt(wide @ wide))
        if 0 < length < np.inf:
            units[place] = wide / length
            lengths[place] = length
    has_none = lengths == 0
    there = lengths[~has_none]
    norms = Norms(float(there.min()), float(there.max())) if there.size else Norms()
    return units, has_none, norms


def batch_of(rows: Sequence[LanceRow], dimension: int, values: ValueType) -> Batch:
    """Rows as one Arrow table; of rows with one key the last stays. Imports pyarrow.

    About 0.15 ms a row: the frame is encoded and verified here.
    """
    import pyarrow as pa

    distinct = list({row.key: row for row in rows}.values())
    frames = [encode_frame(np.ascontiguousarray(row.vector)) for row in distinct]
    units, has_none, norms = unit_rows([row.vector for row in distinct], dimension)
    wanted = schema(dimension, values)
    flat = units.astype(np.float16 if values == "float16" else np.float32).reshape(-1)
    checksums = [
        row_checksum(row.key, row.document, row.version, row.model, frame)
        for row, frame in zip(distinct, frames, strict=True)
    ]
    columns = [
        pa.array([row.key for row in distinct], pa.string()),
        pa.array([row.document for row in distinct], pa.string()),
        pa.array([row.version for row in distinct], pa.uint64()),
        pa.array([row.model for row in distinct], pa.string()),
        pa.array(frames, pa.binary()),
        pa.array(checksums, pa.uint32()),
        pa.FixedSizeListArray.from_arrays(pa.array(flat), dimension, mask=pa.array(has_none)),
    ]
    return Batch(pa.Table.from_arrays(columns, schema=wanted), len(distinct), norms)


def batches_of(
    rows: Iterable[LanceRow], count_max: int, bytes_max: int
) -> Iterator[list[LanceRow]]:
    """Rows in lists of at most `count_max` and about `bytes_max` bytes of vectors."""
    found: list[LanceRow] = []
    size = 0
    for row in rows:
        found.append(row)
        size += row.vector.nbytes
        if len(found) >= count_max or size >= bytes_max:
            yield found
            found, size = [], 0
    if found:
        yield found


def stored_rows(batch: Any) -> list[StoredRow]:
    """Rows of an Arrow batch with `STORED_COLUMNS`, each checksum verified.

    Raises
    ------
    LanceUnavailableError
        A row is not what was written.
    """
    columns = [batch.column(name).to_pylist() for name in STORED_COLUMNS]
    found = []
    for key, document, version, model, frame, checksum in zip(*columns, strict=True):
        if row_checksum(key, document, version, model, frame) != checksum:
            raise LanceUnavailableError(f"the row of {key!r} is not what was written")
        found.append(StoredRow(key, document, version, model, frame))
    return found
