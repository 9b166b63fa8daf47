"""What a soak tells while it works: a table that lives on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from harness.soak.evidence import Observation, Soak, counted_s

__all__ = ["ConsoleSoakProgress", "SoakProgress", "SoakState"]

_LINE_EVERY_S = 60.0


@dataclass(slots=True, kw_only=True)
class SoakState:
    """What is known so far; grows with nothing."""

    hours_wanted: float
    counted_s: float = 0.0
    operations: int = 0
    mismatches: int = 0
    kills: int = 0
    recovered: int = 0
    resources: dict[str, float] = field(default_factory=dict)
    last: Observation | None = None

    @property
    def hours(self) -> float:
        """Counted."""
        return self.counted_s / 3600

    def begin(self, soak: Soak) -> None:
        """Take up what earlier segments hold."""
        self.counted_s = sum(map(counted_s, soak.segments))
        self.operations, self.mismatches = soak.operations, soak.mismatches
        self.kills, self.recovered = soak.kills, soak.recovered

    def saw(self, one: Observation) -> None:
        """One more line of evidence."""
        if self.last is not None and one.time_s > self.last.time_s:
            self.counted_s += counted_s([self.last, one])
        self.last = one
        self.operations += one.operations
        self.mismatches += one.mismatches
        self.kills += one.kills
        self.recovered += one.recovered
        self.resources.update(one.resources)

    def line(self) -> str:
        """Everything in a line."""
        memory = self.resources.get("anonymous")
        shown = "" if memory is None else f", anonymous {memory / 1e6:.1f} MB"
        return (
            f"{self.hours:.2f} of {self.hours_wanted:g} h counted, {self.operations} operations, "
            f"{self.mismatches} wrong, {self.recovered} of {self.kills} kills recovered{shown}"
        )


class SoakProgress:
    """What a soak tells; this one keeps quiet."""

    def show(self, state: SoakState) -> None:
        """A line of evidence was written."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class ConsoleSoakProgress(SoakProgress):
    """On a console; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._told_s = -_LINE_EVERY_S
        self._begin = time.monotonic()

    def show(self, state: SoakState) -> None:
        """Draw the table anew, or say it in a line once a minute."""
        if self._console.is_terminal:
            self._live.update(self._table(state), refresh=True)
        elif time.monotonic() - self._told_s >= _LINE_EVERY_S:
            self._told_s = time.monotonic()
            self.note(state.line())

    def note(self, text: str) -> None:
        """Print it."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _table(self, state: SoakState) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
        minutes = (time.monotonic() - self._begin) / 60
        rows = {
            "counted": f"{state.hours:.2f} of {state.hours_wanted:g} h",
            "this segment's command": f"{minutes:.1f} min",
            "operations": f"{state.operations}",
            "wrong answers": f"{state.mismatches}",
            "kills recovered": f"{state.recovered} of {state.kills}",
            **{
                name: f"{value / 1e6:.2f} MB" if value > 10_000 else f"{value:.0f}"
                for name, value in state.resources.items()
            },
        }
        for name, text in rows.items():
            table.add_row(name, text)
        return table

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
