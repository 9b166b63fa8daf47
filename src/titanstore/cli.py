"""The command `titanstore`: look into a store, check it, tidy it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import click

from titanstore.config import load_config
from titanstore.errors import CorruptionError, StoreError
from titanstore.store import EmbeddingStore

_PATH = click.argument("path", type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="titanstore")
def main() -> None:
    """Bit-exact, compressed embeddings on disk.

    Exit status: 0 all is well, 1 the store is damaged, 2 the command could not be carried out.
    """


@contextmanager
def _opened(path: Path, *, read_only: bool) -> Iterator[EmbeddingStore]:
    try:
        with EmbeddingStore.open(path, load_config(), read_only=read_only, create=False) as store:
            yield store
    except StoreError as error:
        refusal = Damage if isinstance(error, CorruptionError) else Refusal
        raise refusal(f"{error} [{error.kind}]") from error


class Refusal(click.ClickException):
    """A command that could not be carried out."""

    exit_code = 2


class Damage(Refusal):
    """A store so damaged that the command could not be carried out."""

    exit_code = 1


@main.command()
@_PATH
def info(path: Path) -> None:
    """Show what a store at PATH holds and what it takes on the disk."""
    with _opened(path, read_only=True) as store:
        stats = store.stats()
    for field in fields(stats):
        if field.name.endswith(("vectors", "documents", "segments", "_bytes")) and not (
            field.name.startswith(("hot", "warm"))
        ):
            click.echo(f"{field.name:<16}{getattr(stats, field.name):>16,}".replace(",", " "))
    if stats.vectors:
        click.echo(f"{'bytes/vector':<16}{stats.disk_bytes / stats.vectors:>16.1f}")


@main.command()
@_PATH
def check(path: Path) -> None:
    """Read every vector of the store at PATH once and list what is not as it was written.

    Works while another process writes. Exit status 1 if anything is damaged.
    """
    with _opened(path, read_only=True) as store:
        if sys.stderr.isatty():
            with click.progressbar(length=len(store), label="checking", file=sys.stderr) as bar:
                report = store.check(lambda done, _: bar.update(done - bar.pos))
        else:
            report = store.check()
    for problem in report.problems:
        click.echo(f"{problem.kind}: {problem.place}: {problem.message}")
    click.echo(
        f"{report.vectors} vectors, {report.documents} documents, {report.segments} segments: "
        f"{len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'}"
    )
    if not report.is_clean:
        sys.exit(1)


@main.command()
@_PATH
def maintain(path: Path) -> None:
    """Give back the space of replaced and removed vectors of the store at PATH.

    Readers go on meanwhile. Safe to interrupt at any moment.
    """
    with _opened(path, read_only=False) as store:
        done = store.maintain()
    click.echo(f"removed {done.segments_removed} segment files, freed {done.bytes_freed} bytes")
