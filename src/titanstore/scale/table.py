"""A table of exact vectors that many machines share: in S3, or in a folder.

Each row has key, document, model, compressed exact frame with checksums, and a search vector. A
key names its content, so it is written once and never changed; who adds a key that is there adds
nothing. Versions are Lance's: whoever reads stays at the version that he opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.errors import ErrorKind, InvalidInputError, MigrationError, NotFoundError
from titanstore.keys import stored_key
from titanstore.scale.fragments import (
    STORAGE_VERSION,
    commit,
    shape_of,
    tries,
    write_rows,
)
from titanstore.scale.location import Location, lance, reaching
from titanstore.search.distance import distances
from titanstore.search.lance_schema import (
    STORED_COLUMNS,
    LanceRow,
    StoredRow,
    schema,
    stored_rows,
)
from titanstore.search.lance_settings import METRIC, ValueType
from titanstore.sums import exact_sums
from titanstore.types import Hit

_ASKED_AT_ONCE = 1_000  # keys in one filter
_BATCH_ROWS = 1_024
_IDENTITY = b"titanstore.table"
NEAR, BY_KEY = "near", "by-key"  # names of the indices


class SharedTable:
    """One version of a shared table. Any thread may use it; not in a forked child.

    Made by `open` or `create`. Nothing is held open that would have to be closed.
    """

    def __init__(self, location: Location, dataset: Any) -> None:
        self.location = location
        self.dataset = dataset  # lance.LanceDataset, at one version
        self.shape = shape_of(dataset)

    @classmethod
    def open(cls, location: Location, version: int | None = None) -> SharedTable:
        """The latest version of a table, or the one of this number.

        Raises
        ------
        NotFoundError
            NO_STORE: there is no table, or not this version.
        StorageError, CorruptionError, InvalidInputError
        """
        with reaching(location):
            found = lance().dataset(
                location.uri, version=version, storage_options=location.options()
            )
        return cls(location, found)

    @classmethod
    def create(
        cls, location: Location, dimension: int, values: ValueType = "float16"
    ) -> SharedTable:
        """The table, made empty where there is none; of two who make it at once, one does.

        Parameters
        ----------
        dimension
            Of the vectors that can be searched. Vectors of others are kept, not searched.
        values
            Type of the search vectors. Exact vectors are in the frames.

        Raises
        ------
        InvalidInputError
            WRONG_DIMENSION: the table that is there has another.
        """
        package = lance()
        try:
            table = cls.open(location)
        except NotFoundError:
            identity = {_IDENTITY: secrets.token_hex(8).encode()}
            wanted = schema(dimension, values).with_metadata(identity)
            with reaching(location):
                try:
                    package.write_dataset(
                        wanted.empty_table(),
                        location.uri,
                        mode="create",
                        data_storage_version=STORAGE_VERSION,
                        storage_options=location.options(),
                    )
                except OSError as error:
                    if "already exists" not in str(error):
                        raise
            table = cls.open(location)
        if table.shape.dimension != dimension:
            raise InvalidInputError(
                f"{location.uri} is a table for dimension {table.shape.dimension}, not {dimension}",
                ErrorKind.WRONG_DIMENSION,
            )
        return table

    @property
    def identity(self) -> str:
        """Random digits that another table at this place, made after this one, would not have."""
        return str((self.dataset.schema.metadata or {}).get(_IDENTITY, b"").decode())

    def latest(self) -> SharedTable:
        """The table as it is now."""
        return SharedTable.open(self.location)

    @property
    def version(self) -> int:
        """Lance's number of this version."""
        return int(self.dataset.version)

    def __len__(self) -> int:
        with reaching(self.location):
            return int(self.dataset.count_rows())

    # -- reading ---------------------------------------------------------------------------

    def get_many(self, keys: Sequence[str]) -> list[Vector]:
        """The vectors of keys, in their order, each bit for bit as it was put.

        Raises
        ------
        NotFoundError
            UNKNOWN_KEY.
        CorruptionError
            BAD_INDEX. Nothing is returned in part.
        """
        found = {row.key: row for row in self.rows_of(keys)}
        for key in keys:
            if key not in found:
                raise NotFoundError(f"no vector for {key!r}", ErrorKind.UNKNOWN_KEY)
        with reaching(self.location):
            return [found[key].vector() for key in keys]

    def rows_of(self, keys: Sequence[str]) -> Iterator[StoredRow]:
        """The rows of those keys that are there, checksums verified, in no order."""
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), _ASKED_AT_ONCE):
            quoted = [_quoted(key) for key in distinct[start : start + _ASKED_AT_ONCE]]
            with reaching(self.location):
                found = self.dataset.to_table(
                    columns=list(STORED_COLUMNS), filter=f"key IN ({', '.join(quoted)})"
                )
                yield from stored_rows(found)

    def rows(self) -> Iterator[StoredRow]:
        """All rows in the table's order, checksums verified; a few batches in memory at a time."""
        with reaching(self.location):
            batches = self.dataset.to_batches(
                columns=list(STORED_COLUMNS), batch_size=_BATCH_ROWS, scan_in_order=True
            )
        while True:
            with reaching(self.location):
                batch = next(batches, None)
                if batch is None:
                    return
                rows = stored_rows(batch)
            yield from rows

    def search(self, query: Vector, k: int = 10, *, nprobes: int = 100) -> list[Hit]:
        """The k nearest by cosine: candidates by the search vectors, distances by the exact ones.

        Parameters
        ----------
        query
            float32, shape (dimension,), finite, not all zero.
        nprobes
            Partitions that an index is asked in; without an index every row is a candidate.

        Returns
        -------
        list of Hit
            By distance, then key. Distances are those of the store's own search, to the bit. That
            a neighbour is missing is possible: with an index, and where its search vector is so
            much rounded that max(60, 6 k) others seem nearer.
        """
        if query.shape != (self.shape.dimension,) or not np.isfinite(query).all():
            raise InvalidInputError(
                f"a query is a finite vector of dimension {self.shape.dimension}",
                ErrorKind.WRONG_SHAPE,
            )
        if k < 1:
            raise InvalidInputError(f"k is 1 or more, got {k}", ErrorKind.BAD_K)
        wide = query.astype(np.float64)
        length = float(np.sqrt(wide @ wide))
        if not length:
            raise InvalidInputError("a query of zeros has no neighbours", ErrorKind.NON_FINITE)
        nearest = {
            "column": "vector",
            "q": (wide / length).astype(np.float32),
            "k": max(60, 6 * k),
            "metric": METRIC,
            "nprobes": nprobes,
        }
        with reaching(self.location):
            found = self.dataset.to_table(columns=[*STORED_COLUMNS, "_distance"], nearest=nearest)
            rows = stored_rows(found)
            vectors = [row.vector() for row in rows]
        if not rows:
            return []
        return _nearest(rows, np.stack(vectors), wide, k)

    # -- writing ---------------------------------------------------------------------------

    def put_many(
        self,
        keys: Sequence[str],
        vectors: NDArray[np.float32] | Sequence[Vector],
        *,
        model: str | None = None,
        document: str | None = None,
    ) -> int:
        """Add vectors in one commit; this object then is at the version that has them.

        Parameters
        ----------
        keys, vectors
            Float32 vectors and a distinct key for each.

        Returns
        -------
        int
            How many were new. Those that were there with the same bits are left.

        Raises
        ------
        MigrationError
            CONFLICT: a key is there with other bits. Nothing was written.
        BusyError
            TOO_MANY_WRITERS. Nothing was written.
        InvalidInputError, StorageError
        """
        rows = [
            LanceRow(key, np.ascontiguousarray(vector), 0, document, model)
            for key, vector in zip(keys, vectors, strict=True)
        ]
        _check(rows)
        staged: tuple[list[str], list[str]] = ([], [])  # keys, and the fragments that hold them
        for _ in tries(self.location):
            now = self.latest()
            missing = now.missing_of(rows)
            wanted = [row.key for row in missing]
            if not wanted:
                self.dataset = now.dataset
                return 0
            if wanted != staged[0]:
                staged = (wanted, write_rows(self.location, self.shape, missing)[0])
            made = commit(self.location, now.dataset, staged[1], {"titanstore": "put"})
            if made is not None:
                self.dataset = made
                return len(wanted)
        raise AssertionError  # `tries` raises

    def missing_of(self, rows: Sequence[LanceRow]) -> list[LanceRow]:
        """Those rows whose key is not in this version; raises as `put_many` for other bits."""
        given = {row.key: row for row in rows}
        known = set()
        for there in self.rows_of(list(given)):  # perhaps twice, of a table that others wrote
            wanted = given[there.key].vector
            with reaching(self.location):
                same = np.array_equal(there.vector().view(np.uint32), wanted.view(np.uint32))
            if not same:
                raise conflict(there.key)
            known.add(there.key)
        return [row for row in given.values() if row.key not in known]


