"""Risk: a person waits without knowing for what, or is told that less is missing than is."""

from __future__ import annotations

import io

from rich.console import Console

from harness.compare.decide import decide, rounds_needed
from harness.compare.progress import ConsoleCompareProgress, State


def state(name: str, rounds: list[float]) -> State:
    return State(name=name, decision=decide(rounds), needed=rounds_needed(rounds))


OPEN, WIDE, DONE = [0.0] * 4, [0.4, -0.4] * 6, [0.0] * 10


def shown(*turns: list[State], terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=110, force_terminal=terminal)
    with ConsoleCompareProgress(console) as progress:
        progress.stage("BASE: main")
        for states in turns:
            progress.rounds("first run", states)
        progress.note("a [note]")
    return out.getvalue()


def test_a_terminal_shows_what_each_benchmark_still_needs() -> None:
    text = shown([state("m.Open", OPEN), state("m.Wide", WIDE), state("m.D", DONE)], terminal=True)
    for word in ("first run", "m.Open", "6 rounds", "4 of 64", "NO REGRESSION", "1.000"):
        assert word in text
    assert f"{rounds_needed(WIDE)} rounds" in text


def test_elsewhere_a_line_tells_when_something_was_decided() -> None:
    first = [state("m.Open", OPEN), state("m.Wide", WIDE)]
    text = shown(first, first, [state("m.Open", DONE), state("m.Wide", WIDE)], terminal=False)
    lines = [line for line in text.splitlines() if line.startswith("first run")]
    assert lines == [
        "first run: 0 of 2 decided; the others need 6 to 20 more rounds at least",
        "first run: 1 of 2 decided; the others need 20 more rounds at least",
    ]
    assert "BASE: main ..." in text
    assert "a [note]" in text
    assert "s in all" in text


def test_all_decided_needs_nothing_more() -> None:
    assert "first run: 1 of 1 decided\n" in shown([state("m.D", DONE)], terminal=False)
