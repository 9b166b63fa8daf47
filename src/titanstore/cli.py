"""The command `titanstore`: look into a store and its settings, check it, keep versions."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import click

from titanstore.check import Problem
from titanstore.config import StoreConfig, load_config
from titanstore.errors import CorruptionError, StoreError
from titanstore.events import JsonFormatter, logger
from titanstore.exporter.commands import alerts, dashboard, finite, serve_metrics
from titanstore.migration.commands import command as migrate_command
from titanstore.monitor.live import is_terminal, snapshot_json, snapshot_lines, watch
from titanstore.rebuild import rebuild_from_lance
from titanstore.scale.commands import group as shared_group
from titanstore.settings.facts import facts_of
from titanstore.settings.origins import explain
from titanstore.settings.page import as_values, page
from titanstore.store import EmbeddingStore
from titanstore.types import Version

_PATH = click.argument("path", type=click.Path(path_type=Path))
_INTERRUPTED = 130  # as of a shell's own commands; click's 1 would say that the store is damaged


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """As click has it, but for the exit status of an interrupted command."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("\ninterrupted", err=True)
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except StoreError as error:  # of a command that opens no store by `_opened`
            refusal = Damage if isinstance(error, CorruptionError) else Refusal
            raise refusal(f"{error} [{error.kind}]") from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="titanstore")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log to standard error: warnings as text, or every event as a JSON object a line.",
)
def main(log_format: str) -> None:
    """Bit-exact, compressed embeddings on disk.

    Exit status: 0 all is well, 1 the store is damaged, 2 the command could not be carried out,
    130 it was interrupted.
    """
    click.get_current_context().with_resource(_logging(log_format))


@contextmanager
def _logging(log_format: str) -> Iterator[None]:
    handler, level = logging.StreamHandler(), logger.level
    handler.setLevel(logging.WARNING if log_format == "text" else logging.INFO)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _opened(
    path: Path, *, read_only: bool, settings: StoreConfig | None = None
) -> Iterator[EmbeddingStore]:
    try:
        with EmbeddingStore.open(path, settings, read_only=read_only, create=False) as store:
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
@click.option("--once", is_flag=True, help="Show one page and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, in seconds and bytes.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    callback=finite,
    default=1.0,
    show_default=True,
    help="Seconds from one page to the next.",
)
def top(path: Path, once: bool, as_json: bool, interval: float) -> None:
    """Watch the store at PATH and the processes that have it open, until Ctrl-C.

    Rates, hit ratios and latencies are those of the last 10 seconds; with --once, with --json, and
    where the output is no terminal, one page of what each process did since it opened the store.

    A process tells of itself in shared memory (setting publish), to its own user and to root. Of
    its last reads up to 512 hot ones, 8 others, or those of 20 ms may be missing. Latencies are
    rounded up by less than a quarter; of single reads one in 512 hot ones and one in 8 others is
    timed, of everything else every call.
    """
    config = load_config()
    try:
        if as_json:
            click.echo(snapshot_json(path, config))
        elif once or not is_terminal():
            width = shutil.get_terminal_size().columns
            click.echo("\n".join(snapshot_lines(path, config, width)))
        else:
            watch(path, config, interval)
    except ImportError as error:
        raise Refusal(f"{error}: pip install 'titanstore[top]', or use --once or --json") from error


@main.command()
@_PATH
@click.option(
    "--repair",
    is_flag=True,
    help="First store damaged vectors again where a Lance table or a version has a copy.",
)
def check(path: Path, *, repair: bool) -> None:
    """Read all of the store at PATH once and list what is not as it was written.

    Works while another process writes; not so with --repair. Exit status 1 if anything is damaged,
    after a repair: still damaged.
    """
    with _opened(path, read_only=not repair) as store:
        if sys.stderr.isatty():
            with click.progressbar(length=len(store), label="checking", file=sys.stderr) as bar:
                report = store.check(lambda done, _: bar.update(done - bar.pos), repair=repair)
        else:
            report = store.check(repair=repair)
        problems = [*report.problems, *_problems_of_answers(store.path)]
    for key in report.restored:
        click.echo(f"restored: {key!r}")
    for problem in problems:
        click.echo(f"{problem.kind}: {problem.place}: {problem.message}")
    click.echo(
        f"{report.vectors} vectors, {report.documents} documents, {report.segments} segments: "
        f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}"
    )
    if problems:
        sys.exit(1)


def _problems_of_answers(path: Path) -> list[Problem]:
    folder = path / "answers"
    if not folder.is_dir():
        return []
    try:
        from titanstore.clients.bedrock.audit import check_answers
    except ImportError as error:
        click.echo(f"answers not looked at: {error}: pip install 'titanstore[bedrock]'", err=True)
        return []
    return check_answers(folder)


@main.command()
@_PATH
@click.option(
    "--keep-versions",
    type=click.IntRange(min=0),
    help="First give up all versions without a tag but the newest so many.",
)
def maintain(path: Path, keep_versions: int | None) -> None:
    """Give back the space of replaced and removed vectors of the store at PATH.

    Readers go on meanwhile. Safe to interrupt at any moment.
    """
    with _opened(path, read_only=False) as store:
        dropped = 0 if keep_versions is None else store.drop_versions(keep_versions)
        done = store.maintain()
    click.echo(
        f"removed {done.segments_removed} segment files, freed {done.bytes_freed} bytes, "
        f"dropped {dropped + done.versions_dropped} versions"
    )
    if done.lance_rows:
        click.echo(f"wrote {done.lance_rows} rows to LanceDB")
    if done.lance_trouble is not None:
        click.echo(f"LanceDB: {done.lance_trouble}; search goes on without it", err=True)


