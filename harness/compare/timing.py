"""Rounds until every benchmark has its verdict or time is up; then a second run for REGRESSED."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.compare.decide import RULE, Verdict, decide, rounds_needed
from harness.compare.progress import CompareProgress, State
from harness.compare.rawfile import append_line, as_line, log_ratios
from harness.compare.rounds import Round, run_round
from harness.compare.sides import Bench, Side, Suite

__all__ = ["Timing"]

_SHARE_FIRST = 2 / 3  # of the time, once something is to be confirmed


@dataclass(slots=True, kw_only=True)
class Timing:
    """Runs rounds and keeps each on the disk before the next begins.

    Attributes
    ----------
    path
        File that rounds are appended to.
    begun, seconds_max
        The clock `time.monotonic` when the comparison began, and how long it may take.
    is_complete
        False afterwards: time was up before all were decided.
    """

    sides: tuple[Side, Side]
    suite: Suite
    loops: Mapping[str, int]
    work: Path
    path: Path
    rng: np.random.Generator
    begun: float
    seconds_max: float | None
    progress: CompareProgress
    is_complete: bool = True
    _made: list[Round] = field(default_factory=list)
    _failed: set[str] = field(default_factory=set)

    def compare(self, benches: Sequence[Bench], *, confirms: bool = True) -> None:
        """Both runs; only the first one where nothing is to be confirmed."""
        self.path.touch()
        self._run(1, benches)
        if not confirms:
            return
        regressed = [bench for bench in benches if self._is_regressed(bench.name)]
        if regressed:
            self.progress.note(
                f"{len(regressed)} REGRESSED: a second run of new processes has to agree"
            )
            self._run(2, regressed)

    def _run(self, run: int, benches: Sequence[Bench]) -> None:
        title = "first run" if run == 1 else "second run"
        states = self._states(run, benches)
        number = 0
        while any(state.needed for state in states):
            if self._is_time_up(run, states):
                self.is_complete = False
                self.progress.note(f"{title}: time is up (--max-minutes)")
                return
            open_ = {state.name for state in states if state.needed}
            number += 1
            one = run_round(
                self.sides,
                self.suite,
                [bench for bench in benches if bench.name in open_],
                self.loops,
                self.rng,
                self.work,
                run=run,
                number=number,
            )
            append_line(self.path, as_line(one))
            self._made.append(one)
            self._failed |= one.failed.keys()
            states = self._states(run, benches)
            self.progress.rounds(title, states)

    def _states(self, run: int, benches: Sequence[Bench]) -> list[State]:
        rounds = [one for one in self._made if one.run == run]
        found = []
        for bench in benches:
            if bench.name not in self._failed:
                ratios = log_ratios(rounds, bench.name)
                state = State(
                    name=bench.name,
                    decision=decide(ratios),
                    needed=rounds_needed(ratios) if len(ratios) < RULE.looks[-1] else 0,
                )
                found.append(state)
        return found

    def _is_regressed(self, name: str) -> bool:
        if name in self._failed:
            return False
        ratios = log_ratios(self._made, name)
        return decide(ratios, is_over=True).verdict is Verdict.REGRESSED

    def _is_time_up(self, run: int, states: Sequence[State]) -> bool:
        if self.seconds_max is None:
            return False
        to_confirm = run == 1 and any(
            state.decision.verdict is Verdict.REGRESSED for state in states
        )
        share = _SHARE_FIRST if to_confirm else 1.0
        spent = time.monotonic() - self.begun
        return math.isfinite(self.seconds_max) and spent >= share * self.seconds_max
