"""The command `harness prove`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.display import ConsoleProgress
from harness.environment import project_root
from harness.prove.catalogue import CATALOGUE
from harness.prove.matrix import exit_code_of
from harness.prove.prover import prove
from harness.prove.table import render_matrix
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["command"]


@click.command("prove")
@click.option(
    "--only",
    multiple=True,
    metavar="FAULT",
    help="Put in only this fault and its control (repeatable); the proof then stays incomplete.",
)
@click.option("--fresh", is_flag=True, help="Make rows again that an earlier call has made.")
@click.option("--list", "is_listing", is_flag=True, help="List the faults, and put in none.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where proofs are kept, in a folder proofs.  [default: reports/]",
)
def command(only: tuple[str, ...], fresh: bool, is_listing: bool, reports: Path | None) -> None:
    """Put faults into real runs, and show that the gates notice and that quiet ones keep quiet.

    Interrupted, it goes on where it stopped when it is called again. Exit status 0 if all is as
    expected, 1 if a fault was missed or a quiet gate tripped, 3 if something could not be run
    here, 4 if the harness itself failed.
    """
    if is_listing:
        for fault in CATALOGUE:
            click.echo(f"{fault.id}: {fault.title} ({fault.tier})\n    {fault.injected}")
        return
    words = ["harness", *(shlex.quote(word) for word in sys.argv[1:])]
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            found = prove(
                reports or project_root() / "reports",
                progress,
                only=only,
                is_fresh=fresh,
                command=words,
            )
    except KeyboardInterrupt:
        click.echo("interrupted: what was done is kept; call it again to go on", err=True)
        sys.exit(INTERRUPTED)
    console = Console()
    console.print(render_matrix(found.asked, found.verdict, width=min(console.width, 110)))
    shown = os.path.relpath(found.folder / "proof.json")
    console.print(f"Proof: {shown}", highlight=False, soft_wrap=True)
    sys.exit(exit_code_of(found.asked))
