"""`titanstore serve-metrics`, `titanstore alerts`, `titanstore dashboard`."""

from __future__ import annotations

import math
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from titanstore.errors import CorruptionError, StoreError

if TYPE_CHECKING:
    from socketserver import BaseServer

_MIB = 2**20
_HOUR_S = 3600.0
_HOURS_MAX = 87_600  # ten years; a thread cannot wait much longer


class _Refusal(click.ClickException):
    """The command could not be carried out."""

    exit_code = 2


class _Damage(_Refusal):
    """The store is so damaged that it could not."""

    exit_code = 1


def finite(context: click.Context, option: click.Parameter, value: float) -> float:
    """A number that ranges can be asked of: NaN is in every one of click's."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no length of time", context, option)
    return value


@click.command("serve-metrics")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9464,
    show_default=True,
    help="Port to listen at; 0: any free one.",
)
@click.option(
    "--free-mib",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Not ready with less than this free on the store's file system, in MiB.",
)
@click.option(
    "--check-hours",
    type=click.FloatRange(min=0, max=_HOURS_MAX),
    callback=finite,
    default=24.0,
    show_default=True,
    help="Check every vector at the start and then so often; 0: never.",
)
def serve_metrics(path: Path, host: str, port: int, free_mib: int, check_hours: float) -> None:
    """Serve /metrics, /healthz and /readyz of the store at PATH over HTTP, until Ctrl-C or SIGTERM.

    A process of its own: it opens the store for reading at each scrape, takes no lock, and writes
    nothing. It sees the processes of its own user; as root, everybody's. There is no encryption and
    no password: listen at other addresses than the default only behind something that has both.
    """
    try:
        from titanstore.exporter.server import MetricsServer
        from titanstore.exporter.watcher import Watcher
    except ImportError as error:
        raise _Refusal(f"{error}: pip install 'titanstore[metrics]'") from error
    try:
        watcher = Watcher(path, free_bytes_min=free_mib * _MIB, check_s=check_hours * _HOUR_S)
    except StoreError as error:
        refusal = _Damage if isinstance(error, CorruptionError) else _Refusal
        raise refusal(f"{error} [{error.kind}]") from error
    try:
        try:
            server = MetricsServer(host, port, watcher)
        except OSError as error:
            raise _Refusal(f"cannot listen at {host}, port {port}: {error.strerror}") from error
        with server:
            shown = f"[{host}]" if ":" in host else host
            click.echo(f"serving http://{shown}:{server.server_port}/metrics, /healthz, /readyz")
            _serve(server)
    finally:
        watcher.close()


def _serve(server: BaseServer) -> None:
    def end(*_: object) -> None:
        # in a thread: it waits for the loop that this signal interrupts
        threading.Thread(target=server.shutdown).start()

    before = signal.signal(signal.SIGTERM, end)
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
def alerts() -> None:
    """Print alert rules for Prometheus."""
    click.echo(packaged("alerts.yaml"), nl=False)


@click.command()
def dashboard() -> None:
    """Print a dashboard for Grafana, to be imported there."""
    click.echo(packaged("dashboard.json"), nl=False)


def packaged(name: str) -> str:
    """A file that comes with this package."""
    from importlib.resources import files  # 10 ms, which the other commands need not pay

    return files("titanstore.exporter").joinpath(name).read_text(encoding="utf-8")
