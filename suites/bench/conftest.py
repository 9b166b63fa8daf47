"""Stores that several benchmarks read, made once a session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.documents import document_rows
from titanstore import EmbeddingStore, StoreConfig, embedding_key

CHUNKS = 22  # of one document: SPEC section 2, "100 files"
DIMENSION = 1024
RELAXED = StoreConfig(durability="power_cut_may_lose_store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A closed store of documents, 22 chunks each; synthetic vectors.

    Attributes
    ----------
    vectors
        float32, shape (len(keys), 1024), a row a key.
    """

    path: Path
    keys: list[str]
    vectors: NDArray[np.float32]

    def chunks(self, document: int) -> list[tuple[str, NDArray[np.float32]]]:
        """What `update_document` takes for "document <number>"."""
        rows = range(document * CHUNKS, (document + 1) * CHUNKS)
        return [(self.keys[row], np.asarray(self.vectors[row])) for row in rows]


class Stores:
    """Makes a store of so many vectors, or gives the one that was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.of = cache(self._made)

    def _made(self, vectors: int) -> Filled:
        documents = -(-vectors // CHUNKS)
        rows = document_rows(7, documents, CHUNKS, DIMENSION)
        keys = [embedding_key("bench", str(number)) for number in range(len(rows))]
        filled = Filled(path=self._folder / str(vectors), keys=keys, vectors=rows)
        with EmbeddingStore.open(filled.path, RELAXED) as store:
            for document in range(documents):
                name = f"document {document}"
                first = document * CHUNKS
                store.put_many(
                    keys[first : first + CHUNKS], rows[first : first + CHUNKS], document=name
                )
        return filled


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """`stores.of(2_200)`: to be opened read-only."""
    return Stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def told(benchmark: Any) -> dict[str, Any]:
    """The benchmark's `extra_info`, which is kept with its times; says that data is synthetic."""
    info: dict[str, Any] = benchmark.extra_info
    info["source"] = "synthetic"
    return info