@main.command()
@_PATH
@click.option(
    "--from-lance",
    "lance_folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder `lance` of a store, or a copy of it.",
)
def rebuild(path: Path, lance_folder: Path) -> None:
    """Make a new store at PATH out of Lance tables, bit for bit.

    It has what the tables had taken up; versions are not in them.
    """
    shown = (
        (lambda count: click.echo(f"\r{count} vectors", nl=False, err=True))
        if (sys.stderr.isatty())
        else None
    )
    count = rebuild_from_lance(path, lance_folder, load_config(), progress=shown)
    click.echo(f"{count} vectors")


@main.command()
@_PATH
def versions(path: Path) -> None:
    """List the versions of the store at PATH, oldest first.

    Works while another process writes.
    """
    with _opened(path, read_only=True) as store:
        listed = store.versions()
    if not listed:
        click.echo("no versions")
    for version in listed:
        click.echo(_described(version))


def _described(version: Version) -> str:
    names = [] if version.label is None else [repr(version.label)]
    names += [f"tag {tag!r}" for tag in version.tags]
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(version.created_s))
    held = f"{version.vectors} vectors, {version.documents} documents"
    return "  ".join([f"{version.number:>6}  {taken}  {version.origin}", held, *names])


@main.command()
@_PATH
@click.option("--label", help="A name for it; several versions may have the same one.")
def snapshot(path: Path, label: str | None) -> None:
    """Make the present state of the store at PATH a version."""
    with _opened(path, read_only=False) as store:
        version = store.snapshot(label)
    click.echo(_described(version))


@main.command()
@_PATH
@click.argument("version")
@click.argument("name")
def tag(path: Path, version: str, name: str) -> None:
    """Give VERSION (number, tag or label) of the store at PATH the tag NAME, which keeps it.

    `maintain` never gives up a version with a tag.
    """
    with _opened(path, read_only=False) as store:
        click.echo(_described(store.tag(store.at(version).version, name)))


@main.command()
@_PATH
@click.argument("name")
def untag(path: Path, name: str) -> None:
    """Take the tag NAME away; `maintain` may then give its version up.

    A migration whose tag is taken away can be undone no more by `migrate --undo`.
    """
    with _opened(path, read_only=False) as store:
        click.echo(_described(store.untag(name)))


@main.command()
@_PATH
@click.argument("version")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rollback(path: Path, version: str, yes: bool) -> None:
    """Make VERSION (number, tag or label) the present state of the store at PATH again.

    Nothing is destroyed: a version of the state that this ends is taken first.
    """
    with _opened(path, read_only=False) as store:
        goal = store.at(version).version
        if not yes:
            found = store.diff(goal)
            click.echo(_described(goal))
            click.echo(
                f"takes back: {len(found.added)} added, {len(found.replaced)} replaced, "
                f"{len(found.removed)} removed vectors; "
                f"{len(found.documents_changed)} documents changed"
            )
            if not _is_confirmed("go back to it?"):
                raise Refusal("the store was left as it was")
        made = store.rollback(goal)
    click.echo(_described(made))


def _is_confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:  # nobody there to answer
        return False


@main.command()
@_PATH
@click.argument("a")
@click.argument("b", required=False)
def diff(path: Path, a: str, b: str | None) -> None:
    """List what makes version A of the store at PATH version B, or the present state.

    A line each: + added, ~ replaced, - removed vectors by key, and D documents changed. Works while
    another process writes.
    """
    with _opened(path, read_only=True) as store:
        found = store.diff(a, b)
    for sign, names in (
        ("+", found.added),
        ("~", found.replaced),
        ("-", found.removed),
        ("D", found.documents_changed),
    ):
        for name in names:
            click.echo(f"{sign} {name if name.isprintable() else repr(name)}")
    if not found:
        click.echo("no difference")


@main.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--file", type=click.Path(path_type=Path), help="A TOML file, below the variables.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="An argument, on top.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def config(path: Path | None, file: Path | None, given: tuple[str, ...], as_json: bool) -> None:
    """Show the settings in force here and now, and where each came from.

    From below to above: defaults, FILE, variables TITANSTORE_*, arguments; fallback tops them all.
    With PATH, also what the store there has that they do not undo. Exit status 2 if no store could
    be opened with them; what is wrong is named, with what to do.
    """
    arguments = {}
    for one in given:
        name, sign, text = one.partition("=")
        if not sign:
            raise click.UsageError(f"--set takes NAME=VALUE, got {one!r}")
        arguments[name] = text
    explained = explain(file=file, arguments=arguments)
    facts: list[str] = []
    if path is not None and explained.config is not None:
        with _opened(path, read_only=True, settings=explained.config) as store:
            facts = facts_of(store)
    if as_json:
        click.echo(json.dumps(as_values(explained, facts), indent=2))
    else:
        for trouble in explained.troubles:
            click.echo(f"{trouble} [bad-setting]", err=True)
        for line in page(explained, facts):
            click.echo(line)
    if explained.troubles:
        sys.exit(2)


for _command in (migrate_command, serve_metrics, alerts, dashboard, shared_group):
    main.add_command(_command)
