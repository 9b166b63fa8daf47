"""Where the A/A rounds of a machine are kept, and which of them count for a comparison.

Below the folder, one folder a machine (harness.environment.machine_id):

sessions/*.jsonl   a header (code, bodies, data), then the raw rounds of one `harness calibrate`
compares.jsonl     what real A/A comparisons said of each benchmark in their first run

A round counts for a benchmark whose body and data are still the same, if it was made as rounds are
made today; a real comparison, if it was decided by today's rule too. Which code it was that was
equal on both sides does not matter: rounds tell of the machine and of the benchmark.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.compare.calibrate import Rate, Standing, assess
from harness.compare.decide import RULE
from harness.compare.rawfile import append_line, as_line, log_ratios, read_lines, round_of
from harness.compare.rounds import METHOD, Round

__all__ = [
    "Calibration",
    "Session",
    "calibration_of",
    "load_calibration",
    "record_compare",
    "set_aside",
    "usual_calibrations",
]

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a comparison relies on.

    Attributes
    ----------
    newest, oldest
        When its newest and its oldest round were made, seconds since 1970; None without rounds.
    rounds, real
        By benchmark: log ratios in order; real A/A comparisons and how many said REGRESSED.
    """

    machine: str
    newest: float | None
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    real: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    oldest: float | None = None

    def standing(self, name: str) -> Standing:
        """May this benchmark decide?"""
        false, made = self.real.get(name, (0, 0))
        return assess(name, self.rounds.get(name, ()), Rate(count=false, of=made))

    def as_json(self) -> dict[str, Any]:
        """All that `calibration_of` needs to make it again."""
        return {
            "schema_version": _VERSION,
            "machine": self.machine,
            "newest": self.newest,
            "oldest": self.oldest,
            "rounds": {name: list(values) for name, values in self.rounds.items()},
            "real": {name: list(counts) for name, counts in self.real.items()},
        }


def calibration_of(content: Mapping[str, Any]) -> Calibration:
    """From the JSON of `Calibration.as_json`; raises KeyError, TypeError or ValueError."""
    if content["schema_version"] != _VERSION:
        raise ValueError(f"version {content['schema_version']}, want {_VERSION}")
    return Calibration(
        machine=str(content["machine"]),
        newest=None if content["newest"] is None else float(content["newest"]),
        oldest=None if content.get("oldest") is None else float(content["oldest"]),
        rounds={name: [float(one) for one in found] for name, found in content["rounds"].items()},
        real={name: (int(false), int(made)) for name, (false, made) in content["real"].items()},
    )


def usual_calibrations() -> Path:
    """Of this user, for all checkouts: `$XDG_STATE_HOME/titanstore-harness/calibrations`."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "titanstore-harness" / "calibrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One `harness calibrate` under way: rounds are appended as they come."""

    path: Path

    @classmethod
    def begin(cls, folder: Path, machine: str, name: str, header: Mapping[str, Any]) -> Session:
        """Make its file; `header` holds at least "bodies" and "data"."""
        path = folder / machine / "sessions" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        first = {"schema_version": _VERSION, "machine": machine, "method": METHOD}
        append_line(path, {**first, **header})
        return cls(path=path)

    def add(self, one: Round) -> None:
        """Keep a round."""
        append_line(self.path, as_line(one))


def record_compare(
    folder: Path,
    machine: str,
    *,
    when: float,
    run: str,
    bodies: Mapping[str, str],
    data: str,
    verdicts: Mapping[str, str],
) -> None:
    """Add what a real A/A comparison said in its first run."""
    path = folder / machine / "compares.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"when": when, "run": run, "data": data, "bodies": bodies, "verdicts": verdicts}
    made = {"method": METHOD, "rule": asdict(RULE)}
    append_line(path, {"schema_version": _VERSION, **made, **line})


def set_aside(folder: Path, machine: str, when: str) -> Path | None:
    """Let nothing count that is known of a machine, but keep it; returns where, if there was any.

    Parameters
    ----------
    when
        Makes the name of the place unique.
    """
    place = folder / f"{machine}-until-{when}"
    if not (folder / machine).is_dir():
        return None
    (folder / machine).rename(place)
    return place


def _is_of_today(line: Mapping[str, Any]) -> bool:
    """Made by this method and, where a rule was applied, by this rule."""
    rule = _as_json(asdict(RULE))
    return bool(line.get("method") == METHOD and line.get("rule", rule) == rule)


def _as_json(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(one) if isinstance(one, tuple) else one for name, one in rule.items()}


def load_calibration(
    folder: Path, machine: str, bodies: Mapping[str, str], data: str
) -> Calibration:
    """What counts on this machine for benchmarks with these bodies and this data.

    Parameters
    ----------
    bodies
        Digest by benchmark, parameters included.

    Notes
    -----
    Lines that are damaged are left out: they are then missing, and what is missing cannot make a
    benchmark calibrated.
    """
    rounds: dict[str, list[float]] = {}
    times: list[float] = []
    for path in sorted((folder / machine / "sessions").glob("*.jsonl")):
        header, *lines = read_lines(path) or [{}]
        if header.get("schema_version") != _VERSION or header.get("data") != data:
            continue
        if not _is_of_today(header):
            continue
        known: Mapping[str, str] = header.get("bodies", {})
        names = [name for name, body in bodies.items() if known.get(name) == body]
        found = [round_of(line) for line in lines if "samples" in line]
        for name in names:
            rounds.setdefault(name, []).extend(log_ratios(found, name))
        times += [one.started for one in found if any(name in one.samples for name in names)]
    return Calibration(
        machine=machine,
        newest=max(times, default=None),
        oldest=min(times, default=None),
        rounds=rounds,
        real=_real(folder / machine, bodies, data),
    )


def _real(folder: Path, bodies: Mapping[str, str], data: str) -> dict[str, tuple[int, int]]:
    path = folder / "compares.jsonl"
    found: dict[str, tuple[int, int]] = {}
    for line in read_lines(path) if path.exists() else ():
        if line.get("schema_version") != _VERSION or line.get("data") != data:
            continue
        if not _is_of_today(line):
            continue
        for name, verdict in line["verdicts"].items():
            if name in bodies and line["bodies"].get(name) == bodies[name]:
                false, made = found.get(name, (0, 0))
                found[name] = (false + (verdict == "REGRESSED"), made + 1)
    return found
