"""What `EmbeddingStore` offers to whoever writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from titanstore.changes import Changes, Outcome
from titanstore.codec.base import Vector
from titanstore.config import StoreConfig
from titanstore.figures.publisher import Operation
from titanstore.folder import StoreFolder
from titanstore.keys import StoredKey, stored_key
from titanstore.vectors import checked_document, checked_vectors, distinct


class WritableStore(ABC):
    """The part of a store that puts, updates and deletes."""

    _folder: StoreFolder
    _is_read_only: bool

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._folder.path

    @property
    def config(self) -> StoreConfig:
        """Settings of this store, as it was opened with."""
        return self._settings()

    @property
    def is_read_only(self) -> bool:
        """Was it opened for reading, or inherited by a fork?"""
        return self._is_read_only

    @abstractmethod
    def _settings(self) -> StoreConfig:
        """Settings of this store."""

    @abstractmethod
    def _write(
        self,
        change: Callable[[Changes], Outcome],
        vectors: Mapping[StoredKey, Vector] | None = None,
        operation: Operation | None = None,
    ) -> Outcome:
        """Do `change` as the only writer, and let every tier and process know.

        `operation`: under what its latency is published.
        """

    def put(self, key: str, vector: Vector, document: str | None = None) -> None:
        """Store one vector; `put_many` with one key."""
        self.put_many([key], [vector], document)

    def put_many(
        self,
        keys: Sequence[str],
        vectors: NDArray[np.float32] | Sequence[Vector],
        document: str | None = None,
    ) -> None:
        """Store vectors, all or none; on the disk when this returns (setting `durability`).

        Parameters
        ----------
        keys
            A key that is stored already gets the new vector; with the same bits nothing is
            written.
        vectors
            float32, shape (len(keys), dimension), or a sequence of float32 vectors. The caller
            does not change them before this returns.
        document
            Name of the document whose chunks these are; the keys join it at its end. Keys of one
            document are read together. Cost grows with the document's number of keys.

        Raises
        ------
        InvalidInputError
            A key or vector that cannot be stored, two vectors for one key. Nothing was written.
        ReadOnlyError, StorageError, ClosedError
            Nothing was acknowledged, and nothing of it will be seen.
        """
        checked = checked_vectors(vectors, len(keys), self._settings())
        wanted = distinct(keys, checked)
        name = None if document is None else checked_document(document)
        if wanted:
            self._write(lambda changes: changes.put(wanted, name), wanted, Operation.PUT)

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None:
        """Make `chunks` the whole content of a document, all or nothing.

        Only vectors that are new or changed are written. Keys that were in the document and are
        not in `chunks` go, unless another document holds them. No chunks: the document goes.

        Raises as `put_many`.
        """
        name = checked_document(document)
        keys = [key for key, _ in chunks]
        vectors = checked_vectors([vector for _, vector in chunks], len(keys), self._settings())
        wanted = distinct(keys, vectors)
        self._write(lambda changes: changes.update_document(name, wanted), wanted, Operation.UPDATE)

    def delete(self, keys: Iterable[str], *, in_documents: bool = True) -> int:
        """Remove keys, all or none, from their documents too; returns how many were removed.

        A key without a vector is passed over. Raises as `put_many`.

        Parameters
        ----------
        in_documents
            False: a key that is in a document is passed over as well.
        """
        if isinstance(keys, str):
            keys = [keys]
        wanted = [stored_key(key) for key in keys]
        return self._write(
            lambda changes: changes.delete(wanted, in_documents=in_documents)
        ).deleted
