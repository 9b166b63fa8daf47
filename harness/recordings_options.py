"""The options by which a command of the harness is told which recorded vectors to take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.recordings import TITANS

__all__ = ["recordings_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def recordings_options(command: _Command) -> _Command:
    """`--recorded` and `--titan`, as `harness.recordings.recorded_folder` takes them."""
    titan = click.option(
        "--titan",
        type=click.Choice(TITANS),
        default="recorded",
        show_default=True,
        help="live: what harness record made on this machine. emulated: synthetic vectors.",
    )
    recorded = click.option(
        "--recorded",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of recorded Titan vectors.  [default: ../shared/data/titan if there]",
    )
    return recorded(titan(command))
