"""What a soak observed: segments of lines, each segment chained to the one before.

segment-0000.jsonl, segment-0001.jsonl, ...

The first line of a segment is its header: version, number, SHA-256 of the file before it, tier,
content digest, machine, SHA-256 of soak.json. Each further line is one observation. A file appears
with its header and is only ever appended to; a line without an end was being written when the
process was killed, and does not count.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.errors import EvidenceError

__all__ = [
    "GAP_S_MAX",
    "Header",
    "Observation",
    "SegmentWriter",
    "Soak",
    "counted_s",
    "read_soak",
]

SCHEMA_VERSION = 1
GAP_S_MAX = 10.0  # SPEC section 5: verified operations at least every 10 s, gaps never count
TIERS = ("real-time", "simulated")
_NAME = re.compile(r"segment-(\d{4})\.jsonl")
_LINE_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What all observations of a segment belong to.

    Attributes
    ----------
    previous
        SHA-256 of the file before, "" for the first.
    facts
        SHA-256 of soak.json: seed, configuration and injected fault are those of all segments. ""
        in segments from before this was written down, which are never evidence of newer code.
    """

    number: int
    previous: str
    tier: str
    content_digest: str
    machine: str
    facts: str = ""

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ValueError(f"tier {self.tier!r}; there are {', '.join(TIERS)}")
        if self.number < 0 or bool(self.previous) != bool(self.number):
            raise ValueError(f"segment {self.number} after {self.previous!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The state of a soak at one moment.

    Attributes
    ----------
    time_s
        On the soak's clock: monotonic, or injected in the tier "simulated".
    operations
        Verified since the observation before; 0 means that the time between does not count.
    mismatches
        Answers that were wrong since then.
    resources
        Sizes by name, where they were looked at: those of `slopes.BUDGETS` and others.
    latencies
        Lower quartiles, in seconds, of what the resident process did since they were last looked
        at: of its calls by kind, and of the references beside them (`latency.REFERENCES`).
    process
        Which start of the process the resources are of: a number that is new at each, unlike a
        process's own number, which a container may give again at each of its starts.
    kills, recovered
        Processes killed on purpose since the observation before, and restarts after a kill that
        verified all they had to.
    note
        What else happened, in words.
    """

    time_s: float
    operations: int
    mismatches: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, float] = field(default_factory=dict)
    process: int = 0
    kills: int = 0
    recovered: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        counts = (self.operations, self.mismatches, self.kills, self.recovered)
        if not math.isfinite(self.time_s) or min(counts) < 0:
            raise ValueError(f"{self} cannot have been observed")
        sizes = (*self.resources.values(), *self.latencies.values())
        if not all(math.isfinite(value) for value in sizes):
            raise ValueError(f"a resource of {dict(self.resources)} is not a finite number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """All segments of one soak, in order, and what is wrong with the chain."""

    headers: tuple[Header, ...]
    segments: tuple[tuple[Observation, ...], ...]
    faults: tuple[str, ...]

    @property
    def observations(self) -> int:
        """How many lines count as observations."""
        return sum(map(len, self.segments))

    @property
    def mismatches(self) -> int:
        """Wrong answers in all."""
        return sum(one.mismatches for segment in self.segments for one in segment)

    @property
    def kills(self) -> int:
        """Processes killed on purpose."""
        return sum(one.kills for segment in self.segments for one in segment)

    @property
    def recovered(self) -> int:
        """Of these, those whose successors verified all that they had to."""
        return sum(one.recovered for segment in self.segments for one in segment)

    @property
    def operations(self) -> int:
        """Verified in all."""
        return sum(one.operations for segment in self.segments for one in segment)

    def timeline(self) -> Iterator[tuple[float, Observation]]:
        """Every observation, on one clock that leaves out what does not count."""
        offset = 0.0
        for segment in self.segments:
            for place, one in enumerate(segment):
                if place:
                    offset += _counted(segment[place - 1], one)
                yield offset, one

    def series(self, resource: str) -> tuple[list[float], list[float]]:
        """Times and values of one resource, on the clock of `timeline`."""
        times: list[float] = []
        values: list[float] = []
        for time_s, one in self.timeline():
            if resource in one.resources and (not times or time_s > times[-1]):
                times.append(time_s)
                values.append(one.resources[resource])
        return times, values

    def longest(self, resource: str) -> tuple[list[float], list[float]]:
        """The part of `series` in which one process lived longest: no slope crosses a restart."""
        pieces: dict[int, tuple[list[float], list[float]]] = {}
        for time_s, one in self.timeline():
            times, values = pieces.setdefault(one.process, ([], []))
            if resource in one.resources and (not times or time_s > times[-1]):
                times.append(time_s)
                values.append(one.resources[resource])
        lengths = {name: piece[0][-1] - piece[0][0] for name, piece in pieces.items() if piece[0]}
        return pieces[max(lengths, key=lengths.__getitem__)] if lengths else ([], [])


def counted_s(segment: Sequence[Observation]) -> float:
    """Seconds of a segment that count: those between observations with work and without a gap."""
    return sum(itertools.starmap(_counted, itertools.pairwise(segment)))


def _counted(before: Observation, after: Observation) -> float:
    passed = after.time_s - before.time_s
    return passed if after.operations and passed <= GAP_S_MAX else 0.0


class SegmentWriter:
    """Appends observations to a new segment of a folder; a context manager.

    One process writes a folder; it begins a new segment each time it starts.
    """

    def __init__(
        self, folder: Path, *, tier: str, content_digest: str, machine: str, facts: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = _files(folder)
        previous = hashlib.sha256(files[-1].read_bytes()).hexdigest() if files else ""
        self.header = Header(
            number=len(files),
            previous=previous,
            tier=tier,
            content_digest=content_digest,
            machine=machine,
            facts=facts,
        )
        self.path = folder / f"segment-{self.header.number:04d}.jsonl"
        # a file without a header would be a fault for ever: a kill leaves it whole or unborn
        unborn = self.path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._descriptor = os.open(unborn, flags, 0o644)
        self._write({"schema_version": SCHEMA_VERSION, **asdict(self.header)})
        self.sync()
        if self.path.exists():  # a number is missing; nothing is ever written over
            raise FileExistsError(f"{self.path} is there already")
        unborn.rename(self.path)

    def append(self, observation: Observation) -> None:
        """One line, whole or cut at its end by a kill."""
        content = asdict(observation)
        self._write({name: value for name, value in content.items() if value or name == "time_s"})

    def _write(self, content: Mapping[str, Any]) -> None:
        os.write(self._descriptor, (json.dumps(content, allow_nan=False) + "\n").encode())

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("segment-*.jsonl") if _NAME.fullmatch(path.name))


def read_soak(folder: Path) -> Soak:
    """Read all segments of a folder; what is wrong with them is in `faults`, not raised.

    Faults: a number missing, a chain that does not hold, another tier, content, machine or
    soak.json than the first segment's, times that go back, a line that is none. Without a file
    there is no header and no observation, and no fault either: nothing was observed.

    Raises
    ------
    EvidenceError
        The folder cannot be read.
    """
    if not folder.is_dir():
        raise EvidenceError(f"{folder}: no soak there")
    headers: list[Header] = []
    segments: list[tuple[Observation, ...]] = []
    faults: list[str] = []
    previous = ""
    for place, path in enumerate(_files(folder)):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EvidenceError(f"{path.name}: {error}") from error
        header, observations, found = _parse(path.name, content)
        faults += found
        if header is not None:
            faults += _chain_faults(path.name, place, header, previous, headers)
            headers.append(header)
            segments.append(observations)
        previous = hashlib.sha256(content).hexdigest()
    return Soak(headers=tuple(headers), segments=tuple(segments), faults=tuple(faults))


def _chain_faults(
    name: str, place: int, header: Header, previous: str, before: Sequence[Header]
) -> list[str]:
    faults = []
    if header.number != place or name != f"segment-{place:04d}.jsonl":
        faults.append(f"{name}: segment {place} is missing")
    if header.previous != previous:
        faults.append(f"{name}: the file before it is not the one that it was chained to")
    return faults + [
        f"{name}: another {field_name.replace('_', ' ')} than the first segment"
        for field_name in ("tier", "content_digest", "machine", "facts")
        if before and getattr(before[0], field_name) != getattr(header, field_name)
    ]


def _parse(name: str, content: bytes) -> tuple[Header | None, tuple[Observation, ...], list[str]]:
    """Header, observations and faults of one segment; an unfinished last line is left out."""
    lines = content.split(b"\n")[:-1]
    try:
        raw = _object(lines[0] if lines else b"")
        version = raw.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise ValueError(f"version {version}, want {SCHEMA_VERSION}")
        header = Header(**raw)
    except (ValueError, TypeError) as error:
        return None, (), [f"{name}: no header: {error}"]
    found: list[Observation] = []
    faults = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            one = Observation(**{"operations": 0, **_object(line)})
        except (ValueError, TypeError) as error:
            faults.append(f"{name}, line {number}: {error}")
            continue
        if found and not one.time_s > found[-1].time_s:
            faults.append(f"{name}, line {number}: the clock did not go on")
            continue
        found.append(one)
    return header, tuple(found), faults


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > _LINE_BYTES_MAX:
        raise ValueError(f"a line of {len(line)} bytes")
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("want a JSON object")
    return content
