"""What a soak is: written once when it begins, read whenever it goes on or is judged."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import EvidenceError, UsageError
from harness.evidence import read_json, write_json
from harness.soak.mix import KILLS_EVERY_S
from harness.soak.space import Space
from harness.soak.values import Values

__all__ = [
    "FILE",
    "Facts",
    "begin_soak",
    "facts_digest",
    "newest_soak",
    "read_facts",
    "soaks_below",
]

SCHEMA_VERSION = 1
FILE = "soak.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Content of soak.json.

    Attributes
    ----------
    tier
        "real-time" or "simulated".
    settings, config_digest
        Of the resident process; the others draw theirs.
    sample_s
        How often the resident looks at itself, on the soak's clock.
    instruments
        Which were on when it began; its processes inherit them.
    rate_share
        1, or less for a soak that does fewer operations: for trials only.
    """

    tier: str
    seed: int
    hours: float
    commit: str
    content_digest: str
    machine: str
    settings: Mapping[str, Any]
    config_digest: str
    pool_digest: str
    is_recorded: bool
    command: Sequence[str]
    started: float
    instruments: Mapping[str, bool] = field(default_factory=environment.instruments)
    space: Mapping[str, int] = field(default_factory=lambda: asdict(Space()))
    inject: str = ""
    sample_s: float = 60.0
    kills_every_s: float = KILLS_EVERY_S
    rate_share: float = 1.0


def begin_soak(folder: Path, values: Values, **facts: Any) -> Facts:
    """Make a new soak's folder and describe it.

    Raises
    ------
    UsageError
        There is something in the folder already, or it would change what the soak is of.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; go on with it by `harness soak resume {folder}`")
    folder.mkdir(parents=True, exist_ok=True)
    root = environment.project_root()
    code = environment.code_of(root)
    made = Facts(
        commit=code.commit,
        content_digest=code.content_digest,
        machine=environment.machine_id(environment.machine()),
        pool_digest=values.digest(),
        started=time.time(),
        **facts,
    )
    values.save(folder / "pool")
    for name in ("killed", "resident", "logs", "segments"):
        (folder / name).mkdir()
    write_json(folder / FILE, {"schema_version": SCHEMA_VERSION, **asdict(made)})
    if environment.code_of(root).content_digest != made.content_digest:
        raise UsageError(
            f"{folder} lies in the checkout and changes its content (or something else just did): "
            "choose one below reports/soaks or outside"
        )
    return made


def read_facts(folder: Path) -> Facts:
    """Read soak.json; raises EvidenceError."""
    raw = read_json(folder / FILE)
    version = raw.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise EvidenceError(f"{FILE}: version {version}, want {SCHEMA_VERSION}")
    try:
        return Facts(**raw)
    except TypeError as error:
        raise EvidenceError(f"{FILE} is damaged: {error}") from error


def facts_digest(folder: Path) -> str:
    """SHA-256 of soak.json, which each segment names; raises EvidenceError."""
    try:
        return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise EvidenceError(f"{folder / FILE}: {error}") from error


def soaks_below(folder: Path) -> list[Path]:
    """Folders of soaks below a folder, the newest last."""
    found = []
    for path in folder.glob(f"*/{FILE}"):
        try:
            found.append((float(json.loads(path.read_text())["started"]), path.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # one that was never begun
    return [path for _, path in sorted(found)]


def newest_soak(folder: Path) -> Path:
    """The newest of them; raises UsageError if there is none."""
    found = soaks_below(folder)
    if not found:
        raise UsageError(f"no soak in {folder}; begin one with `harness soak run`")
    return found[-1]
