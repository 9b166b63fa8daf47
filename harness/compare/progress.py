"""What a comparison tells while it works, and how it looks on a console."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.compare.decide import RULE, Decision

__all__ = ["CompareProgress", "ConsoleCompareProgress", "State"]

_NARROW = 75  # columns of a terminal: below there is room for the question, not for figures


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A benchmark under way.

    Attributes
    ----------
    needed
        Rounds it still needs at least; 0: it has its verdict.
    """

    name: str
    decision: Decision
    needed: int


class CompareProgress:
    """What a comparison tells; this one keeps quiet."""

    def stage(self, text: str) -> None:
        """Something else begins."""

    def rounds(self, title: str, states: Sequence[State]) -> None:
        """A round has ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class ConsoleCompareProgress(CompareProgress):
    """A table that lives on a terminal, a line now and then elsewhere; a context manager.

    Parameters
    ----------
    is_live
        Is somebody there to look? A log file is none, even where colours are forced upon it: each
        drawing of the table would stay in it. Default: what the console says.
    every_s
        Elsewhere, the longest silence in seconds: a CI may end what says nothing.
    """

    def __init__(
        self, console: Console, *, is_live: bool | None = None, every_s: float = 60.0
    ) -> None:
        self._console = console
        self._is_live = console.is_interactive if is_live is None else is_live
        self._every_s = every_s
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._begin = self._said = time.monotonic()
        self._told: dict[str, tuple[int, ...]] = {}

    def stage(self, text: str) -> None:
        """Print it."""
        self._print(f"{text} ...")

    def note(self, text: str) -> None:
        """Print it."""
        self._print(text)

    def rounds(self, title: str, states: Sequence[State]) -> None:
        """Redraw the table; without a terminal, a line whenever something was decided."""
        if self._is_live:
            self._live.update(self._table(title, states), refresh=True)
            return
        done = tuple(sorted(one.decision.look.rounds if one.decision.look else 0 for one in states))
        open_ = [one for one in states if one.needed]
        key = (*done, len(open_))
        is_silent = time.monotonic() - self._said >= self._every_s
        if self._told.get(title) != key or is_silent:
            self._told[title] = key
            spent = f" ({time.monotonic() - self._begin:.0f} s)" if is_silent else ""
            self._print(
                f"{title}: {len(states) - len(open_)} of {len(states)} decided{_wait(open_)}{spent}"
            )

    def _table(self, title: str, states: Sequence[State]) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        heads = ["Benchmark", "Still needs at least", "Rounds", "Head / base", "Interval"]
        if self._console.width < _NARROW:
            heads = heads[:2]
        for name in heads:
            table.add_column(name, overflow="fold")
        for one in states:
            table.add_row(*_cells(one)[: len(heads)])
        spent = time.monotonic() - self._begin
        return Group(Text(f"{title}, {spent:.0f} s", style="bold"), table)

    def _print(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_live:
            self._live.stop()
        if kind is None:
            self._print(f"{time.monotonic() - self._begin:.0f} s in all")


def _wait(open_: Sequence[State]) -> str:
    if not open_:
        return ""
    least, most = min(one.needed for one in open_), max(one.needed for one in open_)
    span = f"{least}" if least == most else f"{least} to {most}"
    return f"; the others need {span} more rounds at least"


def _cells(one: State) -> tuple[str, str, str, str, str]:
    look = one.decision.look
    ratio = interval = "-"
    if look is not None:
        ratio = f"{math.exp(look.estimate):.3f}"
        if math.isfinite(look.low):
            interval = f"{math.exp(look.low):.3f} to {math.exp(look.high):.3f}"
    ahead = f"{one.needed} rounds" if one.needed else str(one.decision.verdict)
    return one.name, ahead, f"{one.decision.rounds} of {RULE.looks[-1]}", ratio, interval
