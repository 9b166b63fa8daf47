"""Keys that stand more than once: in several parts of a job, or in a part and in the table.

They are found by 8-byte hashes, which is all that is in memory of a key, and then compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_DIGITS = 32  # of the usual key, a digest
_ODD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)


def hashes_of(keys: Any) -> Hashes:
    """8-byte hashes of an Arrow column of keys, in its order; equal keys have equal ones.

    Digests go 10^7 a second, other keys 10^6.
    """
    listed = getattr(keys, "chunks", [keys])
    found = [_hashes_of_one(chunk) for chunk in listed]
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


def _hashes_of_one(keys: Any) -> Hashes:
    count = len(keys)
    _, offsets, data = keys.buffers()
    if count and data is not None:
        ends = np.frombuffer(offsets, np.int32, count + 1, 4 * keys.offset)
        if (np.diff(ends) == _DIGITS).all():
            words = np.frombuffer(data, np.uint64, 4 * count, int(ends[0])).reshape(count, 4)
            with np.errstate(over="ignore"):
                mixed = (words * _ODD) ^ ((words * _ODD) >> np.uint64(29))
                return np.asarray((mixed * _ODD[::-1]).sum(axis=1, dtype=np.uint64))
    texts = keys.to_pylist()
    return np.fromiter((_hash(text) for text in texts), np.uint64, count)


def _hash(key: str) -> int:
    data = key.encode()
    if len(data) == _DIGITS:  # as the fast way has it, for a batch with other keys in it
        words = np.frombuffer(data, np.uint64)
        with np.errstate(over="ignore"):
            mixed = (words * _ODD) ^ ((words * _ODD) >> np.uint64(29))
            return int((mixed * _ODD[::-1]).sum(dtype=np.uint64))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Place(NamedTuple):
    """A row of a job: which list of hashes, and where in it."""

    part: int
    row: int


def suspects(parts: Sequence[Hashes], others: Iterable[Hashes] = ()) -> list[Place]:
    """Rows whose hash another row of the parts or of `others` has too, in order.

    Memory is 16 bytes for each row of the parts; `others` are gone through once.
    """
    joined = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    ordered = np.sort(joined)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    found = [twice]
    for other in others:
        if ordered.size:
            at = np.minimum(np.searchsorted(ordered, other), ordered.size - 1)
            found.append(np.unique(other[ordered[at] == other]))
    wanted = np.unique(np.concatenate(found))
    places = []
    for number, hashes in enumerate(parts):
        rows = np.flatnonzero(np.isin(hashes, wanted)) if wanted.size else ()
        places += [Place(number, int(row)) for row in rows]
    return places
