"""Where Titan's vectors of a run come from: this machine's own recordings, others', or none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal, get_args

from fixtures.titan.recorded import usual_folder
from harness.environment import machine, machine_id, project_root
from harness.errors import UsageError

__all__ = ["TITANS", "Titan", "age_of", "live_folder", "recorded_folder"]

Titan = Literal["live", "recorded", "emulated"]
TITANS: tuple[Titan, ...] = get_args(Titan)


def live_folder() -> Path:
    """Where `harness record` keeps what it recorded unless another folder is named."""
    return project_root() / "reports" / "live"


def recorded_folder(titan: Titan, given: Path | None) -> Path | None:
    """The folder of vectors that a command is to use; None for emulated ones alone.

    Parameters
    ----------
    titan
        "live": recordings that this machine made; "recorded": those of `given` or of the usual
        folder; "emulated": none.
    given
        A folder that was named by --recorded; with "live", of recordings kept elsewhere.

    Raises
    ------
    UsageError
        "live" without recordings, or with those of another machine; "emulated" with a folder.
    """
    if titan == "emulated":
        if given is not None:
            raise UsageError("--titan=emulated uses no recordings: leave --recorded out")
        return None
    if titan == "recorded":
        return given or usual_folder()
    folder = given or live_folder()
    entries = _entries(folder)
    here = machine_id(machine())
    foreign = sorted({name for entry in entries for name in entry["machine"]} - {here})
    if foreign:
        raise UsageError(
            f"{folder} was recorded on machine {', '.join(foreign)}, this is {here}: that is "
            "--titan=recorded"
        )
    return folder


def age_of(folder: Path) -> str:
    """When live recordings were made, for a run's manifest: "2026-11-28, 0.4 days ago"."""
    newest = max(float(entry["recorded_s"][1]) for entry in _entries(folder))
    day = time.strftime("%Y-%m-%d", time.gmtime(newest))
    return f"{day}, {(time.time() - newest) / 86_400:.1f} days ago"


def _entries(folder: Path) -> list[dict[str, Any]]:
    hint = "make some: harness record --live --model ... --budget-usd ..."
    try:
        entries = json.loads((folder / "provenance.json").read_text())
        is_live = bool(entries) and all(
            entry.get("tier") == "live" and entry["machine"] and entry["recorded_s"]
            for entry in entries
        )
    except FileNotFoundError as error:
        raise UsageError(f"no live recordings in {folder}; {hint}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder}: provenance.json cannot be used: {error}") from error
    if not is_live and any(entry.get("tier") == "elsewhere" for entry in entries):
        raise UsageError(f"{folder} has answers that Bedrock itself did not give (--endpoint-url)")
    if not is_live:
        raise UsageError(f"{folder} does not hold recordings of harness record; {hint}")
    return list(entries)
