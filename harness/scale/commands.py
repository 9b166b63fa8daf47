"""The command `harness scale`."""

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
from harness.report.quantity import format_quantity
from harness.scale.growth import Growth
from harness.scale.page import exponent_text, write_scale_page
from harness.scale.run import ScaleOptions, measure_scale, sizes_up_to
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["scale", "show_scale"]

_WIDTH_MAX = 140


@click.command()
@click.option(
    "--max",
    "largest",
    type=click.IntRange(min=10_000, max=10_000_000),
    default=1_000_000,
    show_default=True,
    help="Vectors of the largest store; 10^7 want 28.6 GB of disk.",
)
@click.option("--smoke", is_flag=True, help="10^3 to 10^4 short vectors: does the command work?")
@click.option("--fresh", is_flag=True, help="Measure sizes again that an earlier call measured.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results are kept, in a folder scale, and the store of the moment.  "
    "[default: reports/]",
)
def scale(largest: int, smoke: bool, fresh: bool, reports: Path | None) -> None:
    """Say what grows with the number of vectors, and how fast, from 1 000 to --max.

    At two sizes a decade a store of synthetic vectors is made, measured and dropped: get, open,
    update, memory, bytes, search, check, compaction, each with its fitted exponent. Writes
    scale.html, growth.json and scale.json. Interrupted, it goes on at the size where it stopped
    when it is called again; with a larger --max it adds sizes.

    Exit status: 0 nothing grows that may not, 1 something does, 2 wrong use or too little disk,
    3 it cannot be said, 4 the harness itself failed, 130 interrupted.
    """
    folder = reports or project_root() / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {"command": ("harness", *(shlex.quote(w) for w in sys.argv[1:]))}
    options = (
        ScaleOptions.smoke(folder, **common)
        if smoke
        else ScaleOptions(reports=folder, sizes=sizes_up_to(largest), **common)
    )
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            found = measure_scale(options, progress, is_fresh=fresh)
    except KeyboardInterrupt:
        click.echo("interrupted: sizes that are done are kept; call it again to go on", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(show_scale(found))


def show_scale(folder: Path) -> int:
    """Write the page, print the table, and return the exit status."""
    page, code, found = write_scale_page(folder)
    console = Console()
    console.print(_table(found, min(console.width, _WIDTH_MAX)))
    console.print(f"Page: {shown_page(page)}", highlight=False, soft_wrap=True)
    return code


def _table(found: list[Growth], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Verdict", no_wrap=True)
    for name in ("Quantity", "Smallest N", "Largest N", "Exponent", "In words"):
        table.add_column(name, overflow="fold")
    for one in found:
        ends = (one.points[0], one.points[-1]) if one.points else ((0, None), (0, None))
        table.add_row(
            str(one.verdict),
            Text(one.quantity.title),
            *(format_quantity(value, one.quantity.unit) for _, value in ends),
            exponent_text(one),
            Text(one.words),
        )
    return table
