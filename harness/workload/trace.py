"""Traces: recorded sequences of accesses that replay exactly (SPEC section 4).

A trace starts with `documents * chunks_per_document` chunks stored and every tier empty. Keys
are whole numbers: chunk c of document d begins as key `d * chunks_per_document + c`, and every
write gives its chunk new content, hence the next unused key. So keys follow from the other
columns and are never stored.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ACCESSES_MAX",
    "CHUNK_INTERVAL_S",
    "Access",
    "Operation",
    "Parameter",
    "Trace",
    "load_trace",
    "save_trace",
]

Parameter = int | float | str

# Of consecutive chunks inside one visit: a drop-in client renders and parses 0.4 to 1 ms of JSON
# for every cached answer (FACTS, "Other tools"), so no caller asks faster than this.
CHUNK_INTERVAL_S = 1e-3

FORMAT = "titanstore-trace"
VERSION = 1
ACCESSES_MAX = 10_000_000  # 250 MB of columns; a file that claims more is refused unread
KEYS_MAX = 10_000_000  # stored before the start; the most vectors the plan speaks of
_HEADER_BYTES_MAX = 65_536
_LINE_BYTES_MAX = 256
_TIME_S_MAX = 1e10


class Operation(IntEnum):
    """What an access does: reads count for the hit ratio, writes bring new content."""

    READ = 0
    WRITE = 1


class Access(NamedTuple):
    """One access; `size` is the bytes of the decoded vector."""

    time_s: float
    key: int
    document: int
    chunk: int
    size: int
    operation: Operation
    visit: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """A sequence of accesses in columns of equal length, read-only, in order of time.

    Parameters
    ----------
    name, source
        What it imitates, and what it was derived from (a corpus digest, a commit, or "").
    seed, parameters
        What the generator needs to make it again.
    documents, chunks_per_document, row_bytes
        The shape of what is stored, and the bytes of one decoded vector.
    time_s, document, chunk, operation, visit
        float64, int32, int32, uint8, int32. Times and visits never decrease. Accesses of one
        visit keep their pace in a replay; time between visits is think time and may be cut.

    Attributes
    ----------
    key
        int64; derived as the module says.

    Raises
    ------
    ValueError
        Columns of different lengths or kinds, or a value outside its range.
    """

    name: str
    seed: int
    documents: int
    chunks_per_document: int
    row_bytes: int
    time_s: NDArray[np.float64]
    document: NDArray[np.int32]
    chunk: NDArray[np.int32]
    operation: NDArray[np.uint8]
    visit: NDArray[np.int32]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    source: str = ""
    key: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.documents, self.chunks_per_document, self.row_bytes) < 1:
            raise ValueError("documents, chunks_per_document and row_bytes must be at least 1")
        if self.documents * self.chunks_per_document > KEYS_MAX:
            raise ValueError(f"{self.documents} documents of {self.chunks_per_document} chunks")
        settle = object.__setattr__
        settle(self, "parameters", MappingProxyType(dict(self.parameters)))
        settle(self, "time_s", _column("time_s", self.time_s, np.float64, _TIME_S_MAX))
        settle(self, "document", _column("document", self.document, np.int32, self.documents - 1))
        last_chunk = self.chunks_per_document - 1
        settle(self, "chunk", _column("chunk", self.chunk, np.int32, last_chunk))
        settle(self, "operation", _column("operation", self.operation, np.uint8, 1))
        settle(self, "visit", _column("visit", self.visit, np.int32, ACCESSES_MAX))
        lengths = {len(column) for column in self._columns()}
        if len(lengths) != 1 or max(lengths) > ACCESSES_MAX:
            raise ValueError(f"columns of {sorted(lengths)} accesses; at most {ACCESSES_MAX}")
        for name, column in (("time_s", self.time_s), ("visit", self.visit)):
            if np.any(column[1:] < column[:-1]):
                raise ValueError(f"{name} must never decrease")
        settle(self, "key", self._derive_keys())

    def __len__(self) -> int:
        return len(self.time_s)

    def __iter__(self) -> Iterator[Access]:
        columns = (self.time_s, self.key, self.document, self.chunk, self.operation, self.visit)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for time_s, key, document, chunk, operation, visit in rows:
            yield Access(time_s, key, document, chunk, self.row_bytes, Operation(operation), visit)

    @property
    def keys(self) -> int:
        """How many keys exist in the end: those stored before the start, and one a write."""
        return self.documents * self.chunks_per_document + len(self) - self.reads

    @property
    def reads(self) -> int:
        return int(np.count_nonzero(self.operation == Operation.READ))

    @property
    def digest(self) -> str:
        """BLAKE2b of all that a replay depends on: shape and columns, not name or parameters."""
        shape = (self.documents, self.chunks_per_document, self.row_bytes, len(self))
        state = blake2b(repr(shape).encode(), digest_size=16)
        for column in self._columns():
            state.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        return state.hexdigest()

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return (self.time_s, self.document, self.chunk, self.operation, self.visit)

    def _derive_keys(self) -> NDArray[np.int64]:
        """Each access's key: the newest written to its chunk up to and with this access."""
        slots = self.document.astype(np.int64) * self.chunks_per_document + self.chunk
        written = self.operation == Operation.WRITE
        fresh = self.documents * self.chunks_per_document + np.cumsum(written) - 1
        order = np.argsort(slots, kind="stable")
        grouped = slots[order]
        starts = np.flatnonzero(np.r_[True, grouped[1:] != grouped[:-1]]) if len(self) else order
        # Fresh keys grow with time, so inside a chunk's group the running maximum is the newest;
        # groups are told apart by lifting each above all keys of the one before.
        lift = np.zeros(len(self), np.int64)
        lift[starts] = 1
        lift = np.cumsum(lift) * (ACCESSES_MAX + KEYS_MAX)
        newest = np.maximum.accumulate(np.where(written, fresh, slots)[order] + lift) - lift
        keys = np.empty(len(self), np.int64)
        keys[order] = newest
        keys.flags.writeable = False
        return keys


