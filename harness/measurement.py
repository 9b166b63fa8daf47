"""Raw samples as they are kept: values of fresh processes, and what they were taken from.

File: gzip'd JSON, `samples/<measurement>.json.gz`. Versions: 1 (first).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import EvidenceError

__all__ = [
    "FILE_BYTES_MAX",
    "Bound",
    "Measurement",
    "Process",
    "Rival",
    "read_measurement",
    "write_measurement",
]

SCHEMA_VERSION = 1
FILE_BYTES_MAX = 128 * 2**20  # a damaged or hostile file must not fill the memory

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The samples of one fresh process, in the order they were taken.

    Attributes
    ----------
    control
        True: the process did everything but use the store.
    values
        In the row's unit.
    block
        Neighbouring samples that are drawn together when they are resampled.
    instruments
        Which instruments were on while it measured.
    facts
        Whatever explains the values; shown, never judged.
    """

    control: bool = False
    values: Sequence[float] = ()
    block: int = 1
    instruments: Mapping[str, bool] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"blocks of {self.block} samples, at least 1 wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The best value that this data or machine allows, and why."""

    value: float
    reason: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a bound of {self.value} proves nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """The same thing measured on another subject in the same run."""

    subject: str
    processes: Sequence[Process]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Everything that was measured under one name.

    Attributes
    ----------
    evidence
        Tier of the data: "live", "recorded", "emulated", "synthetic"; "real-time", "simulated".
    failure
        Why there are no values; an empty string if there are.
    wrong
        What the subject did wrong, whatever the values say: then the verdict is FAIL.
    unfinished
        What is missing that more of the same would bring: then the verdict is INCONCLUSIVE.
    """

    id: str
    unit: str
    evidence: str
    population: Mapping[str, Any]
    commit: str
    content_digest: str
    config_digest: str
    machine: str
    started: float
    ended: float
    processes: Sequence[Process] = ()
    beside: Sequence[Rival] = ()
    bound: Bound | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    wrong: str = ""
    unfinished: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.id):
            raise ValueError(f"{self.id!r} cannot be the name of a file")
        if not (math.isfinite(self.started) and self.started <= self.ended < math.inf):
            raise ValueError(f"measured from {self.started} to {self.ended}")


def write_measurement(folder: Path, measurement: Measurement) -> Path:
    """Write `samples/<id>.json.gz` below `folder`; equal measurements give equal bytes."""
    path = folder / "samples" / f"{measurement.id}.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": SCHEMA_VERSION, **asdict(measurement)}
    text = json.dumps(_without_nan(content), allow_nan=False, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 6, mtime=0))
    return path


def _without_nan(value: Any) -> Any:
    """NaN and infinities as words: JSON has no such numbers, and none may get lost."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value


def read_measurement(path: Path) -> Measurement:
    """Read what `write_measurement` wrote.

    Raises
    ------
    EvidenceError
        The file is missing, damaged, too large, or of another version.
    """
    try:
        with gzip.open(path) as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise EvidenceError(f"{path.name}: more than {FILE_BYTES_MAX} bytes")
        raw = json.loads(text)
        version = raw.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise EvidenceError(f"{path.name}: version {version}, want {SCHEMA_VERSION}")
        raw["processes"] = [_process(one) for one in raw["processes"]]
        raw["beside"] = [
            Rival(subject=one["subject"], processes=[_process(p) for p in one["processes"]])
            for one in raw["beside"]
        ]
        raw["bound"] = None if raw["bound"] is None else Bound(**raw["bound"])
        return Measurement(**raw)
    except EvidenceError:
        raise
    except FileNotFoundError as error:
        raise EvidenceError(f"{path.name}: the raw samples are missing") from error
    except (
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        zlib.error,
    ) as error:
        raise EvidenceError(f"{path.name}: damaged: {error!r}") from error


def _process(raw: Mapping[str, Any]) -> Process:
    values = [float(value) for value in raw["values"]]  # "nan" comes back as NaN
    return Process(**{**raw, "values": values})
