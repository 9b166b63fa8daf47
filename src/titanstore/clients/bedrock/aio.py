"""The wrapped client for asyncio: its calls in threads, so that no loop is blocked.

Why threads and not aioboto3: reports/decisions/0017.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.errors import ClosedError, ErrorKind

if TYPE_CHECKING:
    from titanstore.clients.bedrock.client import Titan
    from titanstore.clients.bedrock.embedder import Embedder

_Result = TypeVar("_Result")


class AsyncTitan:
    """`client.titan.aio`: each method is its namesake's, awaited; errors are the same.

    There are as many threads as the client has connections (`max_pool_connections`, 10 unless set
    in botocore's Config): more calls at a time would wait for each other anyway. A call that is
    cancelled runs to its end in its thread, and its answer is kept. Any number of event loops may
    use it.
    """

    def __init__(self, titan: Titan) -> None:
        self._titan = titan
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._is_closed = False

    async def invoke_model(self, **arguments: Any) -> Any:
        """As the client's; the body is in memory, so reading it does not block."""
        return await self._do(lambda: self._titan.invoke_model(**arguments))

    async def embed(self, embedder: Embedder, text: str) -> Vector:
        """As `Embedder.embed`."""
        return await self._do(lambda: embedder.embed(text))

    async def embed_many(
        self, embedder: Embedder, texts: Sequence[str], *, parallel: int = 8
    ) -> NDArray[np.float32]:
        """As `Embedder.embed_many`."""
        return await self._do(lambda: embedder.embed_many(texts, parallel=parallel))

    async def floats(self, embedder: Embedder, text: str) -> list[float]:
        """As `Embedder.floats`."""
        return await self._do(lambda: embedder.floats(text))

    async def floats_many(
        self, embedder: Embedder, texts: Sequence[str], *, parallel: int = 8
    ) -> list[list[float]]:
        """As `Embedder.floats_many`."""
        return await self._do(lambda: embedder.floats_many(texts, parallel=parallel))

    async def _do(self, call: Callable[[], _Result]) -> _Result:
        context = contextvars.copy_context()  # `past_cache` holds in the thread too
        return await asyncio.wrap_future(self._begun(lambda: context.run(call)))

    def _begun(self, call: Callable[[], _Result]) -> Future[_Result]:
        if self._pid != os.getpid():  # a fork leaves threads behind, and takes locks along
            self._lock, self._pool, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._is_closed:
                raise ClosedError("this client was closed", ErrorKind.CLOSED)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._titan.connections, "titanstore-bedrock")
            return self._pool.submit(call)  # under the lock: `close` ends the threads

    def close(self) -> None:
        """Wait for calls under way and end the threads; idempotent."""
        if self._pid != os.getpid():
            self._is_closed = True
            return
        with self._lock:
            self._is_closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
