"""One call for all who ask for the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class _AbandonedError(Exception):
    """The thread that was to call was interrupted; another one must."""


class Flights(Generic[_Result]):
    """Calls under way, by key. Any thread may use it."""

    def __init__(self) -> None:
        self.leave_parent()

    def do(self, key: str, call: Callable[[], _Result]) -> tuple[_Result, bool]:
        """The result of `call`, or of the same call of another thread; and whether it was ours.

        What `call` raises is raised for all who wait, the very object, and remembered for nobody
        who comes later. Only an interruption (KeyboardInterrupt, SystemExit) is its own thread's:
        the others call for themselves. A `call` that comes back here for the same key calls.
        """
        while True:
            with self._lock:
                found = self._under_way.get(key)
                if found is None:
                    flight: Future[_Result] = Future()
                    self._under_way[key] = (flight, threading.get_ident())
            if found is None:
                return self._lead(key, flight, call), True
            waited, leader = found
            if leader == threading.get_ident():
                return call(), True
            try:
                return waited.result(), False
            except _AbandonedError:
                continue

    def _lead(self, key: str, flight: Future[_Result], call: Callable[[], _Result]) -> _Result:
        try:
            result = call()
        except BaseException as error:
            self._land(key)
            flight.set_exception(error if isinstance(error, Exception) else _AbandonedError())
            raise
        self._land(key)
        flight.set_result(result)
        return result

    def _land(self, key: str) -> None:
        with self._lock:
            self._under_way.pop(key, None)

    def leave_parent(self) -> None:
        """In a forked child: the threads that make the calls are the parent's."""
        self._lock = threading.Lock()
        self._under_way: dict[str, tuple[Future[_Result], int]] = {}