def _column(name: str, values: ArrayLike, dtype: type[np.generic], highest: float) -> NDArray[Any]:
    """A read-only copy of `values` in [0, highest], refusing what the cast would change."""
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in ("f" if dtype is np.float64 else "iu"):
        raise ValueError(f"{name}: {given.ndim} axes of {given.dtype}; one of {dtype} wanted")
    # "not all inside" and not "any outside", so that NaN is refused
    if not np.all((given >= 0) & (given <= highest)):
        raise ValueError(f"{name}: a value outside 0 to {highest}")
    column = given.astype(dtype)
    column.flags.writeable = False
    return column


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace as gzip JSON lines: a header, then [time_s, document, chunk, op, visit].

    The same trace gives the same bytes. Times are written in the shortest form that reads back
    to the same float64. Replaces what is at `path`.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": trace.name,
        "seed": trace.seed,
        "source": trace.source,
        "parameters": dict(trace.parameters),
        "documents": trace.documents,
        "chunks_per_document": trace.chunks_per_document,
        "row_bytes": trace.row_bytes,
        "accesses": len(trace),
        "digest": trace.digest,
    }
    columns = (trace.time_s, trace.document, trace.chunk, trace.operation, trace.visit)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    first = json.dumps(header, allow_nan=False).encode()
    if len(first) >= _HEADER_BYTES_MAX:
        raise ValueError(f"trace header of {len(first)} bytes, fewer than {_HEADER_BYTES_MAX}")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(first + b"\n")
        file.writelines(b"[%r,%d,%d,%d,%d]\n" % row for row in rows)


def load_trace(path: Path) -> Trace:
    """Read what `save_trace` wrote; the result is equal in every column.

    Raises
    ------
    ValueError
        Not a trace, truncated, damaged, of a newer version, or with a value outside its range.
    OSError
        The file can't be opened or read.

    Notes
    -----
    Memory grows with the lines read, not with what the header claims; at most `ACCESSES_MAX`.
    """
    try:
        with gzip.open(path, "rb") as file:
            header = _read_header(cast(BinaryIO, file))
            rows = _read_rows(cast(BinaryIO, file), header["accesses"])
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path.name}: truncated or damaged: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    claimed = header.pop("digest")
    fields: dict[str, Any] = {
        name: header[name] for name in _HEADER_KINDS if name not in _NOT_FIELDS
    }
    # as int64, so that Trace sees a number too large for its column
    fields |= {
        name: rows[:, place].astype(np.int64) for place, name in enumerate(_WHOLE_NUMBERS, 1)
    }
    trace = Trace(time_s=rows[:, 0], **fields)
    if trace.digest != claimed:
        raise ValueError(f"{path.name}: digest {trace.digest}, header says {claimed}")
    return trace


_HEADER_KINDS: Mapping[str, type] = {
    "name": str,
    "seed": int,
    "source": str,
    "parameters": dict,
    "documents": int,
    "chunks_per_document": int,
    "row_bytes": int,
    "accesses": int,
    "digest": str,
}
_WHOLE_NUMBERS = ("document", "chunk", "operation", "visit")
_NOT_FIELDS = frozenset({"accesses", "digest"})


def _read_header(file: BinaryIO) -> dict[str, Any]:
    line = file.readline(_HEADER_BYTES_MAX)
    if not line.endswith(b"\n"):
        raise ValueError("no header line of a trace")
    header = json.loads(line)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"not a {FORMAT} file")
    if header.get("version") != VERSION:
        raise ValueError(f"trace version {header.get('version')!r}, {VERSION} wanted")
    for name, kind in _HEADER_KINDS.items():
        if type(header.get(name)) is not kind:
            raise ValueError(f"header field {name}: {header.get(name)!r}, {kind.__name__} wanted")
    for name, value in header["parameters"].items():
        if type(value) not in (int, float, str):
            raise ValueError(f"parameter {name}: {value!r}, number or text wanted")
    if not 0 <= header["accesses"] <= ACCESSES_MAX:
        raise ValueError(f"{header['accesses']} accesses, 0 to {ACCESSES_MAX} wanted")
    return header


def _read_rows(file: BinaryIO, count: int) -> NDArray[np.float64]:
    """Lines as float64 of shape (count, 5); whole numbers up to 2^53 are kept exactly."""
    blocks: list[NDArray[np.float64]] = []
    rows: list[list[float]] = []
    for place in range(count):
        row = json.loads(file.readline(_LINE_BYTES_MAX) or b"null")
        if type(row) is not list or [type(value) for value in row] != [float, int, int, int, int]:
            raise ValueError(f"access {place} of {count}: [time, 4 whole numbers] wanted")
        if not all(abs(value) < 2**53 for value in row):
            raise ValueError(f"access {place} of {count}: a number out of range")
        rows.append(row)
        if len(rows) == 65_536:
            blocks.append(np.array(rows))
            rows = []
    if file.read(1):
        raise ValueError(f"more than the {count} accesses that the header says")
    blocks.append(np.array(rows, np.float64).reshape(-1, 5))
    return np.concatenate(blocks)
