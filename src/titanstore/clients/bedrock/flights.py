"""One call for all who ask for the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

_Result = TypeVar("_Result")
_LOOK_S = 0.5  # a leader that is interrupted within `Future` itself wakes nobody


class _AbandonedError(Exception):
    """The thread that was to call was interrupted; another one must."""


class Flights(Generic[_Result]):
    """Calls under way, by key. Any thread may use it."""

    def __init__(self) -> None:
        self.leave_parent()

    def do(self, key: Hashable, call: Callable[[], _Result]) -> tuple[_Result, bool]:
        """The result of `call`, or of the same call of another thread; and whether it was ours.

        What `call` raises is raised for all who wait, each an object of its own (a traceback
        belongs to one thread), and remembered for nobody who comes later. Only an interruption
        (KeyboardInterrupt, SystemExit), at whatever instant, is its own thread's: the others call
        for themselves. A `call` that comes back here for the same key calls.
        """
        while True:
            flight: Future[_Result] = Future()
            try:
                with self._lock:
                    found, leader = self._under_way.get(key, (flight, 0))
                    if found.done():  # and still here: its thread was interrupted
                        found = flight
                    if found is flight:
                        self._under_way[key] = (flight, threading.get_ident())
                if found is flight:
                    return self._lead(key, flight, call), True
            finally:  # an interruption may come between any two lines
                self._land(key, flight)
            if leader == threading.get_ident():
                return call(), True
            error = _ended(found)
            if error is None:
                return found.result(), False
            if not isinstance(error, _AbandonedError):
                raise _own(error)

    def _lead(self, key: Hashable, flight: Future[_Result], call: Callable[[], _Result]) -> _Result:
        try:
            result = call()
        except Exception as error:
            self._forget(key, flight)
            flight.set_exception(error)
            raise
        self._forget(key, flight)
        flight.set_result(result)
        return result

    def _land(self, key: Hashable, flight: Future[_Result]) -> None:
        """Whoever waits for a call that has not ended by now must call."""
        try:
            self._forget(key, flight)
        finally:
            if not flight.done():
                flight.set_exception(_AbandonedError())

    def _forget(self, key: Hashable, flight: Future[_Result]) -> None:
        with self._lock:
            if self._under_way.get(key, (None, 0))[0] is flight:
                del self._under_way[key]

    def leave_parent(self) -> None:
        """In a forked child: the threads that make the calls are the parent's."""
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, tuple[Future[_Result], int]] = {}


def _ended(flight: Future[_Result]) -> BaseException | None:
    """Wait for its end; what it raised."""
    while True:
        with suppress(TimeoutError):
            return flight.exception(_LOOK_S)


def _own(error: BaseException) -> BaseException:
    """The same error as another object; the very one where its class does not let it be copied."""
    kind = type(error)
    if isinstance(error, OSError):  # has more than its arguments and attributes
        return error
    try:
        own = kind.__new__(kind, *error.args)
    except TypeError:
        return error
    own.__dict__.update(vars(error))  # botocore makes classes on the fly: `copy` loses them
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own
