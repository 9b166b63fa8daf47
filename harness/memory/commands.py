"""The command `harness memory`."""

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
from harness.memory.findings import Finding
from harness.memory.page import estimate_text, write_memory_page
from harness.memory.profile import MemoryOptions, profile_memory
from harness.recordings import recorded_folder
from harness.recordings_options import recordings_options
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["memory", "show_profile"]

_FULL = {
    "processes": 5,
    "sizes": (2_000, 10_000, 100_000, 1_000_000),
}
_WIDTH_MAX = 120


@click.command()
@click.option(
    "--full",
    is_flag=True,
    help="5 processes of each kind, and up to 1 000 000 vectors: half an hour and more.",
)
@click.option(
    "--operations",
    type=click.IntRange(min=1_000),
    help="Accesses of a plain session. With fewer, what is still filling looks like growth.  "
    "[default: 100000]",
)
@click.option(
    "--sizes",
    metavar="N,N,...",
    help="Numbers of vectors, at least 2000 each.  [default: 2000,10000,100000]",
)
@recordings_options
@click.option(
    "--leak-bytes",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Have each session keep so many bytes every 1000 operations, to see it noticed.",
)
@click.option("--fresh", is_flag=True, help="Make parts again that an earlier call has made.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where profiles are kept, in a folder memory.  [default: reports/]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=20_261_128,
    show_default=True,
    help="Of every random choice.",
)
def memory(**given: Any) -> None:
    """Say where the store's memory goes, and whether it grows.

    Editing sessions in both dimensions, seen from the kernel's side, under tracemalloc and under
    memray; tiers filled to several budgets; stores of more and more vectors. Writes memory.html
    with memray's flamegraphs and leak reports. Times nothing. Interrupted, it goes on where it
    stopped when it is called again.

    Exit status: 0 nothing grows and the accounts agree, 1 something does not, 2 wrong use, 3 it
    cannot be said, 4 the harness itself failed, 130 interrupted.
    """
    is_fresh = given.pop("fresh")
    reports = given.pop("reports") or project_root() / "reports"
    chosen: dict[str, Any] = dict(_FULL) if given.pop("full") else {}
    sizes, operations = given.pop("sizes"), given.pop("operations")
    if sizes:
        chosen["sizes"] = _numbers(sizes)
    if operations:
        chosen["operations"] = operations
    options = MemoryOptions(
        reports=reports,
        recorded=recorded_folder(given.pop("titan"), given.pop("recorded")),
        command=("harness", *(shlex.quote(word) for word in sys.argv[1:])),
        **given,
        **chosen,
    )
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            if options.recorded is None:
                progress.note("no recorded vectors: synthetic ones, and the page says so")
            found = profile_memory(options, progress, is_fresh=is_fresh)
    except KeyboardInterrupt:
        click.echo("interrupted: parts that are done are kept; call it again to go on", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(show_profile(found.folder))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word.replace("_", "")) for word in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"--sizes {text!r}: whole numbers with commas wanted") from error


def show_profile(folder: Path) -> int:
    """Write the page of a profile, print its findings, and return the exit status."""
    page, code, findings = write_memory_page(folder)
    console = Console()
    console.print(_table(findings, min(console.width, _WIDTH_MAX)))
    console.print(f"Page: {shown_page(page)}", highlight=False, soft_wrap=True)
    return code


def _table(findings: list[Finding], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Verdict", no_wrap=True)
    for name in ("Asked", "Found", "Wanted"):
        table.add_column(name, overflow="fold")
    for one in findings:
        table.add_row(str(one.verdict), Text(one.name), estimate_text(one), Text(one.wanted))
    return table
