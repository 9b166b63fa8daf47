"""The command `harness record`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.display import ConsoleProgress
from harness.environment import machine, machine_id
from harness.errors import UsageError
from harness.finite import FiniteRange
from harness.record.bedrock import bedrock_runtime
from harness.record.budget import (
    MODELS,
    PRICES_AS_OF,
    PRICES_SOURCE,
    Budget,
    BudgetSpentError,
    a_token,
    picodollars,
    usd,
)
from harness.record.compile import compare_repeats, write_sets
from harness.record.journal import Journal
from harness.record.run import Job, record
from harness.recordings import live_folder
from harness.signals import INTERRUPTED, sigterm_tidies_up
from harness.workload.corpus import read_corpus

__all__ = ["command"]

_FILES, _CHUNKS = 10, 22


@click.command("record")
@click.option("--live", is_flag=True, help="Call Bedrock, and pay; nothing is done without it.")
@click.option("--model", type=click.Choice(list(MODELS)), required=True, help="Bedrock's model id.")
@click.option(
    "--budget-usd",
    type=FiniteRange(min=0, min_open=True),
    required=True,
    help="Most that all calls of the folder may cost, earlier ones included.",
)
@click.option(
    "--texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a text a line.  [default: chunks of Python's standard library]",
)
@click.option(
    "--count", type=click.IntRange(min=1), help="Texts to record.  [default: all of the file, 220]"
)
@click.option(
    "--again",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Texts that are asked twice, to see whether the bits are the same.",
)
@click.option("--dimensions", type=click.IntRange(min=1), help="Field of text-v2's requests.")
@click.option("--region", help="Of Bedrock.  [default: boto3's]")
@click.option("--endpoint-url", help="Another address of Bedrock: a VPC endpoint, a test.")
@click.option(
    "--usd-per-1000-tokens",
    "price",
    type=FiniteRange(min=0, min_open=True),
    help=f"Price, as {PRICES_SOURCE} says today.  [default: of {PRICES_AS_OF}, unchecked]",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where recordings are kept.  [default: reports/live]",
)
def command(
    live: bool,
    model: str,
    budget_usd: float,
    texts: Path | None,
    count: int | None,
    again: int,
    dimensions: int | None,
    region: str | None,
    endpoint_url: str | None,
    price: float | None,
    folder: Path | None,
) -> None:
    """Record real answers of Titan, byte for byte, within a budget.

    Credentials are those that boto3 finds. A call that could pass the budget is not made. Called
    again, it goes on; what is recorded is never paid for twice. The folder holds the texts; what is
    printed, and every report, holds none.

    Exit status: 0 all is recorded, 2 wrong use or no credentials, 3 the budget ended it, 4 Bedrock
    did not answer, 130 interrupted; what was recorded stays.
    """
    if not live:
        raise UsageError("this calls Bedrock and costs money: say --live")
    wanted = _texts(texts, count)
    if dimensions is not None and model != "amazon.titan-embed-text-v2:0":
        raise UsageError(f"{model} has one dimension")
    client = bedrock_runtime(region, endpoint_url)
    job = Job(
        model=model,
        texts=wanted,
        options={} if dimensions is None else {"dimensions": dimensions},
        again=again,
        machine=machine_id(machine()),
    )
    target = folder or live_folder()
    limit, token = picodollars(budget_usd), MODELS[model] if price is None else a_token(price)
    with Journal.locked(target) as journal:
        budget = Budget(limit=limit, price=token, spent=journal.spent())
        code = _recorded(job, client, journal, budget)
        _report(journal, budget, target, is_price_given=price is not None)
    sys.exit(code)


def _texts(path: Path | None, count: int | None) -> list[str]:
    if path is None:
        corpus = read_corpus(files=_FILES, chunks_per_file=_CHUNKS)
        found = [text for document in corpus.documents for text in document.chunks]
    else:
        try:
            found = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read as UTF-8") from error
    found = list(dict.fromkeys(found))[:count]
    if not found:
        raise UsageError("there is no text to record")
    return found


def _recorded(job: Job, client: object, journal: Journal, budget: Budget) -> int:
    try:
        with sigterm_tidies_up(), ConsoleProgress(Console(stderr=True)) as progress:
            progress.stage(f"record {job.model}", len(job.turns()))
            record(job, client, journal, budget, on_answer=progress.step)
    except BudgetSpentError as error:
        click.echo(f"budget: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("interrupted: what came is kept; the same command goes on", err=True)
        return INTERRUPTED
    finally:
        write_sets(journal)  # whatever ended it: what was paid for can be used
    return 0


def _report(journal: Journal, budget: Budget, folder: Path, *, is_price_given: bool) -> None:
    answers = [entry for entry in journal.entries if entry.file]
    lost = len(journal.entries) - len(answers)
    tokens = sum(entry.tokens for entry in answers)
    told = "at the price given"
    if not is_price_given:
        told = f"at prices of {PRICES_AS_OF}, from memory: check {PRICES_SOURCE}"
    click.echo(
        f"{os.path.relpath(folder)}: {len(answers)} answers, {tokens} tokens, "
        f"{usd(budget.spent)} of {usd(budget.limit)} ({told})"
    )
    if lost:
        click.echo(f"{lost} calls without an answer count as billed, at most {_lost(journal)}")
    repeats = compare_repeats(journal)
    if repeats.asked:
        click.echo(
            f"asked twice: {repeats.asked}; the same bytes: {repeats.same_bytes}, the same bits: "
            f"{repeats.same_bits}; largest distance {repeats.ulps_max} units in the last place"
        )


def _lost(journal: Journal) -> str:
    return usd(sum(entry.cost for entry in journal.entries if not entry.file))
