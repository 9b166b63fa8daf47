"""The command `harness hotpaths`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.display import ConsoleProgress
from harness.environment import project_root
from harness.finite import FiniteRange
from harness.hotpaths.page import Followed, read_paths, write_hotpaths_page
from harness.hotpaths.paths import PATHS
from harness.hotpaths.profile import HotOptions, profile_paths
from harness.kept import shown_page
from harness.recordings import recorded_folder
from harness.recordings_options import recordings_options
from harness.report.quantity import format_quantity
from harness.signals import sigterm_tidies_up

__all__ = ["hotpaths", "show_hotpaths"]

_WIDTH_MAX = 120
_SHOWN = 5


@click.command()
@click.option(
    "--only",
    type=click.Choice(list(PATHS)),
    multiple=True,
    help="Follow only this path (repeatable).",
)
@click.option(
    "--seconds",
    type=FiniteRange(min=1, max=600),
    default=6.0,
    show_default=True,
    help="Of each path, once plain and once sampled.",
)
@click.option(
    "--rate",
    type=click.IntRange(min=10, max=2_000),
    default=250,
    show_default=True,
    help="Samples a second.",
)
@click.option(
    "--dimension",
    type=click.Choice(["1024", "1536"]),
    default="1024",
    show_default=True,
    help="Of the vectors.",
)
@click.option("--native", is_flag=True, help="Follow the stacks into C too; slower.")
@recordings_options
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where profiles are kept, in a folder hotpaths.  [default: reports/]",
)
def hotpaths(**given: Any) -> None:
    """Say where the time of get, put, search and update goes.

    Follows each path in a plain process for its time, and in another one under a sampler (py-spy)
    for its functions. Writes hotpaths.html with a flamegraph of each, and the stacks as text.
    Judges nothing: exit status 0, 2 for wrong use, 4 if the harness itself failed, 130 interrupted.
    """
    reports = given.pop("reports") or project_root() / "reports"
    options = HotOptions(
        reports=reports,
        recorded=recorded_folder(given.pop("titan"), given.pop("recorded")),
        only=given.pop("only") or tuple(PATHS),
        dimension=int(given.pop("dimension")),
        command=("harness", *(shlex.quote(word) for word in sys.argv[1:])),
        **given,
    )
    with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
        folder = profile_paths(options, progress)
    show_hotpaths(folder)


def show_hotpaths(folder: Path) -> None:
    """Write the page of a profile and print the functions with the largest own shares."""
    page = write_hotpaths_page(folder)
    _, paths = read_paths(folder)
    console = Console()
    console.print(_table(paths, min(console.width, _WIDTH_MAX)))
    console.print(f"Page: {shown_page(page)}", highlight=False, soft_wrap=True)


def _table(paths: list[Followed], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Path", no_wrap=True)
    table.add_column("A call", no_wrap=True)
    table.add_column("Function", overflow="fold")
    table.add_column("Own", no_wrap=True, justify="right")
    for path in paths:
        for place, one in enumerate(path.functions[:_SHOWN]):
            first = (path.name, path.call_text) if place == 0 else ("", "")
            table.add_row(*first, Text(one.name), format_quantity(one.own, "1"))
    return table
