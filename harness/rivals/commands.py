"""The command `harness rivals`."""

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
from harness.recordings import recorded_folder
from harness.recordings_options import recordings_options
from harness.report.quantity import format_quantity
from harness.rivals.campaign import compare_rivals
from harness.rivals.catalogue import OURS, SEARCHERS, STORES
from harness.rivals.findings import Cell, Standing
from harness.rivals.metrics import MEASURES, METRICS
from harness.rivals.options import FULL, QUICK, SMOKE, RivalOptions
from harness.rivals.page import Found, shown_metrics, write_rivals_page
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["rivals", "show_rivals"]

_WIDTH_MAX = 160
_SIGNS = {Standing.AHEAD: "", Standing.BEHIND: " !", Standing.EVEN: " ~"}


@click.command()
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    type=click.Choice([name for name in (*STORES, *SEARCHERS) if name != OURS]),
    help="Only this rival (repeatable); ours is measured beside it.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(MEASURES),
    help="Only this measure (repeatable).",
)
@click.option("--quick", "size", flag_value="quick", help="Two rounds, without bounds.")
@click.option("--smoke", "size", flag_value="smoke", help="One round of small numbers: a test.")
@recordings_options
@click.option("--fresh", is_flag=True, help="Make parts again that an earlier call has made.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where comparisons are kept, in a folder rivals.  [default: reports/]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=20_261_129,
    show_default=True,
    help="Of every random choice.",
)
def rivals(**given: Any) -> None:
    """Measure the store beside what people would use instead.

    The same vectors, the same operations, the same durability, fresh processes in rounds; ratios to
    ours with bounds. Writes rivals.html. About ten minutes on a quiet machine; interrupted, it goes
    on where it stopped when it is called again.

    Exit status: 0 every claim is reached, 1 one is not, 2 wrong use, 3 one is not known, 4 the
    harness itself failed, 130 interrupted.
    """
    is_fresh = given.pop("fresh")
    size = given.pop("size") or "full"
    options = RivalOptions(
        reports=given.pop("reports") or project_root() / "reports",
        recorded=recorded_folder(given.pop("titan"), given.pop("recorded")),
        sizes={one.name: one for one in (FULL, QUICK, SMOKE)}[size],
        command=("harness", *(shlex.quote(word) for word in sys.argv[1:])),
        **given,
    )
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            if options.recorded is None:
                progress.note("no recorded vectors: synthetic ones, and no bytes of real ones")
            folder = compare_rivals(options, progress, is_fresh=is_fresh)
    except KeyboardInterrupt:
        click.echo("interrupted: parts that are done are kept; call it again to go on", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(show_rivals(folder))


def show_rivals(folder: Path) -> int:
    """Write the page of a comparison, print its table and claims, and return the exit status."""
    page, found = write_rivals_page(folder)
    console = Console()
    width = min(console.width, _WIDTH_MAX)
    console.print(_table(found, width))
    console.print("rival / ours, above 1 ours is ahead;  ! behind   ~ no difference shown")
    words = {True: "reached", False: "NOT REACHED", None: "not known"}
    for one in found.claims:
        why = f" ({one.why})" if one.why else ""
        console.print(Text(f"{words[one.reached]}: {one.text}{why}"), soft_wrap=True)
    for name, told in found.document["subjects"].items():
        if told["missing"]:
            console.print(Text(f"not measured: {name}: {told['missing']}"), soft_wrap=True)
    console.print(f"Page: {shown_page(page)}", highlight=False, soft_wrap=True)
    return found.exit_code


def _table(found: Found, width: int) -> Table:
    """Ours in its units, the rivals as ratios to it; only columns of what was measured."""
    known = {metric for (_, metric), cell in found.table.items() if cell.value is not None}
    columns = [metric for metric in shown_metrics() if metric in known]
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Subject", no_wrap=True)
    for metric in columns:
        table.add_column(METRICS[metric].short, justify="right", overflow="fold")
    for subject in found.document["subjects"]:
        cells = [found.table.get((subject, metric)) for metric in columns]
        if any(cell is not None and cell.value is not None for cell in cells):
            table.add_row(Text(subject), *(Text(_cell_text(cell)) for cell in cells))
    return table


def _cell_text(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return ""
    if cell.ratio is None:
        return format_quantity(cell.value, cell.metric.unit)
    ratio = f"{cell.ratio:.0f}" if cell.ratio >= 100 else f"{cell.ratio:.2f}"
    return f"{ratio}{_SIGNS[cell.standing]}"
