"""Writes: chunks put, a document saved again, a version taken, a document taken back.

Nothing is synced to the disk (see the package's docstring).
"""

from __future__ import annotations

import itertools

import numpy as np

from titanstore import EmbeddingStore

from . import prepared
from .prepared import CHUNKS, Vectors

repeat = prepared.REPEAT  # asv reads it here
_CHANGED = 2  # of 22 chunks: SPEC section 2, `update.latency`: 1 to 3 differ
_OTHER = 100  # rows of `document_vectors` that a document did not have before


class PutMany:
    """`store.put_many` of 22 new chunks of a new document."""

    core = True
    version = prepared.version(1)
    numbers = itertools.count()

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.writable("put_many")
        self.vectors = prepared.document_vectors()[_OTHER : _OTHER + CHUNKS]
        self.last = -1

    def time_put_22(self) -> None:
        self.last = number = next(self.numbers)
        self.store.put_many(_keys(number), self.vectors, f"new {number}")

    def teardown(self) -> None:
        if self.last >= 0:
            prepared.check_bits(self.store.get_many(_keys(self.last)), self.vectors)
            assert self.store.document_keys(f"new {self.last}") == _keys(self.last)


def _keys(number: int) -> list[str]:
    return [f"new {number} {chunk}" for chunk in range(CHUNKS)]


class UpdateDocument:
    """`store.update_document` where 2 of 22 chunks have other text: to and fro."""

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.writable("update_document")
        keys, vectors = prepared.document_keys(), prepared.document_vectors()
        before = [(keys[row], vectors[row]) for row in range(CHUNKS)]
        changed = [(f"changed {row}", vectors[_OTHER + row]) for row in range(_CHANGED)]
        self.states = [before, changed + before[_CHANGED:]]
        self.is_changed = self.store.document_keys("document 0")[0] != keys[0]

    def time_update_2_of_22(self) -> None:
        self.is_changed = not self.is_changed
        self.store.update_document("document 0", self.states[self.is_changed])

    def teardown(self) -> None:
        keys, vectors = zip(*self.states[self.is_changed], strict=True)
        assert self.store.document_keys("document 0") == list(keys)
        prepared.check_bits(self.store.get_many(keys), np.stack(vectors))


class Snapshot:
    """`store.snapshot` of a store that nobody changed meanwhile."""

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.writable("snapshot")
        self.store.drop_versions(keep=0)
        self.taken = 0
        self.vectors = len(self.store)

    def time_snapshot(self) -> None:
        self.store.snapshot()
        self.taken += 1

    def teardown(self) -> None:
        versions = self.store.versions()
        assert len(versions) == self.taken
        assert {version.vectors for version in versions} <= {self.vectors}


class Rollback:
    """`store.rollback` over one save that gave all 22 chunks of a document other values.

    Each call goes back over the one before: its state is the version taken just before it.
    """

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.writable("rollback")
        self.keys = prepared.document_keys()[:CHUNKS]
        vectors = prepared.document_vectors()
        self.states: list[Vectors] = [vectors[:CHUNKS], vectors[_OTHER : _OTHER + CHUNKS]]
        self.store.drop_versions(keep=0)
        self.place = 0
        self._save()
        self.target = self.store.snapshot().number
        self.place = 1
        self._save()

    def _save(self) -> None:
        chunks = list(zip(self.keys, self.states[self.place], strict=True))
        self.store.update_document("document 0", chunks)

    def time_rollback(self) -> None:
        self.target = self.store.rollback(self.target).number - 1
        self.place = 1 - self.place

    def teardown(self) -> None:
        prepared.check_bits(self.store.get_many(self.keys), self.states[self.place])
