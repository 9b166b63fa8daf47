"""A store's vectors out of its Lance tables, bit for bit, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from titanstore.search.lance import LanceTable, LanceUnavailableError
from titanstore.search.lance_schema import StoredRow, Vector

_GROUP_ROWS = 256


class Group(NamedTuple):
    """Vectors that can be stored with one call."""

    document: str | None
    keys: list[str]
    vectors: Vector  # float32, shape (len(keys), dimension), C order


class Receiver(Protocol):
    """What `EmbeddingStore` offers."""

    def put_many(self, keys: Sequence[str], vectors: Vector, document: str | None = None) -> None:
        """Store vectors, all or none."""

    def delete(self, keys: Iterable[str]) -> object:
        """Remove vectors, from their documents too."""

    def __contains__(self, key: object) -> bool:
        """Is there a vector for this key?"""


def groups_of(rows: Iterable[StoredRow], count_max: int = _GROUP_ROWS) -> Iterator[Group]:
    """Rows that follow each other, of one document and one dimension, decoded.

    Raises
    ------
    LanceUnavailableError
        A frame is not what was written; and whatever `rows` raises.
    """
    keys: list[str] = []
    vectors: list[Vector] = []
    document: str | None = None
    for row in rows:
        vector = row.vector()
        fits = row.document == document and (not vectors or vectors[0].size == vector.size)
        if keys and not (fits and len(keys) < count_max):
            yield Group(document, keys, np.stack(vectors))
            keys, vectors = [], []
        document = row.document
        keys.append(row.key)
        vectors.append(vector)
    if keys:
        yield Group(document, keys, np.stack(vectors))


def rebuild_store_from_lance(
    tables: Sequence[LanceTable], store: Receiver, progress: Callable[[int], None] | None = None
) -> int:
    """Put every vector of the tables into an empty store; how many there were.

    The vectors are those as of each table's watermark. A document's keys come in the table's
    order; of a key that several documents hold, the table knows one. A key that has got a vector
    of another dimension may still be in the table of the old one: the row written last counts.

    Raises
    ------
    LanceUnavailableError
        Something is not what was written, perhaps seen only at the end: discard the store.
    """
    count = 0
    doubled: set[str] = set()

    def put(rows: Iterable[StoredRow]) -> None:
        nonlocal count
        for group in groups_of(rows):
            store.put_many(group.keys, group.vectors, group.document)
            count += len(group.keys)
            if progress is not None:
                progress(count)

    for number, table in enumerate(tables):
        put(_not_in(store, table.rows(), doubled) if number else table.rows())
    if doubled:
        last: dict[str, int] = {}
        for table in tables:
            for row in table.rows():
                if row.key in doubled:
                    last[row.key] = max(row.version, last.get(row.key, 0))
        store.delete(doubled)
        count -= len(doubled)
        for table in tables:
            put(row for row in table.rows() if last.get(row.key) == row.version)
        if not all(key in store for key in doubled):
            raise LanceUnavailableError("a table was synced meanwhile")
    return count


def _not_in(store: Receiver, rows: Iterable[StoredRow], doubled: set[str]) -> Iterator[StoredRow]:
    """Rows whose keys the store has not; the keys of the others are noted."""
    for row in rows:
        if row.key in store:
            doubled.add(row.key)
        else:
            yield row