def conflict(key: str) -> MigrationError:
    """The error of a key with two vectors."""
    return MigrationError(
        f"{key!r} has two vectors of different bits: a key names its content", ErrorKind.CONFLICT
    )


def _check(rows: Sequence[LanceRow]) -> None:
    seen = set()
    for row in rows:
        stored_key(row.key)
        if row.key in seen:
            raise InvalidInputError(f"{row.key!r} is given twice", ErrorKind.DUPLICATE_KEY)
        seen.add(row.key)
        if row.vector.dtype != np.float32 or row.vector.ndim != 1 or not row.vector.size:
            raise InvalidInputError(
                f"the vector of {row.key!r} is {row.vector.dtype} of shape {row.vector.shape}; "
                "wanted float32 of one dimension",
                ErrorKind.WRONG_DTYPE,
            )


def _quoted(key: str) -> str:
    return "'" + key.replace("'", "''") + "'"


def _nearest(
    rows: Sequence[StoredRow], vectors: NDArray[np.float32], query: NDArray[np.float64], k: int
) -> list[Hit]:
    squares = exact_sums((query * query)[None, :])
    far = distances("cosine", vectors, query, squares)
    hits = [Hit(row.key, float(value)) for row, value in zip(rows, far, strict=True)]
    return sorted(hits, key=lambda hit: (hit.distance, hit.key))[:k]
