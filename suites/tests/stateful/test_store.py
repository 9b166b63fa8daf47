"""Any sequence of calls gives what a dictionary would: no lost, wrong or stale vector."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from fixtures.marked import unmarked
from titanstore import EmbeddingStore, InvalidInputError, NotFoundError, StoreConfig
from titanstore.keys import StoredKey

Vector = NDArray[np.float32]

# text, digests, a text as long as a digest, keys that differ in one bit
KEYS = ("a", "b", "\x00", "é" * 240, "0" * 32, "0" * 31 + "1", "G" * 32, "k7", "k8", "k9")
DOCUMENTS = ("x.py", "y.py", "0" * 32)
keys = st.sampled_from(KEYS)
key_lists = st.lists(keys, max_size=6)
documents = st.sampled_from(DOCUMENTS)
words = st.one_of(
    st.integers(0, 2**32 - 1),
    # zeros of both signs, a quiet and a signalling NaN, one on the bfloat16 grid
    st.sampled_from([0, 0x80000000, 0x7FC00001, 0x7F800001, 0x3F800000]),
)
vectors = st.one_of(
    st.lists(words, min_size=1, max_size=4).map(lambda w: np.array(w, np.uint32).view(np.float32)),
    st.integers(0, 5).map(lambda seed: _bfloat16(seed, 64)),
)
configs = st.builds(
    StoreConfig,
    memory_bytes_max=st.sampled_from([0, 700, 1500, 4000, 2_000_000]),
    hot_bytes_max=st.sampled_from([0, 600, 1400, 3000]),
    warm_bytes_max=st.sampled_from([0, 500, 5_000_000]),
    policy=st.sampled_from(["probation", "lru"]),
    prefetch=st.booleans(),
    compression=st.booleans(),
    bloom=st.booleans(),
    search=st.booleans(),
    durability=st.just("power_cut_may_lose_store"),
)
segment_sizes = st.sampled_from([2**20, 700, 150])


def _bfloat16(seed: int, dimension: int) -> Vector:
    values = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def with_segments_of(config: StoreConfig, size: int) -> StoreConfig:
    """Segments smaller than a caller may ask for, so that a few vectors fill many."""
    object.__setattr__(config, "segment_bytes_max", size)
    return config


class Model:
    """What the store must say."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.documents: dict[str, list[str]] = {}

    def put(self, chunks: Sequence[tuple[str, Vector]], document: str | None) -> None:
        for key, vector in chunks:
            self.values[key] = vector.tobytes()
            if document is not None:
                members = self.documents.setdefault(document, [])
                if key not in members:
                    members.append(key)

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None:
        before = self.documents.pop(document, [])
        self.put(chunks, document)
        kept = {key for members in self.documents.values() for key in members}
        for key in before:
            if key not in kept:
                del self.values[key]

    def delete(self, gone: Sequence[str]) -> int:
        count = len(self.values.keys() & set(gone))
        for key in gone:
            self.values.pop(key, None)
        for document, members in list(self.documents.items()):
            members[:] = [key for key in members if key not in gone]
            if not members:
                del self.documents[document]
        return count


