"""Plane files: the int8 codes of a segment's vectors, one row a record, for search to scan.

A segment has one plane for each dimension that its searchable vectors have. A row holds the codes
and what bounds the error of a score computed from them. Rows are appended and never change; a
record names its row, a row its record. Sliced frames keep their codes here and nowhere else, so a
plane is as durable as its segment. FORMAT.md, "Plane, version 1".
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import HEADER_BYTES, Buffer, parse_header
from titanstore.codec.sliced import Codes, slice_words
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError
from titanstore.segments.disk import storage_error
from titanstore.segments.plain_file import PlainFile
from titanstore.sums import Wide, exact_sums

PLANE_VERSION = 1
_MAGIC = b"TPLN"
_HEADER = struct.Struct("<4sHHII16sI")  # magic, version, 0, segment, dimension, store id, CRC-32C
PLANE_HEADER_BYTES = 64
# record's offset, document, scale, error, square of the norm, CRC-32C of the row so far
_FACTS = struct.Struct("<IIffdI")
_FACTS_BYTES = 32
_NO_RECORD = 0  # as an offset: the header of the segment lies there
# Summing up to 16 383 squares in any order errs by less than 1.9e-12, the root of it by half of
# that, and rounding the rests and their squares by 5e-16
_ERROR_SLACK = 1 + 4e-12
_BLOCK_VALUES = 24_576  # worked out at a time: their scratch stays in the second-level cache


class PlaneRow(NamedTuple):
    """What search needs to know of one vector x.

    |x - (codes + 0.5) * scale| <= error, in float64. Not searchable: scale is NaN.
    """

    codes: bytes
    scale: float  # float32
    error: float  # float32
    square: float  # x.x, the correctly rounded sum of exact products


# kept: each new Path interns its parts, and at every search and write that would make the
# interpreter's table of interned strings grow by half a megabyte
@lru_cache(maxsize=64)
def plane_path(folder: Path, number: int, dimension: int) -> Path:
    """File of the plane of segment `number` for vectors of `dimension`."""
    return folder / f"{number:05d}-{dimension}.plane"


def row_bytes(dimension: int) -> int:
    """Bytes from one row to the next: a multiple of 8, so that facts are aligned."""
    return -(-dimension // 8) * 8 + _FACTS_BYTES


def row_type(dimension: int) -> np.dtype[np.void]:
    """The dtype of a row."""
    start = row_bytes(dimension) - _FACTS_BYTES
    return np.dtype(
        {
            "names": ["codes", "offset", "document", "scale", "error", "square", "check"],
            "formats": [(np.int8, dimension), "<u4", "<u4", "<f4", "<f4", "<f8", "<u4"],
            "offsets": [0, *(start + at for at in (0, 4, 8, 12, 16, 24))],
            "itemsize": row_bytes(dimension),
        }
    )


def plane_row(vector: Vector, frame: Buffer) -> PlaneRow:
    """`plane_rows` of one vector."""
    return plane_rows([vector], [frame])[0]


def plane_rows(vectors: Sequence[Vector], frames: Sequence[Buffer]) -> list[PlaneRow]:
    """The rows for vectors of one dimension and the frames that will be stored with them.

    A sliced frame's own codes are used, since they are what completes it. About 20 us a vector.
    """
    found: list[PlaneRow] = []
    while len(found) < len(vectors):
        size = max(1, _BLOCK_VALUES // vectors[0].size)
        block = slice(len(found), len(found) + size)
        found += _block_of_rows(vectors[block], frames[block])
    return found


def _block_of_rows(vectors: Sequence[Vector], frames: Sequence[Buffer]) -> list[PlaneRow]:
    narrow = np.stack(vectors)
    is_finite = np.logical_and.reduce(np.isfinite(narrow), axis=1)
    narrow[~is_finite] = 0
    wide = narrow.astype(np.float64)
    codes = np.zeros(wide.shape, np.int8)
    for place in np.flatnonzero(is_finite).tolist():
        codes[place] = _codes_of(vectors[place], frames[place])
    middles: Wide = codes + np.float64(0.5)
    scales = _best_scales(wide, middles)
    rests = middles  # in its place, as all scratch here: a block of the heap is not given back
    rests *= scales[:, None]  # exact: 24 and 9 bits
    np.subtract(wide, rests, out=rests)
    errors = np.sqrt(np.vecdot(rests, rests)) * _ERROR_SLACK  # upper bounds
    wide *= wide
    squares = exact_sums(wide, rests).tolist()
    return [
        PlaneRow(code.tobytes(), float(scale), _rounded_up(error), square)
        if finite
        else PlaneRow(code.tobytes(), math.nan, math.nan, math.nan)
        for code, scale, error, square, finite in zip(
            codes, scales, errors.tolist(), squares, is_finite, strict=True
        )
    ]


def _codes_of(vector: Vector, frame: Buffer) -> Codes:
    header = parse_header(frame)
    if header.has_codes:
        return np.frombuffer(frame, np.int8, header.dimension, HEADER_BYTES)
    return slice_words(vector.view(np.uint32)).codes


def _best_scales(wide: Wide, middles: Wide) -> NDArray[np.float32]:
    """The scales that fit best, rather than the steps: they serve scaled grids as well."""
    products = np.vecdot(wide, middles)
    with np.errstate(over="ignore", under="ignore"):
        quotients = products / np.vecdot(middles, middles)
        scales: NDArray[np.float32] = quotients.astype(np.float32)
    scales[~np.isfinite(scales)] = 0
    return scales


def is_row_of(row: PlaneRow, vector: Vector) -> bool:
    """Does a stored row say the truth about a vector? For `check`; takes any codes that do."""
    if not np.isfinite(vector).all():
        return math.isnan(row.scale)
    wide = vector.astype(np.float64)
    middles = np.frombuffer(row.codes, np.int8) + 0.5
    rests = wide - middles * row.scale
    error = math.sqrt(np.dot(rests, rests))
    is_near = error / _ERROR_SLACK <= row.error <= _rounded_up(error * _ERROR_SLACK**2)
    return is_near and row.square == float(exact_sums((wide * wide)[None])[0])


def _rounded_up(error: float) -> float:
    """The smallest float32 not below a float64; infinity beyond the largest."""
    with np.errstate(over="ignore"):
        nearest = np.float32(error)
    return float(nearest if float(nearest) >= error else np.nextafter(nearest, np.float32(np.inf)))


def pack_row(row: PlaneRow, offset: int, document: int) -> bytes:
    """One row of the file, for the record at `offset`."""
    padded = row.codes + bytes(-len(row.codes) % 8)
    covered = padded + _FACTS.pack(offset, document, row.scale, row.error, row.square, 0)[:-4]
    return covered + crc32c(covered).to_bytes(4, "little") + bytes(_FACTS_BYTES - _FACTS.size)


def void_row(dimension: int) -> bytes:
    """A row of no record, for what a write that was never acknowledged left behind."""
    return pack_row(PlaneRow(bytes(dimension), math.nan, math.nan, math.nan), _NO_RECORD, 0)


def plane_header(number: int, dimension: int, store_id: bytes) -> bytes:
    """The first bytes of a plane file."""
    fields = (_MAGIC, PLANE_VERSION, 0, number, dimension, store_id)
    covered = _HEADER.pack(*fields, 0)[:-4]
    return (covered + crc32c(covered).to_bytes(4, "little")).ljust(PLANE_HEADER_BYTES, b"\0")


class Plane:
    """One plane file, as long as it was when it was mapped. Any thread may read.

    With `by_pread` it is read instead, where it is needed: one row, or for a scan all of them,
    which then take the room of the file in memory.

    Attributes
    ----------
    count
        Number of rows.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        dimension: int,
        store_id: bytes,
        *,
        by_pread: bool = False,
    ) -> None:
        self.number = number
        self.dimension = dimension
        path = plane_path(folder, number, dimension)
        place = f"plane {path.name}"
        self._kind = row_type(dimension)
        self._mapping: mmap.mmap | None = None
        self._is_for_scans = False
        try:
            file = PlainFile(path, place)
            size = file.size()
            if size < PLANE_HEADER_BYTES:
                raise CorruptionError(f"{place}: shorter than its header", ErrorKind.SHORT_SEGMENT)
            if not by_pread:
                self._mapping = file.map(size)
        except FileNotFoundError as error:
            raise CorruptionError(f"{place} is missing", ErrorKind.MISSING_SEGMENT) from error
        except OSError as error:
            raise storage_error(error, f"opening {place}") from error
        header = self._mapping or file.read_all(0, PLANE_HEADER_BYTES)
        _check_header(memoryview(header), number, dimension, store_id, place)
        self.count = (size - PLANE_HEADER_BYTES) // self._kind.itemsize
        self._file = file if by_pread else None  # a mapping needs no descriptor
        self._rows = None if self._mapping is None else self._rows_in(self._mapping)

    def _rows_in(self, data: mmap.mmap | bytes) -> NDArray[Any]:
        rows: NDArray[Any] = np.frombuffer(data, self._kind, self.count, PLANE_HEADER_BYTES)
        rows.flags.writeable = False
        return rows

    @property
    def rows(self) -> NDArray[Any]:
        """Structured array of `row_type`, read-only: a view of the mapping, or read and kept.

        Raises StorageError, and CorruptionError (SHORT_SEGMENT), by pread only.
        """
        if self._rows is None:
            assert self._file is not None
            size = PLANE_HEADER_BYTES + self.count * self._kind.itemsize
            self._rows = self._rows_in(self._file.read_all(0, size))
        return self._rows

    def _bytes_of(self, start: int, size: int) -> memoryview:
        if self._mapping is not None:
            return memoryview(self._mapping)[start : start + size]
        assert self._file is not None
        return memoryview(self._file.read_all(start, size))

    @property
    def codes(self) -> Codes:
        """int8, shape (rows, dimension), rows not contiguous with each other."""
        codes: Codes = self.rows["codes"]
        return codes

    def codes_of(self, row: int) -> memoryview:
        """Bytes of the codes of one row; raises CorruptionError (SHORT_SEGMENT)."""
        start = self._start(row)
        return self._bytes_of(start, self.dimension)

    def _start(self, row: int) -> int:
        if not 0 <= row < self.count:
            raise CorruptionError(
                f"plane {plane_path(Path(), self.number, self.dimension).name}: "
                f"{self.count} rows, {row + 1} wanted",
                ErrorKind.SHORT_SEGMENT,
            )
        return PLANE_HEADER_BYTES + row * self._kind.itemsize

    def rows_before(self, offset: int) -> int:
        """How many rows are of records before an offset: rows lie in the order of their records.

        Looks at 20 rows of a million. Raises as `codes_of`, by pread only.
        """
        kind = self._kind["offset"]
        assert self._kind.fields is not None
        place = self._kind.fields["offset"][1]

        def offset_of(row: int) -> int:
            return int(np.frombuffer(self._bytes_of(self._start(row) + place, 4), kind)[0])

        return bisect_left(range(self.count), offset, key=offset_of)

    def will_need(self, row: int, count: int = 1) -> None:
        """Have the kernel read the pages of rows, if need be, in one go and no others."""
        if self._mapping is None or self._is_for_scans:
            return  # nothing to tell it, or it was told to read everything
        size = self._kind.itemsize
        first = (PLANE_HEADER_BYTES + row * size) // mmap.PAGESIZE * mmap.PAGESIZE
        length = min(PLANE_HEADER_BYTES + (row + count) * size, len(self._mapping)) - first
        if length > 0:
            with contextlib.suppress(OSError):  # it is advice: the read itself will tell
                self._mapping.madvise(mmap.MADV_WILLNEED, first, length)

    def will_scan(self) -> None:
        """Have the kernel read everything, if need be, and ahead from now on."""
        if self._mapping is not None and not self._is_for_scans:
            self._is_for_scans = True
            with contextlib.suppress(OSError):
                self._mapping.madvise(mmap.MADV_NORMAL)
                self._mapping.madvise(mmap.MADV_WILLNEED)

    def row(self, row: int) -> PlaneRow | None:
        """One row; None where it does not match its checksum. Raises as `codes_of`."""
        start = self._start(row)
        stored = self._bytes_of(start, self._kind.itemsize)
        facts = len(stored) - _FACTS_BYTES
        _, _, scale, error, square, check = _FACTS.unpack_from(stored, facts)
        if crc32c(stored[: facts + _FACTS.size - 4]) != check:
            return None
        return PlaneRow(bytes(stored[: self.dimension]), scale, error, square)


def _check_header(
    data: memoryview, number: int, dimension: int, store_id: bytes, place: str
) -> None:
    magic, version, _, seen, width, owner, check = _HEADER.unpack_from(data)
    if magic == _MAGIC and version > PLANE_VERSION:
        raise NewerFormatError(
            f"{place}: version {version}, this release reads up to {PLANE_VERSION}",
            ErrorKind.NEWER_FORMAT,
        )
    is_whole = magic == _MAGIC and crc32c(data[: _HEADER.size - 4]) == check
    if not is_whole or (seen, width, owner) != (number, dimension, store_id):
        raise CorruptionError(
            f"{place}: header is damaged or belongs to another store", ErrorKind.BAD_SEGMENT
        )
