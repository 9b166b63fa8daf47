"""`harness compare` and `harness calibrate`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.compare.asv_results import asv_results_folder
from harness.compare.calibrate import ROUNDS
from harness.compare.calibrating import render_standings, run_calibration
from harness.compare.calibrations import usual_calibrations
from harness.compare.progress import ConsoleCompareProgress
from harness.compare.run import CompareOptions, run_compare
from harness.compare.sides import Suite
from harness.compare.texts import render_terminal
from harness.compare.view import view_of
from harness.environment import project_root
from harness.evidence import read_json
from harness.finite import FiniteRange
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["calibrate", "compare", "show_compare"]

_MINUTES = 12.0
_WIDTH_MAX = 130

_BENCHMARK = click.option(
    "--benchmark",
    default="",
    metavar="REGEX",
    help="Only benchmarks in whose name this regular expression is found.",
)
_CALIBRATIONS = click.option(
    "--calibrations",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where calibrations are kept.  [default: in the user's state folder]",
)


def _options(given: dict[str, Any]) -> CompareOptions:
    root = project_root()
    reports = given.pop("reports", None) or root / "reports"
    return CompareOptions(
        root=root,
        reports=reports,
        cache=root / "reports" / ".builds",
        calibrations=given.pop("calibrations") or usual_calibrations(),
        suite=Suite.usual(),
        command=["harness", *(shlex.quote(word) for word in sys.argv[1:])],
        minutes_max=given.pop("max_minutes"),
        asv_results=asv_results_folder(root),
        **given,
    )


@click.command()
@click.argument("base")
@click.argument("head", default="HEAD")
@click.option(
    "--paths",
    multiple=True,
    metavar="PATH",
    help="Compare only if something below PATH differs (repeatable).",
)
@_BENCHMARK
@click.option(
    "--max-minutes",
    type=FiniteRange(min=0, min_open=True),
    default=_MINUTES,
    show_default=True,
    help="Stop then; what is not decided is INCONCLUSIVE.",
)
@click.option(
    "--instructions",
    is_flag=True,
    help="Count instructions under valgrind instead of measuring time: exact, and needs no "
    "calibration, but is CPU work only.",
)
@_CALIBRATIONS
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where comparisons are kept.  [default: reports/]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=20_261_125,
    show_default=True,
    help="Of every random choice.",
)
@click.option("--strict", is_flag=True, help="What cannot be said exits with 1 instead of 3.")
def compare(**given: Any) -> None:
    """Decide for each benchmark whether commit HEAD is slower than commit BASE.

    HEAD left out, or the word HEAD, is the working tree with its uncommitted changes. The
    benchmarks are the checkout's. Exit status: 0 no regression (or, with --paths, nothing to
    compare), 1 REGRESSED in two runs, 2 wrong use, 3 it cannot be said (inconclusive, not
    comparable, not calibrated), 4 the harness itself failed, 130 interrupted.
    """
    given["paths"] = tuple(given["paths"])
    options = _options(given)
    try:
        with sigterm_tidies_up(), _progress() as progress:
            folder = run_compare(options, progress)  # which tells what is kept, if anything is
    except KeyboardInterrupt:
        click.echo("interrupted: there is no verdict", err=True)
        sys.exit(INTERRUPTED)
    if folder is None:
        click.echo(f"nothing to compare: no file below {', '.join(options.paths)} differs")
        return
    show_compare(folder)
    sys.exit(read_json(folder / "compare.json")["decision"]["exit_code"])


def _progress() -> ConsoleCompareProgress:
    console = Console(stderr=True)
    return ConsoleCompareProgress(console, is_live=console.is_interactive and sys.stderr.isatty())


def _shown() -> Console:
    """Standard output; a file or a CI's log is as wide as it is good to read."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if known else Console(width=_WIDTH_MAX)


def show_compare(folder: Path) -> None:
    """Print the table of a comparison's folder."""
    console = _shown()
    view = view_of(read_json(folder / "compare.json"))
    console.print(render_terminal(view, min(console.width, _WIDTH_MAX)))
    page = os.path.relpath(folder / "compare.html")
    console.print(f"Report: {page}", highlight=False, soft_wrap=True)


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=ROUNDS,
    show_default=True,
    help="A/A rounds that each benchmark is to have; with fewer than the default none is "
    "calibrated.",
)
@_BENCHMARK
@click.option(
    "--max-minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Stop then; the same command goes on later.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Begin anew: rounds made before are set aside and count no more. To go on after an "
    "interruption leave it out.",
)
@_CALIBRATIONS
def calibrate(rounds: int, fresh: bool, **given: Any) -> None:
    """Measure what this machine can tell apart: the checkout against itself, 256 rounds.

    Keep the machine quiet meanwhile. Rounds are kept as they are made: after Ctrl-C, or when time
    was up, the same command goes on. Exit status: 0 every benchmark was assessed, 3 rounds are
    still missing or a benchmark failed, 130 interrupted.
    """
    if fresh and given["benchmark"]:
        raise click.UsageError("--fresh sets all benchmarks aside; leave out --benchmark")
    options = _options({**given, "base": "HEAD", "head": "HEAD"})
    try:
        with sigterm_tidies_up(), _progress() as progress:
            found = run_calibration(options, progress, rounds=rounds, is_fresh=fresh)
    except KeyboardInterrupt:
        click.echo("interrupted: the rounds so far are kept; the same command goes on", err=True)
        sys.exit(INTERRUPTED)
    shown = _shown()
    shown.print(render_standings(found, min(shown.width, _WIDTH_MAX)))
    states = [one.state for one in found.standings.values()]
    click.echo(
        f"machine {found.machine}: {states.count('calibrated')} calibrated, "
        f"{states.count('trend only')} trend only, {states.count('uncalibrated')} uncalibrated; "
        f"{found.made} rounds made now. Resampling assumes that rounds are exchangeable."
    )
    if "uncalibrated" in states or found.failed:
        sys.exit(3)
