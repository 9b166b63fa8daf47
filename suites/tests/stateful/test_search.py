"""After any sequence of calls a search gives what an oracle does: nothing lost, stale or misplaced.

The writing object keeps few results, so that they live and die all the time; the reading one keeps
none. Both must agree with exhaustive search by `math.fsum`.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from numpy.typing import NDArray

from titanstore import EmbeddingStore, ErrorKind, Hit, InvalidInputError, StoreConfig
from titanstore.keys import StoredKey

Vector = NDArray[np.float32]

KEYS = ("a", "b", "\x00", "é" * 240, "0" * 32, "0" * 31 + "1", "G" * 32, "k7", "k8", "k9")
DOCUMENTS = ("src/x.py", "src/y.py", "z.py", "\U0010ffff")
PREFIXES = (None, None, "", "s", "src/", "src/x.py", "src/x.py/", "z", "\U0010ffff", "é" * 300)
METRICS = ("cosine", "dot", "l2")
DIMENSION, OTHER_DIMENSION = 8, 3


def _palette() -> list[Vector]:
    """Few enough to be drawn again and again: ties, near ties, opposites, zeros, the ends."""
    rng = np.random.default_rng(7)
    full = rng.standard_normal((3, DIMENSION)).astype(np.float32)
    coarse = (full.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    near = full.copy()
    near.view(np.uint32)[:, 2] ^= 1
    one_hot = np.eye(2, DIMENSION, dtype=np.float32)
    zeros = np.zeros((2, DIMENSION), np.float32)
    zeros[1] = -0.0
    ends = np.array([[3e38] * DIMENSION, [1e-45] * DIMENSION], np.float32)
    holes = one_hot.copy()
    holes[0, 3], holes[1, 0] = np.nan, np.inf
    finite = [full, coarse, near, -full[:1], full[:1] * 2, one_hot, zeros, ends]
    other = rng.standard_normal((2, OTHER_DIMENSION)).astype(np.float32)
    return [*np.concatenate([*finite, holes]), *other]


PALETTE = _palette()
QUERIES = [PALETTE[place] for place in (0, 1, 6, 11, 13, 15, 16, 19)]
keys = st.sampled_from(KEYS)
vectors = st.sampled_from(PALETTE)
documents = st.sampled_from(DOCUMENTS)
configs = st.builds(
    StoreConfig,
    compression=st.booleans(),
    search=st.sampled_from([True, True, True, False]),
    result_cache_entries=st.sampled_from([4, 4, 0]),
    versions_max=st.sampled_from([2, 64]),
    durability=st.just("power_cut_may_lose_store"),
)
sizes = st.sampled_from([2**20, 700, 150])


def with_segments_of(config: StoreConfig, size: int) -> StoreConfig:
    """Segments smaller than a caller may ask for, so that a few vectors fill many."""
    object.__setattr__(config, "segment_bytes_max", size)
    return config


def distance(metric: str, vector: list[float], query: list[float]) -> float:
    if metric == "l2":
        return math.fsum((x - q) * (x - q) for x, q in zip(vector, query, strict=True))
    dot = math.fsum(x * q for x, q in zip(vector, query, strict=True))
    if metric == "dot":
        return 1.0 - dot
    length = math.sqrt(math.fsum(x * x for x in vector))
    length *= math.sqrt(math.fsum(q * q for q in query))
    return 1.0 - (dot / length if length else 0.0)


class Model:
    """What the store must hold."""

    def __init__(self) -> None:
        self.values: dict[str, Vector] = {}
        self.documents: dict[str, list[str]] = {}

    def put(self, chunks: Sequence[tuple[str, Vector]], document: str | None) -> None:
        self.values |= dict(chunks)
        if document is not None and chunks:
            members = self.documents.setdefault(document, [])
            members += [key for key, _ in chunks if key not in members]

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None:
        before = self.documents.pop(document, [])
        self.put(chunks, document)
        kept = {key for members in self.documents.values() for key in members}
        for key in set(before) - kept:
            del self.values[key]

    def delete(self, gone: Sequence[str]) -> None:
        self.values = {key: value for key, value in self.values.items() if key not in gone}
        left = {
            document: [key for key in members if key not in gone]
            for document, members in self.documents.items()
        }
        self.documents = {document: members for document, members in left.items() if members}

    def search(self, query: Vector, k: int, metric: str, prefix: str | None) -> list[Hit]:
        wanted = set(self.values)
        if prefix is not None:
            named = [self.documents[name] for name in self.documents if name.startswith(prefix)]
            wanted = {key for members in named for key in members}
        hits = [
            Hit(key, distance(metric, vector.tolist(), query.tolist()))
            for key, vector in self.values.items()
            if key in wanted and vector.size == query.size and np.isfinite(vector).all()
        ]
        return sorted(hits, key=lambda hit: (hit.distance, hit.key))[:k]


class SearchMachine(RuleBasedStateMachine):
    @initialize(config=configs, size=sizes)
    def begin(self, config: StoreConfig, size: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="titanstore-"))
        self.model = Model()
        self.states: dict[int, Model] = {}
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        self.reader = EmbeddingStore.open(
            self.folder, StoreConfig(result_cache_entries=0), read_only=True
        )

    # -- changes ---------------------------------------------------------------------------

    @rule(key=keys, vector=vectors, document=st.none() | documents)
    def put(self, key: str, vector: Vector, document: str | None) -> None:
        self.store.put(key, vector, document)
        self.model.put([(key, vector)], document)

    @rule(chunks=st.dictionaries(keys, vectors, max_size=6), document=st.none() | documents)
    def put_many(self, chunks: dict[str, Vector], document: str | None) -> None:
        self.store.put_many(list(chunks), list(chunks.values()), document)
        self.model.put(list(chunks.items()), document)

    @rule(chunks=st.dictionaries(keys, vectors, max_size=6), document=documents)
    def update_document(self, chunks: dict[str, Vector], document: str) -> None:
        self.store.update_document(document, list(chunks.items()))
        self.model.update_document(document, list(chunks.items()))

    @rule(gone=st.lists(keys, max_size=3))
    def delete(self, gone: list[str]) -> None:
        self.store.delete(gone)
        self.model.delete(gone)

    @rule()
    def snapshot(self) -> None:
        self.states[self.store.snapshot().number] = deepcopy(self.model)

    @rule(place=st.integers(0, 30))
    def roll_back(self, place: int) -> None:
        versions = [version.number for version in self.store.versions()]
        if versions:
            number = versions[place % len(versions)]
            self.store.rollback(number)
            self.model = deepcopy(self.states[number])
            for version in self.store.versions():
                if version.number not in self.states and version.origin == "rollback":
                    self.states[version.number] = deepcopy(self.model)
            self.store.drop_versions(keep=0)
            self.states = {
                version.number: self.states[version.number]
                for version in self.store.versions()
                if version.number in self.states
            }

    @rule()
    def maintain(self) -> None:
        self.store.maintain()

    @rule(config=configs, size=sizes, reader_too=st.booleans())
    def reopen(self, config: StoreConfig, size: int, reader_too: bool) -> None:
        self.store.close()
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        if reader_too:
            self.reader.close()
            self.reader = EmbeddingStore.open(
                self.folder, StoreConfig(result_cache_entries=0), read_only=True
            )

    @rule()
    def lose_the_marks(self) -> None:
        """As a restart of the machine does; a reader makes do without."""
        self.store.close()
        for path in (self.folder / "segments").glob("*.marks"):
            path.unlink()
        self.ask(QUERIES[0], 3, "cosine", None)
        self.store = EmbeddingStore.open(self.folder, self.store._config)

    # -- questions -------------------------------------------------------------------------

    @rule(
        query=st.sampled_from(QUERIES),
        k=st.sampled_from([1, 2, 3, 5, 20]),
        metric=st.sampled_from(METRICS),
        prefix=st.sampled_from(PREFIXES),
    )
    def search(self, query: Vector, k: int, metric: str, prefix: str | None) -> None:
        self.ask(query, k, metric, prefix)

    @rule(k=st.sampled_from([1, 2]), turns=st.integers(1, 3))
    def search_again(self, k: int, turns: int) -> None:
        """What the cache has most likely kept."""
        for _ in range(turns):
            for query in QUERIES[:2]:
                self.ask(query, k, "l2", None)

    @rule(k=st.integers(1, 4), metric=st.sampled_from(METRICS))
    def search_many(self, k: int, metric: str) -> None:
        queries = [query for query in QUERIES if query.size == DIMENSION]
        if any(vector.size == DIMENSION for vector in self.model.values.values()):
            wanted = [self.model.search(query, k, metric, None) for query in queries]
            for store in self.searchable():
                assert store.search_many(queries, k, metric=metric) == wanted

    def searchable(self) -> list[EmbeddingStore]:
        stores = [self.store] if self.store._closed is None else []
        return [self.reader, *(store for store in stores if store._config.search)]

    def ask(self, query: Vector, k: int, metric: str, prefix: str | None) -> None:
        values = self.model.values.values()
        wanted = self.model.search(query, k, metric, prefix)
        for store in self.searchable():
            if values and not any(vector.size == query.size for vector in values):
                with pytest.raises(InvalidInputError) as caught:
                    store.search(query, k, metric=metric, document_prefix=prefix)
                assert caught.value.kind is ErrorKind.WRONG_DIMENSION
            else:
                assert store.search(query, k, metric=metric, document_prefix=prefix) == wanted

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            for query in QUERIES:
                self.ask(query, 20, "cosine", None)
            assert self.store.stats().counters["search_retries"] == 0
        finally:
            self.store.close()
            self.reader.close()
            shutil.rmtree(self.folder)


class CollidingMachine(SearchMachine):
    """The same where every second key has the same fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(
            StoredKey, "fingerprint", lambda key: bytes(3) + bytes([len(key.data) % 2])
        )

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patch.undo()


_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSearch = SearchMachine.TestCase
TestSearch.settings = _SETTINGS
TestCollisions = CollidingMachine.TestCase
TestCollisions.settings = settings(_SETTINGS, max_examples=10)
