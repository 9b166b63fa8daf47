"""The commands `titanstore shared ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from titanstore.config import load_config
from titanstore.migration.source import KINDS, SourceOptions
from titanstore.scale.estimate import Quantities, lines, plan
from titanstore.scale.fetch import fetch
from titanstore.scale.job import JobReport, run_job
from titanstore.scale.location import Location
from titanstore.scale.parts import Embedding, Job, parts_of
from titanstore.scale.runners import LocalRunner, Runner, ray_runner
from titanstore.scale.table import SharedTable
from titanstore.scale.upkeep import compact, index, verify

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTION = "--model-option"


@click.group("shared")
def group() -> None:
    """Tables of vectors that many machines share: in S3, or in a folder.

    TABLE is s3://bucket/path or a folder. Credentials are those that AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY name, or the machine's role; no option takes them.
    """


def _located(command: _Command) -> _Command:
    for option in (
        click.option("--region", help="Of the bucket.  [default: AWS_REGION]"),
        click.option("--endpoint", metavar="URL", help="An S3 other than Amazon's."),
        click.argument("table"),
    ):
        command = option(command)
    return command


def _worked(command: _Command) -> _Command:
    for option in (
        click.option("--ray-address", metavar="ADDRESS", help="A Ray cluster; implies --ray."),
        click.option("--ray", "on_ray", is_flag=True, help="Workers are Ray's, started here."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="How many parts are worked on at a time.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def _runner(workers: int, on_ray: bool, ray_address: str | None) -> Iterator[Runner]:
    if on_ray or ray_address is not None:
        with ray_runner(workers, ray_address) as runner:
            yield runner
    else:
        yield LocalRunner(workers)


def _location(table: str, endpoint: str | None, region: str | None) -> Location:
    return Location(uri=table, endpoint=endpoint, region=region)


def _progress(label: str) -> Callable[[int, int], None]:
    if not sys.stderr.isatty():
        return lambda done, total: None
    return lambda done, total: click.echo(f"\r{label}: {done}/{total} ", nl=False, err=True)


_inputs = click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
_values = click.option(
    "--values",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Type of a new table's search vectors; exact vectors are kept beside them.",
)


@group.command()
@_located
@_inputs
@click.option("--dimension", type=click.IntRange(min=1), required=True, help="Of the vectors.")
@click.option("--from", "kind", type=click.Choice(KINDS), help="Kind of INPUTS.  [default: look]")
@click.option("--key-column", "key", help="Column, field or npz member of the keys.")
@click.option("--vector-column", "vector", help="Column, field or npz member of the vectors.")
@click.option("--document-column", "document", help="Column of the documents.")
@_values
@_worked
def load(
    table: str,
    endpoint: str | None,
    region: str | None,
    inputs: tuple[Path, ...],
    dimension: int,
    values: Any,
    workers: int,
    on_ray: bool,
    ray_address: str | None,
    **chosen: Any,
) -> None:
    """Add the vectors of INPUTS to TABLE: what `titanstore migrate` reads, or folders of it.

    Each file is written by one worker and read back bit by bit; one commit at the end. Killed, the
    same command goes on. A key that is there is left; with other bits it is refused.
    """
    job = Job(
        table=_location(table, endpoint, region),
        parts=parts_of(inputs),
        dimension=dimension,
        vectors=SourceOptions(**chosen),
        values=values,
    )
    with _runner(workers, on_ray, ray_address) as runner:
        _tell(run_job(job, runner, _progress("parts")))


@group.command()
@_located
@_inputs
@click.option("--model", required=True, help="Titan's model id.")
@click.option(_OPTION, "given", multiple=True, metavar="NAME=JSON", help="A field of the request.")
@click.option("--text-field", default="text", show_default=True, help="Of JSON lines.")
@click.option("--document-field", default="document", show_default=True, help="Of JSON lines.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Calls of the model at a time, for each worker.",
)
@click.option("--bedrock-endpoint", metavar="URL", help="A Bedrock other than Amazon's.")
@click.option("--bedrock-region", help="Of Bedrock.  [default: as boto3 finds it]")
@click.option(
    "--texts-per-part",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Files of a folder that are one text each: how many are a part.",
)
@_values
@_worked
def embed(
    table: str,
    endpoint: str | None,
    region: str | None,
    inputs: tuple[Path, ...],
    given: tuple[str, ...],
    texts_per_part: int,
    bedrock_endpoint: str | None,
    bedrock_region: str | None,
    values: Any,
    workers: int,
    on_ray: bool,
    ray_address: str | None,
    **chosen: Any,
) -> None:
    """Embed the texts of INPUTS by Titan and add the vectors to TABLE; else as `load`.

    INPUTS are JSON lines (.jsonl, .ndjson, .gz), files that are one text each, or folders. Keys are
    those of a Bedrock client over a store. A killed worker's part is embedded anew.
    """
    embedding = Embedding(
        options=_options(given), endpoint=bedrock_endpoint, region=bedrock_region, **chosen
    )
    job = Job(
        table=_location(table, endpoint, region),
        parts=parts_of(inputs, texts_per_part),
        dimension=embedding.dimension,
        embedding=embedding,
        values=values,
    )
    with _runner(workers, on_ray, ray_address) as runner:
        _tell(run_job(job, runner, _progress("parts")))


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            raise click.UsageError(f"{_OPTION} {word!r}: NAME=JSON is wanted") from error
        if not name or not equals:
            raise click.UsageError(f"{_OPTION} {word!r}: NAME=JSON is wanted")
    return found


def _tell(report: JobReport) -> None:
    click.echo(
        f"job {report.job}: {report.added} vectors added, {report.repeated} there already; "
        f"{report.parts_now} of {report.parts} parts now; version {report.version}; "
        f"{report.file_bytes} bytes of files for {report.vector_bytes} of float32"
    )


@group.command("verify")
@_located
@_worked
def verify_command(
    table: str,
    endpoint: str | None,
    region: str | None,
    workers: int,
    on_ray: bool,
    ray_address: str | None,
) -> None:
    """Read every row of TABLE: checksums, frames, search vectors, and that no key is there twice.

    Exit status 1 if anything is not as it was written.
    """
    location = _location(table, endpoint, region)
    with _runner(workers, on_ray, ray_address) as runner:
        found = verify(location, runner, _progress("fragments"))
    for problem in found.problems:
        click.echo(problem)
    each = f", {found.file_bytes / found.rows:.0f} bytes each" if found.rows else ""
    click.echo(
        f"version {found.version}: {found.rows} vectors{each}; {found.repeated} repeated; "
        f"{len(found.problems) or 'no'} damaged fragments"
    )
    if not found.is_clean:
        sys.exit(1)


@group.command("index")
@_located
@click.option(
    "--kind",
    type=click.Choice(["ivf_pq", "ivf_sq", "ivf_flat"]),
    help="[default: ivf_pq from 65 536 vectors on, else ivf_flat]",
)
@_worked
def index_command(
    table: str,
    endpoint: str | None,
    region: str | None,
    kind: Any,
    workers: int,
    on_ray: bool,
    ray_address: str | None,
) -> None:
    """Make the indices of TABLE: one for searches, one for keys."""
    location = _location(table, endpoint, region)
    with _runner(workers, on_ray, ray_address) as runner:
        found = index(location, runner, kind)
    click.echo(f"version {found.version}: {len(found)} vectors indexed")


@group.command("compact")
@_located
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=1 << 20,
    show_default=True,
    help="Of a fragment, at most.",
)
@click.option(
    "--keep-hours",
    type=click.FloatRange(min=0),
    help="Remove older versions, and week-old files of jobs that never ended.  [default: none]",
)
@_worked
def compact_command(
    table: str,
    endpoint: str | None,
    region: str | None,
    rows: int,
    keep_hours: float | None,
    workers: int,
    on_ray: bool,
    ray_address: str | None,
) -> None:
    """Put small fragments of TABLE together, up to --rows each, and renew its indices."""
    location = _location(table, endpoint, region)
    keep_s = None if keep_hours is None else 3600 * keep_hours
    with _runner(workers, on_ray, ray_address) as runner:
        found = compact(location, runner, rows=rows, keep_s=keep_s)
    click.echo(
        f"version {found.version}: {found.fragments_before} fragments became {found.fragments}"
    )


@group.command()
@_located
@click.argument("key")
@click.option(
    "--count",
    "-k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many.",
)
@click.option("--version", type=click.IntRange(min=1), help="Of the table.  [default: latest]")
def search(
    table: str,
    endpoint: str | None,
    region: str | None,
    key: str,
    count: int,
    version: int | None,
) -> None:
    """List the keys of TABLE whose vectors are nearest to that of KEY, with cosine distances."""
    found = SharedTable.open(_location(table, endpoint, region), version)
    for hit in found.search(found.get_many([key])[0], count):
        name = hit.key if hit.key.isprintable() else repr(hit.key)
        click.echo(f"{hit.distance:.9f}  {name}")


@group.command("fetch")
@_located
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--version", type=click.IntRange(min=1), help="Of the table.  [default: latest]")
def fetch_command(
    table: str, endpoint: str | None, region: str | None, store: Path, version: int | None
) -> None:
    """Make a store of this machine at STORE out of TABLE, bit for bit."""
    found = SharedTable.open(_location(table, endpoint, region), version)
    total = len(found)
    tell = _progress("vectors")
    count = fetch(found, store, load_config(), lambda done: tell(done, total))
    click.echo(f"{count} vectors, of version {found.version}")


_MEANINGS = {
    "vectors": "How many.",
    "dimension": "Values of a vector.",
    "frame_bytes": "Of a compressed exact frame.",
    "search_value_bytes": "2 for float16, 4 for float32.",
    "row_bytes": "Of key, document, model, version, checksum.",
    "part_rows": "Vectors of an input file.",
    "load_rate": "Vectors a second that a worker writes and reads back.",
    "verify_rate": "Vectors a second that a worker verifies.",
    "multiply_rate": "Floating-point operations a second of a worker that indexes.",
    "workers": "Processes, a core each.",
    "tokens": "Of a text; 0: nothing is embedded.",
    "token_price": "Of 1 000 tokens.",
    "calls_rate": "Calls a second that Bedrock lets the account make.",
    "worker_price": "Of a worker for an hour.",
    "storage_price": "Of 10^9 bytes for a month.",
    "request_price": "Of 1 000 writing requests.",
}


def _quantities(command: _Command) -> _Command:
    for each in reversed(fields(Quantities)):
        command = click.option(
            f"--{each.name.replace('_', '-')}",
            each.name,
            type=int if isinstance(each.default, int) else float,
            default=each.default,
            show_default=True,
            help=_MEANINGS[each.name],
        )(command)
    return command


@group.command("plan")
@_quantities
@click.option("--json", "as_json", is_flag=True, help="One JSON object, in bytes and hours.")
def plan_command(as_json: bool, **given: Any) -> None:
    """Reckon what a large table takes: bytes, partitions, hours, cost. Nothing is read.

    Rates are of one worker, measured on the machine that is meant; prices and quotas are only
    examples: put in yours.
    """
    try:
        quantities = Quantities(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    found = plan(quantities)
    if as_json:
        click.echo(json.dumps({each.name: getattr(found, each.name) for each in fields(found)}))
        return
    for line in lines(quantities, found):
        click.echo(line)
