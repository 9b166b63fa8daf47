"""Open-loop load: calls are due at fixed times, whether or not the one before has ended.

Latency counts from the time a call was due, not from when it began, so a slow call is charged with
all the waiting that it causes (no coordinated omission). Nothing is skipped to catch up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Load", "offer"]

_SPIN_S = 3e-4  # a sleep ends late by about as much; the rest of the wait is spent looking
_FIRST_DUE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What became of the calls of one load, in order of their due times.

    Attributes
    ----------
    due_s, ended_s
        Seconds from the first due time; `ended_s` is NaN for a call that raised.
    late_s
        How long after its due time each call began.
    """

    rate: float
    due_s: NDArray[np.float64]
    ended_s: NDArray[np.float64]
    late_s: NDArray[np.float64]

    @property
    def latency_s(self) -> NDArray[np.float64]:
        """From due to answered."""
        return self.ended_s - self.due_s

    def dropped(self, timeout_s: float) -> NDArray[np.bool_]:
        """Which calls failed or were answered later than a caller would wait."""
        return ~(self.latency_s <= timeout_s)

    def block_rates(self, calls: int) -> list[float]:
        """Answers a second of each `calls` neighbouring calls.

        From when the first of them was due to when all of them were answered. If n calls are due
        in n / rate seconds, it is at least `rate` exactly if the last of them was answered before
        the next block's first was due: the load was kept up with. 0 if one was never answered.
        """
        rates = []
        for first in range(0, len(self.due_s) - calls + 1, calls):
            ended = self.ended_s[first : first + calls]
            whole = not np.isnan(ended).any()
            rates.append(float(calls / (ended.max() - self.due_s[first])) if whole else 0.0)
        return rates


def offer(
    call: Callable[[Any], Any], arguments: Sequence[Any], rate: float, *, threads: int = 1
) -> Load:
    """Make one call an argument, due `1 / rate` seconds apart, by that many threads.

    Each thread takes the next call that nobody has taken, and waits until it is due. An exception
    of a call is an answer that never came; it is not raised.
    """
    count = len(arguments)
    due = np.arange(count) / rate
    ended = np.full(count, np.nan)
    began = np.zeros(count)
    takes = iter(range(count))
    lock = threading.Lock()
    clock = time.perf_counter
    start = clock() + _FIRST_DUE_S

    def work() -> None:
        while True:
            with lock:
                place = next(takes, None)
            if place is None:
                return
            due_at = start + due[place]
            wait_s = due_at - clock()
            if wait_s > _SPIN_S:
                time.sleep(wait_s - _SPIN_S)
            while clock() < due_at:
                pass
            began[place] = clock() - start
            try:
                call(arguments[place])
            except Exception:  # noqa: S112  # its time stays NaN: not answered
                continue
            ended[place] = clock() - start

    if threads == 1:
        work()
    else:
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return Load(rate=rate, due_s=due, ended_s=ended, late_s=began - due)
