"""The store for asyncio: the same calls, in threads, so that the event loop is never blocked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.errors import ClosedError, ErrorKind
from titanstore.types import Hit

_Result = TypeVar("_Result")
# Scans and decoding release the interpreter's lock only in part: more threads than a few wait for
# each other and cost memory.
_THREADS_MAX = 4


class _Store(Protocol):
    """The calls that are made in threads; `EmbeddingStore` has them."""

    def get(self, key: str) -> Vector: ...

    def get_many(self, keys: Sequence[str]) -> NDArray[np.float32]: ...

    def put_many(
        self, keys: Sequence[str], vectors: NDArray[np.float32], document: str | None = None
    ) -> None: ...

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None: ...

    def search(
        self, query: Vector, k: int = 10, *, metric: str, document_prefix: str | None
    ) -> list[Hit]: ...

    def search_many(
        self, queries: NDArray[np.float32], k: int, *, metric: str, document_prefix: str | None
    ) -> list[list[Hit]]: ...


class AsyncStore:
    """`EmbeddingStore.aio`: each method is its namesake's, awaited; errors are the same.

    A call that is cancelled runs to its end in its thread: a write may then have been done. Any
    number of event loops may use it.
    """

    def __init__(self, store: _Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._is_closed = False

    async def _do(self, call: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.wrap_future(self._begin(call))
        except ReferenceError as error:
            raise ClosedError(
                "nobody keeps the store of this `aio`; keep it as long as you use it",
                ErrorKind.CLOSED,
            ) from error

    def _begin(self, call: Callable[[], _Result]) -> Future[_Result]:
        if self._pid != os.getpid():  # a fork leaves threads behind, and takes locks along
            self._lock, self._pool, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._is_closed:
                raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS_MAX, "titanstore-aio")
            return self._pool.submit(call)

    async def get(self, key: str) -> Vector:
        """As `EmbeddingStore.get`."""
        return await self._do(lambda: self._store.get(key))

    async def get_many(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """As `EmbeddingStore.get_many`."""
        return await self._do(lambda: self._store.get_many(keys))

    async def put_many(
        self, keys: Sequence[str], vectors: NDArray[np.float32], document: str | None = None
    ) -> None:
        """As `EmbeddingStore.put_many`."""
        await self._do(lambda: self._store.put_many(keys, vectors, document))

    async def update_document(self, document: str, chunks: Sequence[tuple[str, Vector]]) -> None:
        """As `EmbeddingStore.update_document`."""
        await self._do(lambda: self._store.update_document(document, chunks))

    async def search(
        self,
        query: Vector,
        k: int = 10,
        *,
        metric: str = "cosine",
        document_prefix: str | None = None,
    ) -> list[Hit]:
        """As `EmbeddingStore.search`."""
        return await self._do(
            lambda: self._store.search(query, k, metric=metric, document_prefix=document_prefix)
        )

    async def search_many(
        self,
        queries: NDArray[np.float32],
        k: int = 10,
        *,
        metric: str = "cosine",
        document_prefix: str | None = None,
    ) -> list[list[Hit]]:
        """As `EmbeddingStore.search_many`."""
        return await self._do(
            lambda: self._store.search_many(
                queries, k, metric=metric, document_prefix=document_prefix
            )
        )

    def close(self) -> None:
        """Wait for calls under way and end the threads; idempotent. The store's `close` does it."""
        if self._pid != os.getpid():
            self._is_closed = True
            return
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
