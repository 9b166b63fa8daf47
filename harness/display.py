"""What a person sees while a run works: stages with bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

from harness.progress import Progress

__all__ = ["ConsoleProgress"]


class ConsoleProgress(Progress):
    """Shows stages on a console; use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._begin = time.monotonic()
        self._stage_begin = self._begin
        self._stage = ""
        self._steps = 0

    def stage(self, name: str, steps: int) -> None:
        """Begin a stage; the one before is done."""
        self._finish()
        self._stage, self._stage_begin, self._steps = name, time.monotonic(), 0
        self._task = self._bars.add_task(name, total=steps or None)
        if not self._console.is_terminal:
            self._console.print(f"{name} ...", highlight=False, soft_wrap=True)

    def step(self) -> None:
        """One more piece of the stage."""
        self._steps += 1
        if self._task is not None:
            self._bars.advance(self._task)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _finish(self) -> None:
        if self._task is None:
            return
        done = self._steps or 1
        self._bars.update(self._task, total=done, completed=done)
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._stage_begin
            self._console.print(f"{self._stage}: {seconds:.1f} s", highlight=False, soft_wrap=True)
        self._task = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()
        if kind is None:
            total = time.monotonic() - self._begin
            self._console.print(f"run: {total:.0f} s", highlight=False)
