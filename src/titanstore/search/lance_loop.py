"""The one thread that talks to LanceDB, and the one place where its failures become ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_settings import LanceSettings

_Result = TypeVar("_Result")
QUIET = "LANCEDB_LOG"
_PATIENCE_S = 5.0  # for calls to end when they are cancelled
_NOT_AFTER_A_FORK = "LanceDB does not work in the child of a fork; use spawn"
_is_of_the_parent = False  # LanceDB's threads, of which a fork takes nothing along


def _in_forked_child() -> None:
    global _is_of_the_parent
    _is_of_the_parent = "lancedb" in sys.modules


os.register_at_fork(after_in_child=_in_forked_child)


def import_lancedb() -> Any:
    """The package lancedb; about 1 s and 52 MB the first time.

    Sets LANCEDB_LOG=error unless it is set: lancedb else writes a line for every query.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: it is not installed.
    LanceUnavailableError
        It was imported before this process was forked: LanceDB's own reset ends in a segmentation
        fault one time in three.
    """
    if _is_of_the_parent:
        raise LanceUnavailableError(_NOT_AFTER_A_FORK)
    os.environ.setdefault(QUIET, "error")
    try:
        import lancedb
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InvalidInputError(
            f"search_index lance needs a package ({error}): pip install titanstore[lance]",
            ErrorKind.BAD_SETTING,
        ) from error
    return lancedb


class LanceLoop:
    """An event loop in a thread of its own, with one LanceDB connection. Any thread may call.

    Owned by one `LanceTable`; useless in a forked child, where it says so.
    """

    def __init__(self, folder: Path, settings: LanceSettings) -> None:
        lancedb = import_lancedb()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="titanstore-lance", daemon=True)
        self._thread.start()
        self._is_closed = False
        self._lock = threading.Lock()  # what is begun while open is answered
        try:
            self.session = lancedb.Session(
                index_cache_size_bytes=settings.cache_bytes,
                metadata_cache_size_bytes=settings.metadata_bytes,
            )
            # an absolute path: one that begins with "db" would mean LanceDB's cloud
            self.connection = self.run(
                lambda: lancedb.connect_async(str(folder.absolute()), session=self.session)
            )
        except BaseException:
            self.close()
            raise

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_all_ended())
        finally:
            self._loop.close()

    def run(
        self,
        work: Callable[[], Coroutine[Any, Any, _Result]],
        timeout_s: float | None = None,
    ) -> _Result:
        """The result of a coroutine made by `work`, in the calling thread.

        Raises
        ------
        LanceUnavailableError
            It raised anything, took longer than `timeout_s`, or this is a forked child's copy.
        """
        if self._pid != os.getpid():
            raise LanceUnavailableError(_NOT_AFTER_A_FORK)
        with self._lock:
            if self._is_closed:
                raise LanceUnavailableError("the table is closed")
            future = asyncio.run_coroutine_threadsafe(_translated(work), self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise LanceUnavailableError(f"no answer within {timeout_s} s") from error
        except concurrent.futures.CancelledError as error:
            raise LanceUnavailableError("the table was closed meanwhile") from error

    def close(self) -> None:
        """Stop the thread; idempotent. In a forked child there is none to stop."""
        if self._pid != os.getpid():
            self._is_closed = True
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _all_ended() -> None:
    """Cancel what is under way, and see to it that whoever waits is told, also of what is done."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE_S)
    await asyncio.sleep(0)


async def _translated(work: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    try:
        return await work()
    except (LanceUnavailableError, asyncio.CancelledError):
        raise
    except BaseException as error:  # damaged files end in a Rust panic, which is no Exception
        raise LanceUnavailableError(f"{type(error).__name__}: {error}") from error
