"""What long work tells while it goes on."""

from __future__ import annotations

import time

__all__ = ["Progress", "StageTimes"]


class Progress:
    """What a run tells while it works; this one keeps quiet."""

    def stage(self, name: str, steps: int) -> None:
        """A stage begins; `steps` calls of `step` are expected, 0 if that is not known."""

    def step(self) -> None:
        """One more piece of the stage is done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class StageTimes(Progress):
    """Passes everything on, and remembers how long each stage took."""

    def __init__(self, inner: Progress) -> None:
        self._begun: list[tuple[str, float]] = []
        self._inner = inner
        # handed on as they are
        self.step, self.note = inner.step, inner.note  # type: ignore[method-assign]

    def stage(self, name: str, steps: int) -> None:
        self._begun.append((name, time.monotonic()))
        self._inner.stage(name, steps)

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far; a name that came again has the sum."""
        ends = [begin for _, begin in self._begun[1:]] + [time.monotonic()]
        found: dict[str, float] = {}
        for (name, begin), end in zip(self._begun, ends, strict=True):
            found[name] = round(found.get(name, 0.0) + end - begin, 2)
        return found
