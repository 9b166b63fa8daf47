"""The command `titanstore migrate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from titanstore.migration.preview import Preview, preview
from titanstore.migration.run import Migrated, OnConflict, migrate
from titanstore.migration.source import KINDS, SourceOptions
from titanstore.migration.undo import Undo, undo_migration

_Told = Callable[[int, int | None], None]
_RAW = ("float16", "float32", "float64")


@click.command("migrate")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path), required=False)
@click.option("--from", "kind", type=click.Choice(KINDS), help="Kind of SOURCE.  [default: look]")
@click.option("--key-column", "key", help="Column, field or npz member of the keys.")
@click.option("--vector-column", "vector", help="Column, field or npz member of the vectors.")
@click.option("--document-column", "document", help="Column of the documents that they belong to.")
@click.option("--text-column", "text", help="Column of the texts; keys are made with --model.")
@click.option("--model", help="Bedrock's model id, for --text-column.")
@click.option(
    "--model-option",
    "given",
    multiple=True,
    metavar="NAME=JSON",
    help="A field of the request that the texts were embedded with (repeatable).",
)
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file, a key a line, for one .npy without keys.",
)
@click.option("--table", help="Table of an SQLite file or a LanceDB folder.")
@click.option("--namespace", help="Of LangChain's SQL store.")
@click.option("--raw", type=click.Choice(_RAW), help="Type of vectors that are bare bytes.")
@click.option("--dimension", type=click.IntRange(min=1), help="Refuse vectors of any other.")
@click.option(
    "--shortest-digits",
    is_flag=True,
    help="Also take float64 with the shortest digits of a float32 (Titan's answers of 2024).",
)
@click.option("--replace", is_flag=True, help="A key with other bits in STORE: take SOURCE's.")
@click.option("--skip", is_flag=True, help="A key with other bits in STORE: leave it.")
@click.option("--dry-run", is_flag=True, help="Read all, say what would be done, write nothing.")
@click.option("--undo", is_flag=True, help="Undo the newest migration of the store at SOURCE.")
@click.option("--yes", is_flag=True, help="Do not ask before undoing.")
def command(
    source: Path,
    store: Path | None,
    *,
    given: tuple[str, ...],
    replace: bool,
    skip: bool,
    dry_run: bool,
    undo: bool,
    yes: bool,
    **chosen: Any,
) -> None:
    """Move the vectors at SOURCE into the store at STORE, bit for bit, and verify each.

    SOURCE is a .npy, .npz, Parquet, SQLite or JSON lines file, or a folder of .npy, .npz or Parquet
    files, of a LanceDB table, or of LangChain's LocalFileStore. Interrupted or killed, the same
    command goes on. A float64 that is no float32 is refused, as nothing is rounded; so is a key
    that STORE has with other bits. `titanstore migrate --undo STORE` takes all of it back.
    """
    if undo:
        if store is not None:
            raise click.UsageError("--undo takes one path, the store's")
        _undo(source, is_asked=not yes, is_rehearsal=dry_run)
        return
    if store is None:
        raise click.UsageError("name SOURCE and STORE")
    if replace and skip:
        raise click.UsageError("--replace or --skip, not both")
    options = SourceOptions(model_options=_model_options(given), **chosen)
    conflict: OnConflict = "replace" if replace else "skip" if skip else "refuse"
    label = "reading" if dry_run else "moving"
    with _progress(label) as told:
        if dry_run:
            found: Preview | Migrated = preview(source, store, options, progress=told)
        else:
            try:
                found = migrate(source, store, options, on_conflict=conflict, progress=told)
            except KeyboardInterrupt:
                click.echo(
                    "\nwhat was moved so far stays: the same command goes on, "
                    "and --undo takes it back",
                    err=True,
                )
                raise
    for line in _previewed(found) if isinstance(found, Preview) else _moved(found):
        click.echo(line)


def _model_options(given: tuple[str, ...]) -> dict[str, object]:
    import json

    found: dict[str, object] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--model-option {word!r}: NAME=JSON is wanted")
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            raise click.UsageError(f"--model-option {word!r}: {error}") from error
    return found


@contextmanager
def _progress(label: str) -> Iterator[_Told]:
    """A bar on a terminal, where rich is there; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield lambda done, total: click.echo(f"\r{label}: {done}", nl=False, err=True)
        click.echo(err=True)
        return
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _previewed(found: Preview) -> Iterator[str]:
    sizes = ", ".join(f"{count} of {size}" for size, count in found.dimensions.items())
    new = found.rows - found.present - found.conflicts
    yield f"{found.kind}: {found.rows} vectors; dimensions: {sizes or 'none'}"
    yield f"new: {new}, there with the same bits: {found.present}, with others: {found.conflicts}"
    yield from (f"conflict: {key!r}" for key in found.conflict_keys)
    yield (
        f"would take about {found.estimated_bytes / 1e6:.1f} MB for {found.raw_bytes / 1e6:.1f} MB "
        f"of float32, by a sample of {found.sampled}"
    )


def _moved(found: Migrated) -> Iterator[str]:
    yield (
        f"{found.added} added, {found.replaced} replaced, {found.unchanged} there already, "
        f"{found.skipped} skipped; {found.verified} verified bit by bit"
    )
    yield from (f"skipped: {key!r}" for key in found.skipped_keys)
    if found.before is not None:
        yield f"version {found.before} is what was before: titanstore migrate --undo takes it back"


def _undo(path: Path, *, is_asked: bool, is_rehearsal: bool) -> None:
    if is_asked or is_rehearsal:
        for line in _told(undo_migration(path, is_rehearsal=True)):
            click.echo(line)
        if is_rehearsal:
            return
        if not _is_confirmed():
            raise click.ClickException("the store was left as it was")
    done = undo_migration(path)
    click.echo(f"{done.before.vectors} vectors, as in version {done.before.number}")
    if done.left is not None:
        click.echo(f"what was left is version {done.left.number}: titanstore rollback goes there")


def _is_confirmed() -> bool:
    try:
        return click.confirm("undo it?")
    except click.Abort:  # nobody there to answer
        return False


def _told(found: Undo) -> Iterator[str]:
    end = "" if found.is_whole else "; the migration did not come to its end"
    yield f"from {found.vectors_now} vectors back to {found.before.vectors}{end}"
    if found.later_changes is None:
        yield "what others wrote since it began goes too"
    elif found.later_changes:
        yield f"{found.later_changes} changes of others since its end go too"
