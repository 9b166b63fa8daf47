"""The command `harness limits`."""

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
from harness.kept import shown_page
from harness.limits.page import ratio_text, write_limits_page
from harness.limits.run import LimitsOptions, measure_limits
from harness.recordings import Titan, recorded_folder
from harness.recordings_options import recordings_options
from harness.report.quantity import format_quantity
from harness.signals import sigterm_tidies_up

__all__ = ["limits", "show_limits"]

_WIDTH_MAX = 130


@click.command()
@click.option("--smoke", is_flag=True, help="Small and synthetic: does the command work?")
@recordings_options
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results are kept, in a folder limits.  [default: reports/]",
)
def limits(smoke: bool, recorded: Path | None, titan: Titan, reports: Path | None) -> None:
    """Say how far the store is from what is possible.

    Bytes a vector against the entropy of its values, decoding against copying memory, a hot get
    against a bare dict, search against reading the planes once, a durable put against fdatasync
    alone: each as a quotient, in one figure. Writes limits.html, limits.png and limits.json.
    Judges nothing: exit status 0, 2 for wrong use, 4 if the harness itself failed, 130 interrupted.
    """
    folder = reports or project_root() / "reports"
    common: dict[str, Any] = {"command": ("harness", *(shlex.quote(w) for w in sys.argv[1:]))}
    options = (
        LimitsOptions.smoke(folder, **common)
        if smoke
        else LimitsOptions(reports=folder, recorded=recorded_folder(titan, recorded), **common)
    )
    with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
        if options.recorded is None:
            progress.note("no recorded vectors: synthetic ones, and the page says so")
        found = measure_limits(options, progress)
    show_limits(found)


def show_limits(folder: Path) -> None:
    """Write the page of a run and print its quotients."""
    page, found = write_limits_page(folder)
    console = Console()
    width = min(console.width, _WIDTH_MAX)
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    for name in ("What", "Against", "The store", "Possible", "Times"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            Text(one.what),
            Text(one.against),
            format_quantity(one.ours, one.unit),
            format_quantity(one.limit, one.unit),
            ratio_text(one),
        )
    console.print(table)
    console.print(f"Page: {shown_page(page)}", highlight=False, soft_wrap=True)
