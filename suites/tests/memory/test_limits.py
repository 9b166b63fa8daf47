"""Risk: a hot path starts to hold, or to need at once, more memory than it did.

pytest-memray fails a test whose body allocates more than its limit at once, small objects included
(`--trace-python-allocators`, pyproject.toml) and address space of files too. So the store is small
and its tiers smaller still. A limit is what the path was measured to need (163 kB, 641 kB, 1.38 MB,
2.49 MB) and half as much again. It notices what keeps 45 bytes a read, 2 kB a search, 4 kB a write,
7 kB an update; `harness memory` and the soak notice less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.vectors import GENERATORS
from titanstore import EmbeddingStore, StoreConfig

DOCUMENTS, CHUNKS, DIMENSION = 10, 22, 1024
CONFIG = StoreConfig(memory_bytes_max=300_000, hot_bytes_max=250_000)
COUNT = DOCUMENTS * CHUNKS
ROWS = GENERATORS["bfloat16_divided"](np.random.default_rng(7), COUNT, DIMENSION)
KEYS = [f"{row:032x}" for row in range(COUNT)]
ORDER = np.random.default_rng(8).permutation(np.arange(2_000) % COUNT).tolist()
WRITES = 200


def content(document: int, turn: int = 0) -> list[tuple[str, np.ndarray]]:
    first = document * CHUNKS
    chunks = [(KEYS[row], ROWS[row]) for row in range(first, first + CHUNKS)]
    if turn:
        key = hashlib.blake2b(f"{turn}".encode(), digest_size=16).hexdigest()
        chunks[turn % CHUNKS] = (key, ROWS[turn % COUNT])
    return chunks


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingStore]:
    """Each path was followed before: what is made on first use is there, the tiers are full."""
    path: Path = tmp_path_factory.mktemp("limits") / "store"
    with EmbeddingStore.open(path, CONFIG) as opened:
        for document in range(DOCUMENTS):
            opened.update_document(f"document {document}", content(document))
        for place in ORDER:
            opened.get(KEYS[place])
        for place in range(20):
            opened.search(ROWS[place])
        for turn in range(1, 20):
            opened.update_document("document 0", content(0, turn))
        opened.update_document("document 0", content(0))
        for place in ORDER:  # maps what was written since, too
            opened.get(KEYS[place])
        opened.wait_for_prefetch()
        yield opened


@pytest.mark.limit_memory("250 KB")
def test_reads_keep_nothing(store: EmbeddingStore) -> None:
    for place in ORDER:
        store.get(KEYS[place])
    store.wait_for_prefetch()


@pytest.mark.limit_memory("1 MB")
def test_searches_keep_nothing(store: EmbeddingStore) -> None:
    for place in range(WRITES):
        store.search(ROWS[place] + ROWS[place + 1])


@pytest.mark.limit_memory("2.1 MB")
def test_writes_keep_nothing(store: EmbeddingStore) -> None:
    for turn in range(WRITES):
        store.put(f"put {turn}", ROWS[turn % COUNT])


@pytest.mark.limit_memory("3.8 MB")
def test_updates_keep_nothing(store: EmbeddingStore) -> None:
    for turn in range(1, WRITES):
        store.update_document(f"document {turn % DOCUMENTS}", content(turn % DOCUMENTS, turn))