class StoreMachine(RuleBasedStateMachine):
    """The writing object and a read-only second one of the same process."""

    @initialize(config=configs, size=segment_sizes, reader_config=configs)
    def begin(self, config: StoreConfig, size: int, reader_config: StoreConfig) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="titanstore-"))
        self.model = Model()
        self.kept: list[tuple[Vector, bytes]] = []
        self.reader_config = reader_config
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        self.reader = EmbeddingStore.open(self.folder, reader_config, read_only=True)

    def either(self, *, second: bool) -> EmbeddingStore:
        return self.reader if second else self.store

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

    @rule(data=st.data(), document=documents)
    def edit_document(self, data: st.DataObject, document: str) -> None:
        """As an editor does: most chunks as they were."""
        members = self.model.documents.get(document, [])
        chunks = [(key, np.frombuffer(self.model.values[key], np.float32)) for key in members]
        if chunks:
            place = data.draw(st.integers(0, len(chunks) - 1))
            chunks[place] = (chunks[place][0], data.draw(vectors))
        self.store.update_document(document, chunks)
        self.model.update_document(document, chunks)

    @rule(gone=key_lists)
    def delete(self, gone: list[str]) -> None:
        assert self.store.delete(gone) == self.model.delete(gone)

    @rule(key=keys, second=st.booleans())
    def get(self, key: str, second: bool) -> None:
        store = self.either(second=second)
        wanted = self.model.values.get(key)
        if wanted is None:
            with pytest.raises(NotFoundError):
                store.get(key)
            return
        row = store.get(key)
        assert row.tobytes() == wanted
        assert not row.flags.writeable
        self.kept.append((row[len(row) // 2 :], row[len(row) // 2 :].tobytes()))

    @rule(asked=key_lists, second=st.booleans())
    def get_many(self, asked: list[str], second: bool) -> None:
        store = self.either(second=second)
        wanted = [self.model.values.get(key) for key in asked]
        if None in wanted:
            with pytest.raises(NotFoundError):
                store.get_many(asked)
        elif len({len(value) for value in wanted if value is not None}) > 1:
            with pytest.raises(InvalidInputError):
                store.get_many(asked)
        else:
            assert [row.tobytes() for row in store.get_many(asked)] == wanted

    @rule(second=st.booleans())
    def look(self, second: bool) -> None:
        store = self.either(second=second)
        assert len(store) == len(self.model.values)
        assert [key in store for key in KEYS] == [key in self.model.values for key in KEYS]
        assert store.documents() == sorted(self.model.documents)
        for document in DOCUMENTS:
            if document in self.model.documents:
                assert store.document_keys(document) == self.model.documents[document]
            else:
                with pytest.raises(NotFoundError):
                    store.document_keys(document)

    @rule(second=st.booleans())
    def wait(self, second: bool) -> None:
        """Let prefetched and demoted vectors arrive, so that later reads meet them."""
        assert self.either(second=second).wait_for_prefetch()

    @rule()
    def maintain(self) -> None:
        self.store.maintain()
        on_disk = sum(path.stat().st_size for path in (self.folder / "segments").iterdir())
        stats = self.store.stats()
        assert on_disk == stats.segment_bytes + stats.plane_bytes
        if self.store._config.search:
            with self.store._catalog.reading() as view:
                assert view.all_have_rows()

    @rule()
    def check(self) -> None:
        report = self.store.check()
        assert report.problems == ()
        assert (report.vectors, report.documents) == (
            len(self.model.values),
            len(self.model.documents),
        )

    @rule(config=configs, size=segment_sizes, reader_too=st.booleans())
    def reopen(self, config: StoreConfig, size: int, reader_too: bool) -> None:
        self.store.close()
        if reader_too:
            self.reader.close()
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        if reader_too:
            self.reader = EmbeddingStore.open(self.folder, self.reader_config, read_only=True)

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def a_scan_misses_nothing(self) -> None:
        assert unmarked(self.store._catalog, self.store._reader) == []

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def within_budget(self) -> None:
        for store in (self.store, self.reader):
            stats, config = store.stats(), store._config
            assert stats.hot_bytes <= config.hot_bytes_max
            assert stats.warm_bytes <= config.warm_bytes_max
            if not config.prefetch or store.wait_for_prefetch():
                stats = store.stats()
                assert stats.hot_bytes + stats.warm_bytes <= config.memory_bytes_max

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.store.close()
        self.reader.close()
        try:
            for row, bits in self.kept:
                assert row.tobytes() == bits
            with EmbeddingStore.open(self.folder, StoreConfig()) as store:
                assert {key: store.get(key).tobytes() for key in self.model.values} == (
                    self.model.values
                )
                assert store.check().is_clean
        finally:
            shutil.rmtree(self.folder)


class CollidingMachine(StoreMachine):
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
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStore = StoreMachine.TestCase
TestStore.settings = _SETTINGS
TestCollisions = CollidingMachine.TestCase
TestCollisions.settings = settings(_SETTINGS, max_examples=15)
