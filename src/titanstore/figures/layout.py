"""Bytes of a figures file. FORMAT.md, "Figures, version 1", is the contract. Pure.

The file says the names of what it holds, so that a release that counts something more is still
read by another one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crc32c import crc32c

from titanstore.figures.latencies import BUCKETS

FIGURES_VERSION = 1
FILE_BYTES = 8192
_MAGIC = b"TFIG"
# magic, version, length of the names, process, store id, namespace of processes, opened, CRC-32C
_HEADER = struct.Struct("<4sHHI16sQdI")
_NAMES_AT = 64
_CELLS_AT = 1024
_VALUES_MAX = 64
_OPERATIONS_MAX = 8
VALUES_CELL = 0  # in cells of 8 bytes from _CELLS_AT on
LATENCIES_CELL = _VALUES_MAX
CELLS = _VALUES_MAX + _OPERATIONS_MAX * BUCKETS
_CELLS = struct.Struct(f"<{CELLS}Q")
assert _CELLS_AT + _CELLS.size <= FILE_BYTES


class FiguresError(ValueError):
    """A file that is none, not whole, or of a release that is not understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one process published of one store that it has open.

    Attributes
    ----------
    pid, namespace
        The process, and the namespace in which that is its number.
    opened_s
        Unix time.
    values
        Counters and sizes by name.
    latencies
        By operation: how many in each bucket (`titanstore.figures.latencies`).
    sampled
        By operation: one in so many was timed.
    """

    pid: int
    namespace: int
    opened_s: float
    values: Mapping[str, int]
    latencies: Mapping[str, Sequence[int]]
    sampled: Mapping[str, int]


def pack_head(
    store_id: bytes,
    pid: int,
    namespace: int,
    opened_s: float,
    values: Sequence[str],
    operations: Mapping[str, int],
) -> bytes:
    """The first bytes of a file; the cells that follow begin as zeros.

    `operations`: names in their order, each with the number of which one is timed.
    """
    assert len(values) <= _VALUES_MAX
    assert len(operations) <= _OPERATIONS_MAX
    timed = ",".join(f"{name}/{sampled}" for name, sampled in operations.items())
    names = f"{','.join(values)};{timed}".encode("ascii")
    assert len(names) <= _CELLS_AT - _NAMES_AT
    fields = (_MAGIC, FIGURES_VERSION, len(names), pid, store_id, namespace, opened_s)
    covered = _HEADER.pack(*fields, 0)[:-4]
    check = crc32c(names, crc32c(covered))
    return (covered + check.to_bytes(4, "little")).ljust(_NAMES_AT, b"\0") + names


def cells_of(mapping: memoryview) -> memoryview:
    """The cells of a mapped file as u64, to be written to. Little-endian machines only."""
    return mapping[_CELLS_AT : _CELLS_AT + _CELLS.size].cast("Q")


def parse_figures(content: bytes, store_id: bytes) -> Figures:
    """The figures in a file's bytes, which anybody may have written.

    Raises
    ------
    FiguresError
        Whatever is wrong with them.
    """
    if len(content) != FILE_BYTES:
        raise FiguresError(f"{len(content)} bytes, wanted {FILE_BYTES}")
    magic, version, length, pid, owner, namespace, opened_s, check = _HEADER.unpack_from(content)
    if magic != _MAGIC or version != FIGURES_VERSION:
        raise FiguresError(f"magic {magic!r}, version {version}")
    if length > _CELLS_AT - _NAMES_AT:
        raise FiguresError(f"names of {length} bytes")
    names = content[_NAMES_AT : _NAMES_AT + length]
    if crc32c(names, crc32c(content[: _HEADER.size - 4])) != check:
        raise FiguresError("checksum")
    if owner != store_id or not math.isfinite(opened_s):
        raise FiguresError("of another store, or of no time")
    values, operations = _parse_names(names)
    cells = _CELLS.unpack_from(content, _CELLS_AT)
    latencies = {}
    for place, name in enumerate(operations):
        first = LATENCIES_CELL + place * BUCKETS
        latencies[name] = cells[first : first + BUCKETS]
    return Figures(
        pid=pid,
        namespace=namespace,
        opened_s=opened_s,
        values=dict(zip(values, cells[VALUES_CELL:], strict=False)),
        latencies=latencies,
        sampled=operations,
    )


def _parse_names(text: bytes) -> tuple[list[str], dict[str, int]]:
    try:
        names, _, timed = text.decode("ascii").partition(";")
        values = names.split(",")
        pairs = [pair.split("/") for pair in timed.split(",")]
        operations = {name: int(sampled) for name, sampled in pairs}
    except ValueError as error:  # UnicodeDecodeError is one
        raise FiguresError(f"names: {error}") from error
    every = [*values, *operations]
    is_sound = (
        len(values) <= _VALUES_MAX
        and len(operations) <= _OPERATIONS_MAX
        and len(set(every)) == len(every)
        and all(name.isidentifier() for name in every)
        and all(0 < sampled < 2**32 for sampled in operations.values())
    )
    if not is_sound:
        raise FiguresError(f"names: {text!r}")
    return values, operations
