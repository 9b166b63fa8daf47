"""Risk: a run that works looks dead, or one that failed looks done."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.display import ConsoleProgress


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, _environ={})


def text(shown: Console) -> str:
    file = shown.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_stages_and_their_times_are_lines_in_a_log() -> None:
    shown = console(terminal=False)
    with ConsoleProgress(shown) as progress:
        progress.stage("embed", 2)
        progress.step()
        progress.stage("latency.hot", 0)
        progress.note("[no markup] " + "x" * 200)
    lines = text(shown).splitlines()
    assert lines[0] == "embed ..."
    assert lines[1].startswith("embed: 0.")
    assert lines[2] == "latency.hot ..."
    assert lines[-2].startswith("latency.hot: 0.")
    assert lines[-1].startswith("run: ")
    assert "\x1b" not in text(shown)


def test_a_terminal_shows_every_stage_as_a_bar() -> None:
    shown = console(terminal=True)
    with ConsoleProgress(shown) as progress:
        progress.stage("embed", 2)
        progress.step()
        progress.step()
        progress.stage("judge", 0)
    assert "embed" in text(shown)
    assert "2/2" in text(shown)
    assert "judge" in text(shown)
    assert "\x1b" in text(shown)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_failed_is_not_shown_as_done(terminal: bool) -> None:
    shown = console(terminal=terminal)
    missing: dict[str, int] = {}

    def fails() -> None:
        with ConsoleProgress(shown) as progress:
            progress.stage("embed", 2)
            progress.step()
            missing["why"] += 1

    with pytest.raises(KeyError):
        fails()
    assert "run: " not in text(shown)
    assert "embed: " not in text(shown)
    assert "2/2" not in text(shown)


def test_steps_before_any_stage_and_beyond_its_number_do_no_harm() -> None:
    shown = console(terminal=False)
    with ConsoleProgress(shown) as progress:
        progress.step()
        progress.stage("embed", 1)
        progress.step()
        progress.step()
    assert "embed: " in text(shown)
