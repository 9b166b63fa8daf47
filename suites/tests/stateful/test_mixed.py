"""Risk: threads and processes on one store at once, and one of them sees what is not so.

Three processes with two threads each act in any order. One has the store open for writing, and
hands that over. Whatever was acknowledged to anyone is what all six see at once; while it is under
way they see what was or what will be, and never go back. The model is a dictionary.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from copy import deepcopy
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fixtures.lock_order import StallError, watching
from harness.oracle import Oracle
from suites.tests.stateful.peers import THREADS, HerePeer, Peer, SpawnedPeer
from suites.tests.stateful.test_versions import State
from titanstore import EmbeddingStore

PEERS = 3
DIMENSION = 8
KEYS = ("a", "b", "\x00", "0" * 32, "0" * 31 + "1", "k5", "k6")
DOCUMENTS = ("x.py", "y.py")
PATIENCE_S = 60.0
VECTORS = [
    np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32) for seed in range(12)
]

keys = st.sampled_from(KEYS)
key_lists = st.lists(keys, max_size=4, unique=True)
chunk_lists = st.dictionaries(
    keys, st.sampled_from(VECTORS).map(lambda row: row.tobytes()), min_size=1, max_size=4
).map(lambda chunks: list(chunks.items()))
documents = st.sampled_from(DOCUMENTS)
peers = st.integers(0, PEERS - 1)
threads = st.integers(0, THREADS - 1)
opened_with = st.fixed_dictionaries(
    {
        "hot_bytes_max": st.sampled_from([0, 3_000, 800_000]),
        "policy": st.sampled_from(["probation", "lru"]),
        "prefetch": st.booleans(),
        "bloom": st.booleans(),
        "shared_pool": st.booleans(),
        "compression": st.booleans(),
        "segment_reads": st.sampled_from(["mmap", "pread"]),
        "result_cache_entries": st.sampled_from([0, 4]),
        "durability": st.just("power_cut_may_lose_store"),
    }
)
segment_sizes = st.sampled_from([2**20, 400, 150])


class Kept(NamedTuple):
    """A version, and what it holds."""

    number: int
    state: State


class Company:
    """The processes; they outlive the stores."""

    def __init__(self) -> None:
        self.peers: list[Peer] = [HerePeer(), SpawnedPeer(), SpawnedPeer()]

    def end(self) -> None:
        faults = [fault for peer in self.peers for fault in peer.end()]
        assert faults == []


company: Company


@pytest.fixture(scope="module", autouse=True)
def all_peers() -> Iterator[None]:
    global company
    with watching(limit_s=None):
        company = Company()
        yield
        company.end()


class MixedMachine(RuleBasedStateMachine):
    """Each rule is one operation of one thread of one process, or of several at once."""

    @initialize(settings=st.lists(opened_with, min_size=PEERS, max_size=PEERS), writer=peers)
    def begin(self, settings: list[dict[str, Any]], writer: int) -> None:
        self.folder = tempfile.mkdtemp(prefix="titanstore-")
        EmbeddingStore.open(self.folder).close()
        self.writer = writer
        self.model = State({}, {})
        self.kept: list[Kept] = []
        for peer in range(PEERS):
            self.open(peer, settings[peer], 400)

    # -- asking ----------------------------------------------------------------------------

    def submit(self, peer: int, thread: int, act: str, *given: Any, **named: Any) -> Future[Any]:
        return company.peers[peer].submit(thread, act, *given, **named)

    def answer(self, asked: Future[Any]) -> Any:
        """What comes of it; a wait without end fails, and all say where they are."""
        try:
            return asked.result(PATIENCE_S)
        except FutureTimeoutError:
            for peer in company.peers:
                peer.show_stacks()
            raise StallError("no answer; the stacks of all processes are on stderr") from None

    def ask(self, peer: int, thread: int, act: str, *given: Any, **named: Any) -> Any:
        return self.answer(self.submit(peer, thread, act, *given, **named))

    def open(self, peer: int, settings: dict[str, Any], segment_bytes: int) -> None:
        read_only = peer != self.writer
        self.ask(peer, 0, "open", self.folder, settings, segment_bytes, read_only=read_only)

    def everyone(self) -> Iterator[tuple[int, int]]:
        return ((peer, thread) for peer in range(PEERS) for thread in range(THREADS))

    # -- writing ---------------------------------------------------------------------------

    def write(
        self, thread: int, act: str, *given: Any, change: Callable[[State], object], busy: bool
    ) -> Any:
        """Let the writer do it, the others reading meanwhile or not; all see that it is done."""
        before = [self.model.values.get(key) for key in KEYS]
        readers = [
            self.submit(peer, reader, "glances", KEYS)
            for peer, reader in self.everyone()
            if busy and (peer, reader) != (self.writer, thread)
        ]
        said = self.ask(self.writer, thread, act, *given)
        change(self.model)
        after = [self.model.values.get(key) for key in KEYS]
        everyone = [self.submit(peer, one, "values", KEYS) for peer, one in self.everyone()]
        for asked in readers:
            for was, now, *seen in zip(before, after, *self.answer(asked), strict=True):
                fresh = seen.index(now) if now in seen else len(seen)
                assert seen == [was] * fresh + [now] * (len(seen) - fresh)
        for asked in everyone:
            assert self.answer(asked) == after
        return said

    @rule(chunks=chunk_lists, document=st.none() | documents, thread=threads, busy=st.booleans())
    def put(
        self, chunks: list[tuple[str, bytes]], document: str | None, thread: int, busy: bool
    ) -> None:
        self.write(
            *(thread, "put", chunks, document),
            change=lambda model: model.put(_rows(chunks), document),
            busy=busy,
        )

    @rule(chunks=chunk_lists, document=documents, thread=threads, busy=st.booleans())
    def update_document(
        self, chunks: list[tuple[str, bytes]], document: str, thread: int, busy: bool
    ) -> None:
        self.write(
            *(thread, "update_document", document, chunks),
            change=lambda model: model.update_document(document, _rows(chunks)),
            busy=busy,
        )

    @rule(gone=key_lists, thread=threads, busy=st.booleans())
    def delete(self, gone: list[str], thread: int, busy: bool) -> None:
        count = len(self.model.values.keys() & set(gone))
        said = self.write(
            *(thread, "delete", gone), change=lambda model: model.delete(gone), busy=busy
        )
        assert said == count

    @rule(thread=threads, busy=st.booleans())
    def snapshot(self, thread: int, busy: bool) -> None:
        number = self.write(thread, "snapshot", "label", change=lambda _: None, busy=busy)
        self.kept.append(Kept(number, deepcopy(self.model)))

    @precondition(lambda self: self.kept)
    @rule(place=st.integers(0, 30), thread=threads, busy=st.booleans())
    def rollback(self, place: int, thread: int, busy: bool) -> None:
        to = self.kept[place % len(self.kept)]

        def change(model: State) -> None:
            model.values.clear()
            model.values.update(to.state.values)
            model.documents.clear()
            model.documents.update(deepcopy(to.state.documents))

        number = self.write(thread, "rollback", to.number, change=change, busy=busy)
        self.kept.append(Kept(number, deepcopy(self.model)))

    @rule(thread=threads, busy=st.booleans())
    def maintain(self, thread: int, busy: bool) -> None:
        """Compaction too: segments are small, and most of what was written is dead soon."""
        self.write(thread, "maintain", change=lambda _: None, busy=busy)

    # -- reading ---------------------------------------------------------------------------

    @rule(peer=peers, thread=threads, asked=key_lists)
    def get_many(self, peer: int, thread: int, asked: list[str]) -> None:
        wanted = [self.model.values.get(key) for key in asked]
        assert self.ask(peer, thread, "many", asked) == (None if None in wanted else wanted)

    @rule(peer=peers, thread=threads)
    def look_at_documents(self, peer: int, thread: int) -> None:
        assert self.ask(peer, thread, "documents") == self.model.documents

    @rule(query=st.sampled_from(VECTORS), k=st.integers(1, 8))
    def search(self, query: np.ndarray[Any, np.dtype[np.float32]], k: int) -> None:
        """All at once."""
        asked = [
            self.submit(peer, thread, "search", query.tobytes(), k)
            for peer, thread in self.everyone()
        ]
        rows = np.frombuffer(b"".join(self.model.values.values()), np.float32)
        oracle = Oracle(list(self.model.values), rows.reshape(-1, DIMENSION))
        wanted = [tuple(found) for found in oracle.search(query, k)]
        for one in asked:
            assert self.answer(one) == wanted

    @precondition(lambda self: self.kept)
    @rule(peer=peers, thread=threads, place=st.integers(0, 30))
    def look_at_a_version(self, peer: int, thread: int, place: int) -> None:
        kept = self.kept[place % len(self.kept)]
        assert self.ask(peer, thread, "version", kept.number) == kept.state.values

    @rule(peer=peers)
    def check(self, peer: int) -> None:
        assert self.ask(peer, 1, "problems") == []

    # -- coming and going ------------------------------------------------------------------

    @rule(to=peers, settings=st.tuples(opened_with, opened_with), segment_bytes=segment_sizes)
    def hand_over(
        self, to: int, settings: tuple[dict[str, Any], dict[str, Any]], segment_bytes: int
    ) -> None:
        """Another process writes from now on, the one that did reads; the third reads on."""
        before, self.writer = self.writer, to
        self.ask(before, 1, "close")
        self.open(to, settings[0], segment_bytes)
        if before != to:
            self.open(before, settings[1], segment_bytes)

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            for peer in range(PEERS):
                self.ask(peer, 0, "close")
            with EmbeddingStore.open(self.folder) as store:
                assert store.check().problems == ()
                seen = {key: store.get(key).tobytes() for key in KEYS if key in store}
                assert seen == self.model.values
        finally:
            shutil.rmtree(self.folder)


class KilledMachine(MixedMachine):
    """The same, and a process that is killed and comes back now and then."""

    @rule(peer=st.integers(1, PEERS - 1), settings=opened_with, segment_bytes=segment_sizes)
    def kill(self, peer: int, settings: dict[str, Any], segment_bytes: int) -> None:
        killed = company.peers[peer]
        assert isinstance(killed, SpawnedPeer)
        reading = self.submit(peer, 0, "glances", KEYS)
        killed.kill()
        assert reading.done()
        company.peers[peer] = SpawnedPeer()
        self.open(peer, settings, segment_bytes)
        wanted = [self.model.values.get(key) for key in KEYS]
        for one, thread in self.everyone():
            assert self.ask(one, thread, "values", KEYS) == wanted


def _rows(chunks: list[tuple[str, bytes]]) -> list[tuple[str, Any]]:
    return [(key, np.frombuffer(value, np.float32)) for key, value in chunks]


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_threads_and_processes_mixed() -> None:
    run(MixedMachine, examples=5, steps=15)


def test_threads_and_processes_mixed_and_killed_at_length() -> None:
    run(KilledMachine, examples=150, steps=50)
