"""Versions after any sequence of calls: each reads as it was, and no byte is counted twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from titanstore import (
    Difference,
    EmbeddingStore,
    NotFoundError,
    StoreConfig,
    Version,
    VersionView,
)
from titanstore.keys import StoredKey, stored_key
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, records
from titanstore.versions import retention

Vector = NDArray[np.float32]

KEYS = ("a", "b", "\x00", "0" * 32, "0" * 31 + "1", "k7", "k8")
DOCUMENTS = ("x.py", "y.py")
NAMES = ("red", "blue")
keys = st.sampled_from(KEYS)
documents = st.sampled_from(DOCUMENTS)
vectors = st.integers(0, 7).map(
    lambda seed: np.random.default_rng(seed).standard_normal(4 + seed % 2).astype(np.float32)
)
configs = st.builds(
    StoreConfig,
    hot_bytes_max=st.sampled_from([0, 3000]),
    bloom=st.booleans(),
    compression=st.booleans(),
    prefetch=st.booleans(),
    search=st.booleans(),
    versions_max=st.sampled_from([0, 1, 3, 64]),
    durability=st.just("power_cut_may_lose_store"),
)
segment_sizes = st.sampled_from([2**20, 400, 150])
places = st.integers(0, 30)


def with_segments_of(config: StoreConfig, size: int) -> StoreConfig:
    object.__setattr__(config, "segment_bytes_max", size)
    return config


class State(NamedTuple):
    """What a store holds at one moment."""

    values: dict[str, bytes]
    documents: dict[str, list[str]]

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

    def delete(self, gone: Sequence[str]) -> None:
        for key in gone:
            self.values.pop(key, None)
        for document, members in list(self.documents.items()):
            members[:] = [key for key in members if key not in gone]
            if not members:
                del self.documents[document]

    def difference(self, other: State) -> Difference:
        both = self.values.keys() & other.values.keys()
        replaced = {key for key in both if self.values[key] != other.values[key]}
        return Difference(
            added=tuple(sorted(other.values.keys() - both)),
            replaced=tuple(sorted(replaced)),
            removed=tuple(sorted(self.values.keys() - both)),
            documents_changed=tuple(
                sorted(
                    name
                    for name in self.documents.keys() | other.documents.keys()
                    if self.documents.get(name) != other.documents.get(name)
                    or replaced & set(other.documents[name])
                )
            ),
        )


class Kept(NamedTuple):
    version: Version
    state: State


def assert_holds(store: EmbeddingStore | VersionView, state: State) -> None:
    assert len(store) == len(state.values)
    assert [key in store for key in KEYS] == [key in state.values for key in KEYS]
    assert {key: store.get(key).tobytes() for key in state.values} == state.values
    assert store.documents() == sorted(state.documents)
    for document in DOCUMENTS:
        if document in state.documents:
            assert store.document_keys(document) == state.documents[document]
        else:
            with pytest.raises(NotFoundError):
                store.document_keys(document)
    for key in set(KEYS) - state.values.keys():
        with pytest.raises(NotFoundError):
            store.get(key)


def dead_bytes_by_walking(store: EmbeddingStore) -> dict[int, int]:
    """Per segment, bytes of records to which neither the present nor a version leads."""
    prints = [stored_key(key).fingerprint() for key in KEYS]
    with store._catalog.reading() as view:
        needed = {address for found in view.lookup_many(prints) for address in found}
        for stored in view.history.versions():
            past = view.at(stored.version.number)
            needed |= {address for found in past.lookup_many(prints) for address in found}
        states = view.segments()
    dead = {}
    for number, state in states.items():
        data = store._reader.view(number, state.end)[: state.end]
        dead[number] = sum(
            record.end - record.offset
            for record in records(data, SEGMENT_HEADER_BYTES, state.end)
            if (number, record.offset) not in needed
        )
    return dead


class VersionsMachine(RuleBasedStateMachine):
    """The writing object and a read-only second one of the same process."""

    @initialize(config=configs, size=segment_sizes, batch=st.sampled_from([1, 3, 10_000]))
    def begin(self, config: StoreConfig, size: int, batch: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(retention, "_BATCH_RECORDS", batch)
        self.folder = Path(tempfile.mkdtemp(prefix="titanstore-"))
        self.present = State({}, {})
        self.kept: list[Kept] = []
        self.gone: set[int] = set()
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        self.reader = EmbeddingStore.open(self.folder, StoreConfig(), read_only=True)

    # -- changing --------------------------------------------------------------------------

    @rule(chunks=st.dictionaries(keys, vectors, max_size=5), document=st.none() | documents)
    def put_many(self, chunks: dict[str, Vector], document: str | None) -> None:
        self.store.put_many(list(chunks), list(chunks.values()), document)
        self.present.put(list(chunks.items()), document)

    @rule(chunks=st.dictionaries(keys, vectors, max_size=5), document=documents)
    def update_document(self, chunks: dict[str, Vector], document: str) -> None:
        self.store.update_document(document, list(chunks.items()))
        self.present.update_document(document, list(chunks.items()))

    @rule(gone=st.lists(keys, max_size=3))
    def delete(self, gone: list[str]) -> None:
        self.store.delete(gone)
        self.present.delete(gone)

    # -- versions --------------------------------------------------------------------------

    def take(self, version: Version) -> None:
        self.kept.append(Kept(version, deepcopy(self.present)))

    @rule(label=st.none() | st.sampled_from(NAMES))
    def snapshot(self, label: str | None) -> None:
        version = self.store.snapshot(label)
        assert (version.label, version.tags, version.origin) == (label, (), "snapshot")
        self.take(version)

    @precondition(lambda self: self.kept)
    @rule(place=places)
    def rollback(self, place: int) -> None:
        kept = self.kept[place % len(self.kept)]
        for either in (self.store, self.reader):
            assert_holds(either, self.present)  # so that their tiers hold what is to be forgotten
        made = self.store.rollback(kept.version.number)
        before, after = self.store.versions()[-2:]
        assert (before.origin, after.origin) == ("before-rollback", "rollback")
        assert after == made
        self.take(before)
        self.present = deepcopy(kept.state)
        self.take(after)
        for either in (self.store, self.reader):
            assert_holds(either, self.present)

    @precondition(lambda self: self.kept)
    @rule(place=places, tag=st.sampled_from(NAMES))
    def tag(self, place: int, tag: str) -> None:
        for number, kept in enumerate(self.kept):
            if tag in kept.version.tags:
                self.kept[number] = kept._replace(version=self.store.untag(tag))
        place %= len(self.kept)
        tagged = self.store.tag(self.kept[place].version, tag)
        assert tag in tagged.tags
        self.kept[place] = self.kept[place]._replace(version=tagged)

    @rule(keep=st.integers(0, 4))
    def drop(self, keep: int) -> None:
        assert self.store.drop_versions(keep=keep) == self.forget(keep)

    def forget(self, keep: int) -> int:
        untagged = [kept for kept in self.kept if not kept.version.tags]
        gone = untagged[: max(0, len(untagged) - keep)]
        self.kept = [kept for kept in self.kept if kept not in gone]
        self.gone |= {kept.version.number for kept in gone}
        return len(gone)

    # -- looking ---------------------------------------------------------------------------

    @precondition(lambda self: self.kept)
    @rule(place=places, second=st.booleans())
    def look_back(self, place: int, second: bool) -> None:
        kept = self.kept[place % len(self.kept)]
        view = (self.reader if second else self.store).at(kept.version.number)
        assert view.version == kept.version
        assert_holds(view, kept.state)
        assert view.keys() == sorted(kept.state.values)

    @rule(second=st.booleans())
    def look(self, second: bool) -> None:
        assert_holds(self.reader if second else self.store, self.present)

    @precondition(lambda self: self.kept)
    @rule(one=places, other=st.none() | places)
    def compare(self, one: int, other: int | None) -> None:
        a = self.kept[one % len(self.kept)]
        if other is None:
            assert self.reader.diff(a.version) == a.state.difference(self.present)
        else:
            b = self.kept[other % len(self.kept)]
            assert self.reader.diff(a.version, b.version) == a.state.difference(b.state)

    @precondition(lambda self: self.gone)
    @rule(place=places)
    def look_for_what_is_gone(self, place: int) -> None:
        number = sorted(self.gone)[place % len(self.gone)]
        for call in (self.store.at, self.store.rollback, self.reader.diff):
            with pytest.raises(NotFoundError) as caught:
                call(number)
            assert caught.value.kind == "version-gone"

    # -- keeping ---------------------------------------------------------------------------

    @rule()
    def maintain(self) -> None:
        done = self.store.maintain()
        assert done.versions_dropped == self.forget(self.store._config.versions_max)
        with self.store._catalog.reading() as view:
            states = view.segments()
        on_disk = {
            int(path.stem): path.stat().st_size for path in (self.folder / "segments").glob("*.seg")
        }
        assert on_disk == {number: state.end for number, state in states.items()}
        assert all(
            state.dead_bytes <= max(0, state.end - SEGMENT_HEADER_BYTES) / 2
            for state in states.values()
        )

    @rule(config=configs, size=segment_sizes, reader_too=st.booleans())
    def reopen(self, config: StoreConfig, size: int, reader_too: bool) -> None:
        self.store.close()
        if reader_too:
            self.reader.close()
        self.store = EmbeddingStore.open(self.folder, with_segments_of(config, size))
        if reader_too:
            self.reader = EmbeddingStore.open(self.folder, StoreConfig(), read_only=True)

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def versions_are_listed(self) -> None:
        listed = self.reader.versions()
        assert listed == [kept.version for kept in self.kept]
        assert [(v.vectors, v.documents) for v in listed] == [
            (len(kept.state.values), len(kept.state.documents)) for kept in self.kept
        ]

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def dead_bytes_are_exact(self) -> None:
        with self.store._catalog.reading() as view:
            counted = {number: state.dead_bytes for number, state in view.segments().items()}
            assert set(view.history.intervals()) <= {kept.version.number for kept in self.kept}
        assert counted == dead_bytes_by_walking(self.store)

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def nothing_is_damaged(self) -> None:
        assert self.store.check().problems == ()

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.store.close()
            self.reader.close()
            with EmbeddingStore.open(self.folder, StoreConfig()) as store:
                assert_holds(store, self.present)
                for kept in self.kept:
                    assert_holds(store.at(kept.version), kept.state)
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)


class CollidingMachine(VersionsMachine):
    """The same where every second key has the same fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self.prints = pytest.MonkeyPatch()
        self.prints.setattr(
            StoredKey, "fingerprint", lambda key: bytes(3) + bytes([len(key.data) % 2])
        )

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.prints.undo()


_SETTINGS = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestVersions = VersionsMachine.TestCase
TestVersions.settings = _SETTINGS
TestCollisions = CollidingMachine.TestCase
TestCollisions.settings = settings(_SETTINGS, max_examples=20)
