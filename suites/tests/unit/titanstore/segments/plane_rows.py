"""Records, rows and marks of the tests of planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fixtures.segments import STORE_ID
from titanstore.codec.choose import RAW, encode_frame
from titanstore.codec.frame import parse_header
from titanstore.keys import StoredKey
from titanstore.segments.layout import Address
from titanstore.segments.marks import map_marks, marks_path
from titanstore.segments.plane import PlaneRow, plane_row
from titanstore.segments.planes import NewRow
from titanstore.segments.writer import NewRecord

Vector = NDArray[np.float32]
START = Address(0, 0)


def values(seed: int, dimension: int = 64) -> Vector:
    words = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return (words.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def record(seed: int, dimension: int = 64, *, row: bool = True, current: bool = True) -> NewRecord:
    vector = values(seed, dimension)
    frame = encode_frame(vector, with_codes=row)
    is_raw = parse_header(frame).codec_id == RAW.codec_id
    facts = plane_row(vector, frame) if row else None
    return NewRecord(StoredKey(False, f"k{seed}".encode()), seed, frame, is_raw, facts, current)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def row_of(code: int, offset: int) -> NewRow:
    return NewRow(PlaneRow(bytes([code] * 5), 1.0, 0.0, 0.0), offset, 0, is_current=True)


def marks_of(folder: Path, segment: int, dimension: int) -> list[int]:
    marks = map_marks(marks_path(folder, segment, dimension), STORE_ID)
    return [] if marks is None else marks.tolist()
