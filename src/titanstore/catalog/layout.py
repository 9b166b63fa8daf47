"""Bytes of the catalog's values. FORMAT.md, "Catalog, version 1", is the contract."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.layout import ADDRESS_BYTES, Address
from titanstore.segments.writer import Placed
from titanstore.types import Origin, Version

_RUN = struct.Struct(">HII")  # segment, offset, count
_DOCUMENT = struct.Struct("<H")  # bytes of the name
_SEGMENT_STATE = struct.Struct("<II")  # committed end, bytes of records no longer current
_NUMBER = struct.Struct("<I")
_VERSION = struct.Struct("<dQIBBH")  # created, vectors, documents, origin, state, label
_NAME = struct.Struct("<H")  # bytes of a tag
_ORIGINS: tuple[Origin, ...] = ("snapshot", "rollback", "before-rollback")


class Run(NamedTuple):
    """`length` records of one document that lie one after the other."""

    start: Address
    length: int


class SegmentState(NamedTuple):
    """What the catalog knows of one segment."""

    end: int
    dead_bytes: int

    def pack(self) -> bytes:
        """8 bytes."""
        return _SEGMENT_STATE.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> SegmentState:
        """Inverse of `pack`; CorruptionError (BAD_CATALOG) otherwise."""
        if len(data) != _SEGMENT_STATE.size:
            raise CorruptionError("catalog: segment state damaged", ErrorKind.BAD_CATALOG)
        return cls(*_SEGMENT_STATE.unpack(data))


def runs_of(places: Iterable[Placed]) -> list[Run]:
    """Join places that touch (up to the 3 bytes of padding) into runs, keeping their order."""
    runs: list[Run] = []
    end = -1
    for place in places:
        address = place.address
        if runs and runs[-1].start.segment == address.segment and end <= address.offset <= end + 3:
            runs[-1] = Run(runs[-1].start, runs[-1].length + 1)
        else:
            runs.append(Run(address, 1))
        end = place.end
    return runs


def pack_document(name: str, runs: Sequence[Run]) -> bytes:
    """A document's entry: its name, then its runs in the document's order."""
    encoded = name.encode()
    packed = b"".join(_RUN.pack(*run.start, run.length) for run in runs)
    return _DOCUMENT.pack(len(encoded)) + encoded + packed


def unpack_document(data: bytes) -> tuple[str, list[Run]]:
    """Inverse of `pack_document`; CorruptionError (BAD_CATALOG) for anything else."""
    try:
        (size,) = _DOCUMENT.unpack_from(data)
        start = _DOCUMENT.size + size
        if start > len(data):
            raise struct.error("its name is cut off")
        name = data[_DOCUMENT.size : start].decode()
        runs = [
            Run(Address(segment, offset), count)
            for segment, offset, count in _RUN.iter_unpack(data[start:])
        ]
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"catalog: document damaged: {error}", ErrorKind.BAD_CATALOG
        ) from error
    return name, runs


def pack_number(number: int) -> bytes:
    """4 bytes, little-endian."""
    return _NUMBER.pack(number)


def unpack_number(data: bytes) -> int:
    """Inverse of `pack_number`; CorruptionError (BAD_CATALOG) for any other length."""
    if len(data) != _NUMBER.size:
        raise CorruptionError("catalog: a number damaged", ErrorKind.BAD_CATALOG)
    return int.from_bytes(data, "little")


class StoredVersion(NamedTuple):
    """A version, and whether retention has begun to take it away."""

    version: Version
    is_dropped: bool = False


def pack_version(stored: StoredVersion) -> bytes:
    """A version's value; its number is the key."""
    version = stored.version
    label = (version.label or "").encode()
    origin = _ORIGINS.index(version.origin)
    head = _VERSION.pack(
        version.created_s,
        version.vectors,
        version.documents,
        origin,
        stored.is_dropped,
        len(label),
    )
    tags = (tag.encode() for tag in sorted(version.tags))
    return head + label + b"".join(_NAME.pack(len(tag)) + tag for tag in tags)


def unpack_version(number: int, data: bytes) -> StoredVersion:
    """Inverse of `pack_version`; CorruptionError (BAD_CATALOG) for anything else."""
    try:
        created_s, vectors, documents, origin, state, size = _VERSION.unpack_from(data)
        label = _text(data, _VERSION.size, size)
        at = _VERSION.size + size
        tags = []
        while at < len(data):
            (size,) = _NAME.unpack_from(data, at)
            tags.append(_text(data, at + _NAME.size, size))
            at += _NAME.size + size
        if origin >= len(_ORIGINS) or state > 1:
            raise struct.error(f"origin {origin}, state {state}")
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"catalog: version {number} damaged: {error}", ErrorKind.BAD_CATALOG
        ) from error
    version = Version(
        number=number,
        label=label or None,
        created_s=created_s,
        vectors=vectors,
        documents=documents,
        tags=tuple(tags),
        origin=_ORIGINS[origin],
    )
    return StoredVersion(version, bool(state))


def _text(data: bytes, start: int, size: int) -> str:
    if start + size > len(data):
        raise struct.error("a name is cut off")
    return data[start : start + size].decode()


def unpack_version_number(key: bytes) -> int:
    """The number of a version from its key, u32 big-endian."""
    if len(key) != _NUMBER.size:
        raise CorruptionError("catalog: a version's number damaged", ErrorKind.BAD_CATALOG)
    return int.from_bytes(key, "big")


def require_order(is_so: bool) -> None:
    """Raise CorruptionError (BAD_CATALOG) where a walk is led back: it would not end."""
    if not is_so:
        raise CorruptionError("catalog: its keys are not in order", ErrorKind.BAD_CATALOG)


def unpack_entry(entry: bytes) -> Address:
    """The address at the end of an entry (fingerprint, address)."""
    return Address.unpack(entry[-ADDRESS_BYTES:])
