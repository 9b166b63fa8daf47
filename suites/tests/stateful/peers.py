"""Processes with two threads each that act on one store when told to: this one, and spawned ones.

All of them watch the order of their locks (`fixtures/lock_order.py`).
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fixtures.lock_order import LockOrderError, watching
from titanstore import EmbeddingStore, NotFoundError, StoreConfig

__all__ = ["THREADS", "Acts", "HerePeer", "Peer", "SpawnedPeer"]

THREADS = 2
_GLANCES_S = 0.004  # as long as a write takes
_END_S = 20.0
Chunks = list[tuple[str, bytes]]


class Acts:
    """What can be asked of a peer, by name; everything given and returned can be sent."""

    def __init__(self) -> None:
        self._store: EmbeddingStore | None = None

    @property
    def store(self) -> EmbeddingStore:
        """The one object of this process."""
        assert self._store is not None
        return self._store

    def open(
        self, folder: str, settings: dict[str, Any], segment_bytes: int, *, read_only: bool
    ) -> None:
        """Close what is open, and open it so."""
        self.close()
        config = StoreConfig(**settings)
        # smaller than a caller may ask for, so that a few vectors fill many
        object.__setattr__(config, "segment_bytes_max", segment_bytes)
        self._store = EmbeddingStore.open(folder, config, read_only=read_only)

    def close(self) -> None:
        """Idempotent."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def put(self, chunks: Chunks, document: str | None) -> None:
        """As the store's put_many."""
        self.store.put_many([key for key, _ in chunks], _rows(chunks), document)

    def update_document(self, document: str, chunks: Chunks) -> None:
        """As the store's."""
        pairs = zip([key for key, _ in chunks], _rows(chunks), strict=True)
        self.store.update_document(document, list(pairs))

    def delete(self, keys: Sequence[str]) -> int:
        """As the store's."""
        return self.store.delete(keys)

    def snapshot(self, label: str) -> int:
        """Number of the version made."""
        return self.store.snapshot(label).number

    def rollback(self, number: int) -> int:
        """Number of the version made."""
        return self.store.rollback(number).number

    def maintain(self) -> None:
        """As the store's: it compacts as well."""
        self.store.maintain()

    def values(self, keys: Sequence[str]) -> list[bytes | None]:
        """What each key has, one by one."""
        return [self._value(key) for key in keys]

    def glances(self, keys: Sequence[str]) -> list[list[bytes | None]]:
        """`values`, again and again."""
        until = time.monotonic() + _GLANCES_S
        found = [self.values(keys)]
        while time.monotonic() < until:
            found.append(self.values(keys))
        return found

    def _value(self, key: str) -> bytes | None:
        try:
            return self.store.get(key).tobytes()
        except NotFoundError:
            return None

    def many(self, keys: Sequence[str]) -> list[bytes] | None:
        """What all of them have, in one call; None if one has nothing."""
        try:
            return [row.tobytes() for row in self.store.get_many(keys)]
        except NotFoundError:
            return None

    def documents(self) -> dict[str, list[str]]:
        """The keys of each document."""
        store = self.store
        return {name: store.document_keys(name) for name in store.documents()}

    def version(self, number: int) -> dict[str, bytes]:
        """What a version holds."""
        view = self.store.at(number)
        return {key: view.get(key).tobytes() for key in view.keys()}  # noqa: SIM118  # no mapping

    def search(self, query: bytes, k: int) -> list[tuple[str, float]]:
        """Key and distance of the nearest."""
        hits = self.store.search(np.frombuffer(query, np.float32), k=k)
        return [(hit.key, hit.distance) for hit in hits]

    def problems(self) -> list[str]:
        """What `check` finds."""
        return [f"{found.place}: {found.message}" for found in self.store.check().problems]


def _rows(chunks: Chunks) -> list[NDArray[np.float32]]:
    return [np.frombuffer(value, np.float32) for _, value in chunks]


class Peer(ABC):
    """A process with two threads; `submit` gives a future at once."""

    @abstractmethod
    def submit(self, thread: int, act: str, *given: Any, **named: Any) -> Future[Any]:
        """Let one of its threads do what the method of `Acts` of that name does."""

    @abstractmethod
    def show_stacks(self) -> None:
        """Say on standard error where its threads are."""

    @abstractmethod
    def end(self) -> list[str]:
        """Close everything; faults in the order of its locks."""


class HerePeer(Peer):
    """This process."""

    def __init__(self) -> None:
        self._acts = Acts()
        self._threads = [ThreadPoolExecutor(1) for _ in range(THREADS)]

    def submit(self, thread: int, act: str, *given: Any, **named: Any) -> Future[Any]:
        return self._threads[thread].submit(getattr(self._acts, act), *given, **named)

    def show_stacks(self) -> None:
        faulthandler.dump_traceback(file=2)

    def end(self) -> list[str]:
        for thread in self._threads:
            thread.shutdown()
        self._acts.close()
        return []


class SpawnedPeer(Peer):
    """A process of its own, spawned."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._asked: dict[int, Future[Any]] = {}
        self._number = 0
        self._hearing = threading.Thread(target=self._hear)
        self._hearing.start()

    def submit(self, thread: int, act: str, *given: Any, **named: Any) -> Future[Any]:
        self._number += 1
        future: Future[Any] = Future()
        self._asked[self._number] = future
        self._channel.send((self._number, thread, act, given, named))
        return future

    def _hear(self) -> None:
        while True:
            try:
                number, is_good, said = self._channel.recv()
            except (EOFError, OSError):
                break
            future = self._asked.pop(number)
            if is_good:
                future.set_result(said)
            else:
                future.set_exception(said)
        for future in self._asked.values():
            future.set_exception(EOFError("the process ended"))

    def show_stacks(self) -> None:
        os.kill(self._process.pid or 0, signal.SIGUSR1)

    def kill(self) -> None:
        """kill -9, whatever it is at."""
        self._process.kill()
        self._process.join()
        self._hearing.join()
        self._channel.close()

    def end(self) -> list[str]:
        faults: list[str] = self.submit(0, "end").result(_END_S)
        self._process.join(_END_S)
        self._hearing.join()
        self._channel.close()
        self._process.close()
        return faults


def _serve(channel: Connection) -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    acts = Acts()
    sending = threading.Lock()

    def tell(number: int, done: Future[Any]) -> None:
        error = done.exception()
        with sending:
            channel.send((number, error is None, done.result() if error is None else error))

    with suppress(LockOrderError), watching(limit_s=None) as watch:
        threads = [ThreadPoolExecutor(1) for _ in range(THREADS)]
        while True:
            number, thread, act, given, named = channel.recv()
            if act == "end":
                break
            future = threads[thread].submit(getattr(acts, act), *given, **named)
            future.add_done_callback(partial(tell, number))
        for pool in threads:
            pool.shutdown()
        acts.close()
    channel.send((number, True, list(watch.faults.values())))
