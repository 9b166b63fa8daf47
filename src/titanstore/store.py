"""EmbeddingStore: the rooms put together."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from titanstore.changes import Changes, Outcome, checked_document, distinct
from titanstore.check import CheckReport, StoreCheck
from titanstore.codec.base import Vector
from titanstore.config import StoreConfig, load_config
from titanstore.errors import ClosedError, ErrorKind, NotFoundError, ReadOnlyError
from titanstore.folder import Generation, StoreFolder, WriterLock, open_folder
from titanstore.keys import StoredKey, stored_key
from titanstore.metrics import Counters
from titanstore.rooms import Rooms
from titanstore.stats import Maintenance, StoreStats
from titanstore.tiers.bloom import BloomFilter
from titanstore.vectors import checked_vectors

_open_stores: weakref.WeakSet[EmbeddingStore] = weakref.WeakSet()


def _in_forked_child() -> None:
    for store in list(_open_stores):
        store._leave_parent()  # noqa: SLF001  # this module's own class


os.register_at_fork(after_in_child=_in_forked_child)


class EmbeddingStore:
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
        self._generation = Generation(folder.generation, read_only=lock is None)
        self._cells = self._generation.cells
        self._seen = self._cells[0]
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
        Cost does not depend on the number of vectors. What a crash left half-written is cut.
        """
        settings = load_config() if config is None else config
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
        self._rooms = Rooms(
            self._folder, self._config, self._counters, read_only=self._is_read_only
        )
        self._catalog = self._rooms.catalog
        self._reader = self._rooms.reader
        self._cascade = self._rooms.cascade
        self._hot_lookup = self._cascade.hot.lookup
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
        self._rooms.stop_writing()
        self._pid = -1  # the catalog is opened when it is first needed
        self._hot_lookup = _nothing_is_hot
        self._hot_touch = _nothing_is_hot

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
        try:
            row = self._hot_lookup(key)
        except TypeError:  # unhashable
            row = None
        # the second look at the generation is what makes an acknowledged write visible at once
        if row is not None and self._cells[0] == self._seen:
            self._hot_touch(key)
            self._counters.hot_hits += 1
            return row
        self._ready()
        return self._cascade.load(key)

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
        self._ready()
        return self._cascade.load_many(list(keys))

    def __contains__(self, key: object) -> bool:
        """Is there a vector for this key? Decodes nothing, moves nothing."""
        self._ready()
        return isinstance(key, str) and self._cascade.cold.find(stored_key(key)) is not None

    def __len__(self) -> int:
        """Number of vectors."""
        self._ready()
        with self._catalog.reading() as view:
            return view.entry_count()

    def documents(self) -> list[str]:
        """Names of all documents, sorted."""
        self._ready()
        with self._catalog.reading() as view:
            return sorted(name for _, name, _ in view.documents())

    def document_keys(self, document: str) -> list[str]:
        """Keys of a document in its order.

        Raises
        ------
        NotFoundError
            UNKNOWN_DOCUMENT.
        """
        self._ready()
        name = checked_document(document)
        keys = self._cascade.cold.document_keys(name)
        if keys is None:
            raise NotFoundError(f"no document {name!r}", ErrorKind.UNKNOWN_DOCUMENT)
        return [key.text for key in keys]

    # -- writing ---------------------------------------------------------------------------

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
        checked = checked_vectors(vectors, len(keys), self._config)
        wanted = distinct(keys, checked)
        name = None if document is None else checked_document(document)
        if wanted:
            self._write(lambda: self._changes().put(wanted, name), wanted)

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None:
        """Make `chunks` the whole content of a document, all or nothing.

        Only vectors that are new or changed are written. Keys that were in the document and are
        not in `chunks` go, unless another document holds them. No chunks: the document goes.

        Raises as `put_many`.
        """
        name = checked_document(document)
        keys = [key for key, _ in chunks]
        vectors = checked_vectors([vector for _, vector in chunks], len(keys), self._config)
        wanted = distinct(keys, vectors)
        self._write(lambda: self._changes().update_document(name, wanted), wanted)

    def delete(self, keys: Iterable[str]) -> int:
        """Remove keys, all or none, from their documents too; returns how many there were.

        A key without a vector is passed over. Raises as `put_many`.
        """
        if isinstance(keys, str):
            keys = [keys]
        wanted = [stored_key(key) for key in keys]
        return self._write(lambda: self._changes().delete(wanted)).deleted

    def _write(
        self, change: Callable[[], Outcome], vectors: Mapping[StoredKey, Vector] | None = None
    ) -> Outcome:
        with self._write_lock:
            self._ready()
            self._refuse_reader()
            try:
                outcome = change()
                if outcome.stale:
                    self._seen = self._generation.bump()
                    self._cascade.invalidate(list(outcome.stale))
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
        return outcome

    def _changes(self) -> Changes:
        self._refuse_reader()
        assert self._rooms.changes is not None
        return self._rooms.changes

    def _refuse_reader(self) -> None:
        if self._is_read_only:
            raise ReadOnlyError(
                "a forked child may only read"
                if self._is_forked
                else "this store is open for reading only",
                ErrorKind.OPENED_READ_ONLY,
            )

    # -- keeping ---------------------------------------------------------------------------

    def stats(self) -> StoreStats:
        """Sizes and counters at this moment; no walk over the vectors."""
        self._ready()
        with self._catalog.reading() as view:
            states = view.segments()
            vectors, documents = view.entry_count(), view.document_count()
        hot, warm = self._cascade.hot, self._cascade.warm
        return StoreStats(
            vectors=vectors,
            documents=documents,
            segments=len(states),
            segment_bytes=sum(state.end for state in states.values()),
            dead_bytes=sum(state.dead_bytes for state in states.values()),
            catalog_bytes=self._catalog.file_bytes(),
            hot_rows=len(hot),
            hot_bytes=hot.nbytes,
            warm_frames=len(warm),
            warm_bytes=warm.nbytes,
            counters=self._counters.snapshot(),
        )

    def check(self, progress: Callable[[int, int], None] | None = None) -> CheckReport:
        """Read every entry, record, frame and document once and report what is not as written.

        Never raises for damage: it is what the report lists. `progress(done, total)` is called
        every few thousand vectors. About 40 us a vector.
        """
        self._ready()
        return StoreCheck(self._catalog, self._reader, self._bloom).run(progress)

    def maintain(self) -> Maintenance:
        """Give back the space of replaced and removed vectors where it is worth the copying.

        A segment file is rewritten when more than half of it is dead. Readers go on meanwhile;
        writers of this object wait. Safe to interrupt at any moment.
        """
        with self._write_lock:
            self._ready()
            self._refuse_reader()
            removed, freed = self._rooms.compact(dead_share=0.5)
            if removed:
                self._generation.bump()  # whoever maps a removed file keeps its space: let go
        return Maintenance(segments_removed=removed, bytes_freed=freed)

    def wait_for_prefetch(self, timeout_s: float = 5.0) -> bool:
        """Wait until no prefetch is wanted or under way; for measurements and tests."""
        prefetcher = self._cascade.prefetcher
        return prefetcher is None or prefetcher.drain(timeout_s)

    def close(self) -> None:
        """Give everything back; idempotent. Rows handed out stay valid."""
        with self._write_lock:
            if self._closed is not None:
                return
            self._closed = ErrorKind.CLOSED
            self._hot_lookup = _nothing_is_hot  # a read under way may still make a row hot
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


def _nothing_is_hot(_: str) -> None:
    return None
