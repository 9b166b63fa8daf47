"""Timed calls whose answers are checked between the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Checked:
    """Calls `work` on item after item; `item` checks the last answer before it gives the next.

    Made for `benchmark.pedantic(run.timed, setup=run.item, ...)`, followed by `run.check_last()`.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        items: Sequence[Any],
        check: Callable[[int, Any], None],
    ) -> None:
        self._work = work
        self._items = items
        self._check = check
        self._places = cycle(range(len(items)))
        self._place = -1
        self._answer: Any = None

    def timed(self, item: Any) -> None:
        self._answer = self._work(item)

    def item(self) -> tuple[tuple[Any], dict[str, Any]]:
        if self._place >= 0:
            self.check_last()
        self._place = next(self._places)
        return (self._items[self._place],), {}

    def check_last(self) -> None:
        self._check(self._place, self._answer)
        self._answer = None


def same_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Also where both are the same NaN, and not where one is 0.0 and the other -0.0."""
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))
