"""Risk: a person waits without knowing for what, or is told that less is missing than is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from harness.compare.decide import decide, rounds_needed
from harness.compare.progress import ConsoleCompareProgress, State


def state(name: str, rounds: list[float]) -> State:
    return State(name=name, decision=decide(rounds), needed=rounds_needed(rounds))


OPEN, WIDE, DONE = [0.0] * 4, [0.4, -0.4] * 6, [0.0] * 10


def shown(*turns: list[State], terminal: bool, width: int = 110, **more: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal)
    with ConsoleCompareProgress(console, **more) as progress:
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


def test_a_log_stays_short_even_where_colours_are_forced_upon_it() -> None:
    """FORCE_COLOR makes rich take a CI's log for a terminal: each table would stay in it."""
    turns = [
        [state(f"m.{name}", [0.0] * min(10, made)) for name in range(30)] for made in range(1, 65)
    ]
    lines = shown(*turns, terminal=True, is_live=False).splitlines()
    assert len(lines) < 10
    assert any("30 of 30 decided" in line for line in lines)


def test_a_log_is_not_silent_for_long() -> None:
    turn = [state("m.Open", OPEN)]
    lines = shown(turn, turn, turn, terminal=False, every_s=0.0).splitlines()
    assert sum(line.startswith("first run: 0 of 1 decided") for line in lines) == 3
    assert sum("first run" in line for line in shown(turn, turn, terminal=False).splitlines()) == 1


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_says_what_each_benchmark_needs(width: int) -> None:
    name = "codec.DecodeMany.time_decode_32_at_once('v2')"
    text = shown([state(name, OPEN), state("m.D", DONE)], terminal=True, width=width)
    assert "codec.DecodeMany" in text
    assert "6 rounds" in text
    assert ("4 of 64" in text) is (width == 80)
