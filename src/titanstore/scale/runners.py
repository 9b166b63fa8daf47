"""Who calls a worker's function for each item of a list: this process, others, or Ray.

Whatever happens to a worker, its items are given to another one, a bounded number of times.
An error that a function raises is no such failure: it ends the job, and what was noted stays.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from titanstore.errors import ErrorKind, InvalidInputError, StorageError

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOSSES_MAX = 4  # of workers; one that dies each time takes the whole job with it
_IN_FLIGHT = 2  # items for each worker


class Runner(Protocol):
    """Calls a function for each item, in any order, perhaps twice for one whose worker died."""

    @property
    def workers(self) -> int:
        """How many items are worked on at a time."""
        ...

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The result of each item, as they come.

        Raises
        ------
        StorageError
            IO_FAILED: workers died again and again.
        """
        ...


class LocalRunner:
    """This process for one worker, else as many processes."""

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise InvalidInputError("workers is 1 or more", ErrorKind.BAD_SETTING)
        self.workers = workers

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """As `Runner`."""
        if self.workers == 1:
            yield from map(function, items)
            return
        left = dict(enumerate(items))
        for _ in range(_LOSSES_MAX):
            try:
                yield from self._round(function, left)
            except BrokenProcessPool:
                continue
            return
        raise _lost(len(left))

    def _round(self, function: Callable[[Item], Result], left: dict[int, Item]) -> Iterator[Result]:
        """What processes of this round bring; `left` then has what they did not."""
        # spawned: Lance's threads do not outlive a fork
        context = multiprocessing.get_context("spawn")
        waiting = list(left)
        running: dict[Future[Result], int] = {}
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < _IN_FLIGHT * self.workers:
                        number = waiting.pop(0)
                        running[pool.submit(function, left[number])] = number
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        found = done.result()
                        del left[running.pop(done)]
                        yield found
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


class RayRunner:
    """Tasks of Ray, on this machine or a cluster. Made by `ray_runner`."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray = ray
        self.workers = workers

    def run(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """As `Runner`."""
        ray = self._ray
        # what the function raises is told at once; Ray counts deaths of workers only
        remote = ray.remote(num_cpus=1, max_retries=_LOSSES_MAX, retry_exceptions=False)(_called)
        waiting = list(items)
        running: list[Any] = []
        while waiting or running:
            while waiting and len(running) < _IN_FLIGHT * self.workers:
                running.append(remote.remote(function, waiting.pop(0)))
            done, running = ray.wait(running, num_returns=1)
            try:
                found = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise _lost(len(waiting) + len(running) + 1) from error
            yield found


def _called(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


@contextmanager
def ray_runner(workers: int, address: str | None = None) -> Iterator[RayRunner]:
    """Ray, started on this machine with so many workers, or the cluster at an address.

    Raises
    ------
    InvalidInputError
        MISSING_PACKAGE: ray is not installed.
    """
    if workers < 1:
        raise InvalidInputError("workers is 1 or more", ErrorKind.BAD_SETTING)
    try:
        import ray
    except ImportError as error:
        raise InvalidInputError(
            f"{error}: pip install 'titanstore[scale]'", ErrorKind.MISSING_PACKAGE
        ) from error
    given: dict[str, Any] = {"address": address}
    if address is None:
        given = {"num_cpus": workers, "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="error", ignore_reinit_error=True, **given)
    try:
        yield RayRunner(ray, workers)
    finally:
        ray.shutdown()


def _lost(left: int) -> StorageError:
    return StorageError(
        f"workers died {_LOSSES_MAX} times, {left} items are left; the same command goes on",
        ErrorKind.IO_FAILED,
    )
