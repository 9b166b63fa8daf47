"""Commands on what was measured before: `harness bench`, `harness trend`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.benchmarks import (
    Judged,
    absent_names,
    exit_code_of,
    judge_run,
    lost_limits,
    read_run,
)
from harness.changepoints import find_steps
from harness.environment import project_root
from harness.errors import UsageError
from harness.history import asv_history, newest, past_runs, run_history
from harness.report.history_page import History, describe_step, write_history
from harness.report.quantity import format_interval, format_quantity

__all__ = ["bench", "trend"]

_NEWEST = 300  # points of a series: cost grows with their square


@click.command()
@click.argument(
    "run", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="RUN.json"
)
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier file: a benchmark that only one of the two has is an error, and so is a limit "
    "that was lost or loosened since.",
)
def bench(run: Path, baseline: Path | None) -> None:
    """Judge what `pytest suites/bench --benchmark-json RUN.json` measured.

    Exit status 0 if every limit holds and neither benchmark nor limit is missing, 1 if one does not
    or is, 3 if something is not known. Times are not compared with the baseline's: `harness
    compare` does that.
    """
    found = read_run(run)
    absent: list[str] = []
    if baseline is not None:
        earlier = read_run(baseline)
        new, gone = absent_names(found, earlier)
        absent = [f"not in the baseline: {name}" for name in new]
        absent += [f"not in this run: {name}" for name in gone]
        absent += lost_limits(found, earlier)
    judged = judge_run(found)
    console = Console()
    console.print(_limits(judged, width=min(console.width, 120)))
    for line in absent:
        click.echo(line)
    click.echo(
        f"{len(found.benchmarks)} benchmarks on {found.machine}, commit {found.commit[:12]}; "
        f"{len(judged)} limits; one process: a first look, not evidence for a release"
    )
    sys.exit(exit_code_of(judged, absent))


def _limits(judged: list[Judged], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Benchmark", no_wrap=True)
    for name in ("What", "Measured", "Limit"):
        table.add_column(name, overflow="fold")
    for one in judged:
        limit = format_quantity(one.limit, one.unit, limit=one.limit)
        if one.interval is None:
            measured = one.reason
        else:
            estimate = format_quantity(one.interval.estimate, one.unit, limit=one.limit)
            bounds = format_interval(one.interval.low, one.interval.high, one.unit, limit=one.limit)
            measured = f"{estimate} {bounds}"
        table.add_row(
            str(one.verdict),
            Text(_short(one.benchmark)),  # as text: "[small]" is no markup
            f"{one.what}, {one.statistic}",
            measured,
            f"{one.comparator} {limit}",
        )
    return table


def _short(benchmark: str) -> str:
    """suites/bench/test_bench_latency.py::test_bench_search[small] is "latency: search[small]"."""
    file, _, name = benchmark.rpartition("/")[2].partition("::")
    question = file.removesuffix(".py").removeprefix("test_bench_")
    return f"{question}: {name.removeprefix('test_bench_')}" if name else question


@click.command()
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where runs are kept.  [default: reports/]",
)
@click.option(
    "--asv",
    type=click.Path(file_okay=False, path_type=Path),
    help="asv's results.  [default: .asv/results]",
)
@click.option("--only", metavar="REGEX", default="", help="Series whose names match.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into.  [default: trend/ below the folder of runs]",
)
def trend(reports: Path | None, asv: Path | None, only: str, out: Path | None) -> None:
    """Draw what earlier runs measured, and mark where it took a step.

    Reads every run in reports/ and asv's results; writes trend.html, trend.png and trend.json.
    Shows and never judges: exit status 0 whether there are steps or none, 2 without history.
    """
    runs = reports or project_root() / "reports"
    series, unread = run_history(runs)
    of_asv, unread_asv = asv_history(asv or project_root() / ".asv" / "results")
    try:
        pattern = re.compile(only)
    except re.error as error:
        raise UsageError(f"--only {only!r}: {error}") from error
    chosen = [one for one in (*series, *of_asv) if pattern.search(one.name)]
    if not chosen:
        raise UsageError(
            "no history: make runs with `harness gate`, or results with `make timings`"
        )
    histories = [
        History(series=one, steps=tuple(find_steps([point.value for point in one.points])))
        for one in newest(chosen, _NEWEST)
    ]
    unreadable = [*unread, *unread_asv]
    page = write_history(histories, unreadable, out or runs / "trend", past_runs(runs))
    for history in histories:
        for step in history.steps:
            click.echo(f"{history.series.name}: {describe_step(history, step)}")
    stepped = sum(bool(history.steps) for history in histories)
    click.echo(f"{stepped} of {len(histories)} series took a step; {page}")
