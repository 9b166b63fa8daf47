"""Results of earlier queries, kept exactly as long as no change can alter them.

A result of k keys changes only when one of them goes or gets another vector, or when a new vector
is at most as far from the query as the last of them. Both are looked at when the query comes
again: the keys against the catalog, and the rows appended since against the last distance. What
cannot be followed that way ends a result: a rollback that brought old records back, a compaction,
any change at all for results that are narrowed to documents.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.errors import CorruptionError
from titanstore.keys import stored_key
from titanstore.search.distance import Metric
from titanstore.search.flat import Found, score_rows
from titanstore.search.mask import blank_mask
from titanstore.search.quantise import quantise
from titanstore.search.scope import Scope, look
from titanstore.segments.layout import Address
from titanstore.segments.reader import SegmentReader
from titanstore.types import Hit

_ENTRY_BYTES = 540  # a kept result and its name, without its hits: measured by test_results.py
_HIT = struct.Struct("=dHIH")  # distance, segment, offset, bytes of the key, which follows
_ROWS_MIN = 128  # float64 of so many are 1 kB
_ROWS_MAX = 2_048  # new ones: scores of so many take less than 128 KiB of the heap, as in `flat`
_HITS_OF_AN_ENTRY = 100  # of all entries together, on average


@dataclass(slots=True)
class _Kept:
    """One result and the state of the store that it belongs to."""

    found: bytes  # packed: 48 bytes a hit; as objects it takes 277, scattered among what goes
    hits: int
    scanned: dict[int, int]  # by segment: rows that were looked at
    change: int  # the last transaction that was committed before it was found
    revivals: int
    is_full: bool  # k results were there


class ResultCache:
    """The most recently used results, of bounded size. Any thread may use it."""

    def __init__(
        self,
        entries_max: int,
        catalog: Catalog,
        reader: SegmentReader,
        generation: Callable[[], int],
    ) -> None:
        self._entries_max = entries_max
        self._catalog = catalog
        self._reader = reader
        self._generation = generation
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._hits = self._hit_bytes = 0  # in all of them
        self._lock = threading.Lock()

    def get(
        self, query: NDArray[np.float32], k: int, metric: Metric, prefix: str | None
    ) -> list[Hit] | None:
        """The result of the same query, None unless it is certainly the present one."""
        if not self._entries_max:
            return None
        name = _name(query, k, metric, prefix)
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None:
                self._kept.move_to_end(name)
        if kept is None:
            return None
        change = self._catalog.last_change()
        if change != kept.change:
            if prefix is not None or not self._is_unaltered(kept, query, metric):
                with self._lock:
                    if self._kept.get(name) is kept:
                        self._drop(name)
                return None
            kept.change = change
        return [Hit(each.key, each.distance) for each in _unpacked(kept.found)]

    def put(
        self,
        query: NDArray[np.float32],
        k: int,
        metric: Metric,
        prefix: str | None,
        found: Sequence[Found],
        scope: Scope,
        change: int,
    ) -> None:
        """Keep a result that was found after transaction `change` had been committed."""
        if not self._entries_max:
            return
        name = _name(query, k, metric, prefix)
        count = len(found)
        hits_max = self._entries_max * _HITS_OF_AN_ENTRY
        # one with too many would drive out all others
        packed = _packed(found) if count <= hits_max else None
        with self._lock:
            self._drop(name)
            if packed is None:
                return
            state = (scope.scanned, change, scope.revivals)
            self._kept[name] = _Kept(packed, count, *state, is_full=count >= k)
            self._hits += count
            self._hit_bytes += len(packed)
            while len(self._kept) > self._entries_max or self._hits > hits_max:
                self._drop(next(iter(self._kept)))

    @property
    def nbytes(self) -> int:
        """Bytes of all kept results with their bookkeeping."""
        return len(self._kept) * _ENTRY_BYTES + self._hit_bytes

    def _drop(self, name: bytes) -> None:
        gone = self._kept.pop(name, None)
        if gone is not None:
            self._hits -= gone.hits
            self._hit_bytes -= len(gone.found)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._hits = self._hit_bytes = 0

    def _is_unaltered(self, kept: _Kept, query: NDArray[np.float32], metric: Metric) -> bool:
        generation = self._generation()
        try:
            scope = look(self._catalog, self._reader, query.size)
        except CorruptionError:
            return False  # the search itself will tell
        is_all_seen = not scope.rowless and not scope.is_short
        if not is_all_seen or not kept.scanned.keys() <= scope.scanned.keys():
            return False
        found = list(_unpacked(kept.found))
        fingerprints = [stored_key(each.key).fingerprint() for each in found]
        with self._catalog.reading() as view:
            if scope.revivals != kept.revivals or not scope.is_whole(view):
                return False
            places = view.lookup_many(fingerprints)
        if any(each.address not in at for each, at in zip(found, places, strict=True)):
            return False
        last = found[-1].distance if kept.is_full else np.inf
        queries = quantise(query[None])
        for plane, mask in scope.planes:
            first = kept.scanned.get(plane.number, 0)
            if mask[first:].any():
                # some rows more, known ones: numpy keeps arrays of each small number (`mask`)
                if len(mask) - first > _ROWS_MAX:
                    return False
                start = max(0, min(first, len(mask) - _ROWS_MIN))
                lower, _ = score_rows(plane.rows[start:], queries, metric)
                new = lower[0, first - start :]
                is_near = np.less_equal(new, last, out=blank_mask(len(new)))
                is_near &= mask[first:]
                if is_near.any():
                    return False
        if generation != self._generation():
            return False  # rows that were current may have been unmarked before they were looked at
        kept.scanned = scope.scanned
        return True


def _name(query: NDArray[np.float32], k: int, metric: Metric, prefix: str | None) -> bytes:
    # the size first: where a query ended could not be told from the end, and the bytes of a long
    # one may be those of a short one and of words
    asked = f"{query.size} {k} {metric} {prefix is not None} {prefix or ''}".encode()
    return hashlib.blake2b(asked + query.tobytes(), digest_size=16).digest()


def _packed(found: Sequence[Found]) -> bytes:
    parts = bytearray()
    for distance, key, address in found:
        encoded = key.encode()
        parts += _HIT.pack(distance, *address, len(encoded)) + encoded
    return bytes(parts)


def _unpacked(packed: bytes) -> Iterator[Found]:
    end = 0
    while end < len(packed):
        distance, segment, offset, size = _HIT.unpack_from(packed, end)
        start = end + _HIT.size
        end = start + size
        yield Found(distance, packed[start:end].decode(), Address(segment, offset))
