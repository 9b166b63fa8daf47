"""The command `harness reliability`."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from harness.display import ConsoleProgress
from harness.environment import project_root
from harness.reliability.campaign import COUNTS_FILE, Campaign, exit_code_of, run_campaign
from harness.reliability.inputs import INPUTS
from harness.reliability.scenarios import SCENARIOS
from harness.reliability.worker import PARTS
from harness.signals import INTERRUPTED, sigterm_tidies_up

__all__ = ["command"]


@click.command("reliability")
@click.option("--full", "is_full", is_flag=True, help="Try every point: hours of one core.")
@click.option("--smoke", "is_smoke", is_flag=True, help="Try a few of each scenario: the default.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Only this part (repeatable); the counts are not complete until all were tried.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice((*SCENARIOS, *INPUTS)),
    help="Only this scenario, or kind of input (repeatable).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of every random choice.  [default: 0 in full, a fresh one otherwise]",
)
@click.option("--fresh", is_flag=True, help="Try again what an earlier call has tried.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where counts are kept, in a folder reliability.  [default: reports/]",
)
def command(
    *,
    is_full: bool,
    is_smoke: bool,
    parts: tuple[str, ...],
    scenarios: tuple[str, ...],
    seed: int | None,
    fresh: bool,
    reports: Path | None,
) -> None:
    """Kill, cut off, refuse, damage and deceive a store at every point, and see that it holds.

    Interrupted, it goes on where it stopped when it is called again with the same seed. Exit status
    0 if every point ended as it must, 1 if one did not, 3 if something could not be tried here (no
    strace), 4 if the harness itself failed.
    """
    if is_full and is_smoke:
        raise click.UsageError("either --full or --smoke")
    size = "full" if is_full else "smoke"
    if seed is None:
        seed = 0 if is_full else random.SystemRandom().randrange(2**32)
    campaign = Campaign(size=size, seed=seed, parts=parts, scenarios=scenarios)
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            folder = run_campaign(
                campaign, reports or project_root() / "reports", progress, is_fresh=fresh
            )
    except KeyboardInterrupt:
        click.echo(f"interrupted: go on with --seed {seed}", err=True)
        sys.exit(INTERRUPTED)
    counts = json.loads((folder / COUNTS_FILE).read_text())
    console = Console()
    console.print(_table(counts, min(console.width, 110)))
    for reason in counts["not_run"]:
        click.echo(f"not run: {reason}")
    for fault in counts["faults"]:
        click.echo(f"FAULT {fault['part']}, {fault['scenario']}, seed {seed}: {fault['point']}")
        for what in fault["what"]:
            click.echo(f"  {what}")
    shown = os.path.relpath(folder / COUNTS_FILE)
    console.print(f"Counts: {shown}", highlight=False, soft_wrap=True)
    sys.exit(exit_code_of(counts))


def _table(counts: dict[str, Any], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False, show_edge=False)
    table.add_column("Part", no_wrap=True)
    for name in ("Scenarios", "Points", "Tried", "Faults"):
        table.add_column(name, justify="right")
    table.add_column("How they ended", overflow="fold")
    for part, found in counts["parts"].items():
        if not found["scenarios"]:
            continue
        ends = ", ".join(f"{count} {word}" for word, count in found["outcomes"].items())
        numbers = ("scenarios", "points_known", "points_tried", "faults")
        table.add_row(part, *(str(found[name]) for name in numbers), ends)
    return table
