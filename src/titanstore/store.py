"""EmbeddingStore: the rooms put together."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from titanstore.aio import AsyncStore
from titanstore.catalog.catalog import Catalog
from titanstore.changes import Changes, Outcome
from titanstore.codec.base import Vector
from titanstore.config import StoreConfig, load_config
from titanstore.errors import ClosedError, ErrorKind, ReadOnlyError
from titanstore.events import Event
from titanstore.figures.publisher import HOT_SAMPLED, LOADS_SAMPLED, Operation
from titanstore.folder import Generation, StoreFolder, WriterLock, open_folder
from titanstore.keeping import KeptStore
from titanstore.keys import StoredKey
from titanstore.metrics import Counters
from titanstore.reading import ReadableStore
from titanstore.rooms import Rooms
from titanstore.search.engine import SearchEngine
from titanstore.search.face import SearchableStore
from titanstore.segments.disk import refusals_named
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.bloom import BloomFilter
from titanstore.tiers.cold import ColdTier
from titanstore.types import Version
from titanstore.versions.face import VersionedStore
from titanstore.versions.versions import RolledBack, Versions
from titanstore.writing import WritableStore

_Result = TypeVar("_Result")
_NEVER = 2**30 - 1  # hits; the largest number that CPython compares in its fastest way
_open_stores: weakref.WeakSet[EmbeddingStore] = weakref.WeakSet()


def _in_forked_child() -> None:
    for store in list(_open_stores):
        store._leave_parent()  # noqa: SLF001  # this module's own class


os.register_at_fork(after_in_child=_in_forked_child)


class EmbeddingStore(ReadableStore, WritableStore, SearchableStore, VersionedStore, KeptStore):
    """Float32 embeddings by key: bit-exact, compressed, in three tiers, shared on one disk.

    Make one with `EmbeddingStore.open`. Any number of threads may use an object. Any number of
    processes may have the store open, one of them for writing. After a fork, the child's object
    reads on with tiers of its own and refuses to write.

    Rows that `get` returns are read-only float32 arrays of shape (dimension,); a caller may keep
    them, or any slice of them, for ever.
    """

    def __init__(self, folder: StoreFolder, lock: WriterLock | None, config: StoreConfig) -> None:
        self._folder = folder
        self._config = config
        self._lock = lock
        self._write_lock = threading.RLock()
        self._closed: ErrorKind | None = None
        self._pid = os.getpid()
        self._counters = Counters()
        self._is_read_only = lock is None
        self._is_forked = False
        self._turn = 0  # hot hits when a get is timed next
        self._loads = 0  # gets that were not hot since one was timed
        self._generation = Generation(folder.generation, read_only=lock is None)
        self._cells = self._generation.cells
        self._seen = self._cells[0]
        # by a weak reference: a cycle would keep the files of an open that fails until a collection
        self.aio = AsyncStore(weakref.proxy(self))
        self._assemble()
        _open_stores.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        config: StoreConfig | None = None,
        *,
        read_only: bool = False,
        create: bool = True,
    ) -> EmbeddingStore:
        """Open the store in a folder, or make it.

        Parameters
        ----------
        path
            Folder of the store.
        config
            Settings; None takes defaults and TITANSTORE_* variables (`load_config`).
        read_only
            Never writes, takes no lock, works while another process writes and on read-only media.
        create
            False: raise instead of making a store.

        Raises
        ------
        NotFoundError
            NO_STORE: there is none, and it is not to be made.
        BusyError
            ALREADY_OPEN: another process, or another object of this one, writes.
        InvalidInputError
            NOT_A_STORE: the folder holds something else. BAD_SETTING.
        NewerFormatError, CorruptionError, ReadOnlyError, StorageError

        Notes
        -----
        Cost does not depend on the number of vectors, but for the first writer of a boot, which
        reads all planes, 0.2 us a vector in memory, and goes through the catalog once for each two
        million vectors, 0.5 us a vector. What a crash left half-written is cut.
        """
        settings = load_config() if config is None else config
        with refusals_named(f"opening {path}"):
            folder, lock = open_folder(Path(path), read_only=read_only, create=create)
            try:
                return cls(folder, lock, settings)
            except BaseException:
                if lock is not None:
                    lock.release()
                raise

    # -- putting the rooms together --------------------------------------------------------

    def _assemble(self) -> None:
        if not self._is_read_only:
            # a writer that was killed between committing and telling the readers
            self._generation.bump()
        generation = self._generation
        self._rooms = Rooms(
            self._folder, self._config, self._counters, generation, read_only=self._is_read_only
        )
        self._publisher = self._rooms.publisher
        self._catalog = self._rooms.catalog
        self._reader = self._rooms.reader
        self._cascade = self._rooms.cascade
        self._hot_rows = self._cascade.hot.rows
        self._hot_touch = self._cascade.hot.touch

    @property
    def _bloom(self) -> BloomFilter | None:
        return self._rooms.bloom

    def _leave_parent(self) -> None:
        """In a forked child: nothing of the parent's locks, LMDB or threads may be touched."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._is_read_only = True
        self._is_forked = True
        self._write_lock = threading.RLock()
        self._rooms.leave_parent()
        self._pid = -1  # the catalog is opened when it is first needed
        self._hot_rows = {}

    def _ready(self) -> None:
        """Raise if closed; catch up with changes of other processes; open anew after a fork."""
        if self._closed is not None:
            raise ClosedError("the store is closed; open it again", self._closed)
        if self._pid != os.getpid():
            with self._write_lock:
                if self._pid != os.getpid():
                    self._assemble()
                    self._pid = os.getpid()
        now = self._cells[0]
        if now != self._seen:
            self._cascade.clear()  # first: nobody may take an old row for a current one
            self._reader.forget_removed()
            self._seen = now

    # -- reading ---------------------------------------------------------------------------

    def get(self, key: str) -> Vector:
        """The vector of a key, bit for bit as it was put.

        Parameters
        ----------
        key
            1 to 480 bytes of UTF-8.

        Returns
        -------
        ndarray of float32, shape (dimension,), read-only
            Yours to keep. Gates `latency.hot` and `latency.disk` say how long it takes.

        Raises
        ------
        NotFoundError
            UNKNOWN_KEY; also a KeyError.
        InvalidInputError
            EMPTY_KEY, KEY_TOO_LONG, KEY_NOT_TEXT.
        CorruptionError
            What is stored is not what was written; nothing is returned.
        ClosedError, StorageError
        """
        counters = self._counters
        if counters.hot_hits >= self._turn:  # one in HOT_SAMPLED
            return self._timed_get(key)
        try:
            row: Vector | None = self._hot_rows[key]
        except (KeyError, TypeError):  # TypeError: unhashable
            row = None
        # the second look at the generation is what makes an acknowledged write visible at once
        if row is not None and self._cells[0] == self._seen:
            self._hot_touch(key)
            counters.hot_hits += 1
            return row
        self._ready()
        self._loads += 1
        if self._loads < LOADS_SAMPLED:
            return self._cascade.load(key)
        self._loads = 0
        started = perf_counter_ns()
        row = self._cascade.load(key)
        self._publisher.note(Operation.GET_OTHER, started)
        return row

    def _timed_get(self, key: str) -> Vector:
        started = perf_counter_ns()
        hits = self._counters.hot_hits
        self._turn = hits + (HOT_SAMPLED if self._publisher.is_publishing else _NEVER)
        row = _get(self, key)
        if self._counters.hot_hits > hits:
            self._publisher.note(Operation.GET_HOT, started)
        return row

    def get_many(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of many keys, in their order; a key may come twice.

        Returns
        -------
        ndarray of float32, shape (len(keys), dimension), C order
            Freshly allocated and writable. Shape (0, 0) for no keys.

        Raises
        ------
        NotFoundError
            UNKNOWN_KEY: one or more have no vector; the message counts and names them.
        InvalidInputError
            MIXED_DIMENSIONS; and as `get`.
        CorruptionError, ClosedError, StorageError
        """
        started = perf_counter_ns()
        self._ready()
        rows = self._cascade.load_many(list(keys))
        self._publisher.note(Operation.GET_MANY, started)
        return rows

    def _present(self) -> tuple[Catalog, ColdTier]:
        self._ready()
        return self._catalog, self._cascade.cold

    # -- writing ---------------------------------------------------------------------------

    def _settings(self) -> StoreConfig:
        return self._config

    def _write(
        self,
        change: Callable[[Changes], Outcome],
        vectors: Mapping[StoredKey, Vector] | None = None,
        operation: Operation | None = None,
    ) -> Outcome:
        started = perf_counter_ns()
        with self._write_lock, refusals_named("writing"):
            self._ready()
            self._refuse_reader()
            assert self._rooms.changes is not None
            try:
                outcome = change(self._rooms.changes)
                if outcome.stale:
                    self._seen = self._generation.bump()
                    self._cascade.invalidate(list(outcome.stale))
                    # last: who sees a row unmarked must see the generation that did it
                    self._rooms.retire(outcome.retired)
            except BaseException:
                # it may have been committed, so nobody may go on trusting what is in memory
                self._generation.bump()
                raise
            self._cascade.admit_written(
                [(key.text, vectors[key]) for key in outcome.written] if vectors else []
            )
            self._counters.written += len(outcome.written)
            self._counters.unchanged += outcome.unchanged
            self._counters.replaced += outcome.replaced
            self._counters.deleted += outcome.deleted
        self._publisher.note(operation, started)
        return outcome

    def _refuse_reader(self) -> None:
        if self._is_read_only:
            raise ReadOnlyError(
                "a forked child may only read"
                if self._is_forked
                else "this store is open for reading only",
                ErrorKind.OPENED_READ_ONLY,
            )
        if self._lock is not None:
            self._lock.require()
            self._generation.require()

    # -- search ----------------------------------------------------------------------------

    def _engine(self) -> SearchEngine:
        self._ready()
        cells = self._cells
        return self._rooms.search_engine(lambda: cells[0])

    def _searched(self, started_ns: int) -> None:
        self._publisher.note(Operation.SEARCH, started_ns)

    # -- versions --------------------------------------------------------------------------

    def _past(self) -> tuple[Catalog, SegmentReader]:
        self._ready()
        self._catalog.find_databases()
        return self._catalog, self._reader

    def _change_versions(self, change: Callable[[Versions], _Result]) -> _Result:
        with self._write_lock, refusals_named("changing versions"):
            self._ready()
            self._refuse_reader()
            assert self._rooms.versions is not None
            return change(self._rooms.versions)

    def _roll_back(self, change: Callable[[Versions], RolledBack]) -> Version:
        done: list[RolledBack] = []

        def roll_back(_: Changes) -> Outcome:
            done.append(self._change_versions(change))
            return done[0].outcome

        self._write(roll_back)
        made = done[0].version
        self._rooms.tell(logging.WARNING, Event.ROLLED_BACK, "rolled back", version=made.number)
        return made

    # -- keeping ---------------------------------------------------------------------------

    def _kept(self) -> Rooms:
        self._ready()
        return self._rooms

    def _keep(self, act: Callable[[Rooms, Callable[[], object]], _Result]) -> _Result:
        with self._write_lock, refusals_named("keeping the store in order"):
            self._ready()
            self._refuse_reader()
            return act(self._rooms, self._generation.bump)

    def wait_for_prefetch(self, timeout_s: float = 60.0) -> bool:
        """Wait until no prefetch is wanted or under way; for measurements and tests."""
        prefetcher = self._cascade.prefetcher
        return prefetcher is None or prefetcher.drain(timeout_s)

    def close(self) -> None:
        """Give everything back; idempotent. Rows handed out stay valid."""
        self.aio.close()
        with self._write_lock:
            if self._closed is not None:
                return
            self._closed = ErrorKind.CLOSED
            self._hot_rows = {}  # a read under way may still make a row hot
            self._rooms.close(is_own=self._pid == os.getpid())
            if self._lock is not None:
                self._lock.release()
            self._generation.close()
            self._cells = self._generation.cells
            _open_stores.discard(self)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_get = EmbeddingStore.get  # what a subclass makes of it sees each call once
