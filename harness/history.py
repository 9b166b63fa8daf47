"""What earlier runs measured: rows of runs in reports/, benchmarks in asv's results.

A series holds what is comparable: one machine, and one profile or environment. A value that was not
measured, or that was INVALID, has no point: nothing is put in its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asv.results import Results, iter_results_paths
from asv.util import UserError as AsvError

from harness.errors import EvidenceError
from harness.evidence import read_json

__all__ = ["PastRun", "Point", "Series", "asv_history", "newest", "past_runs", "run_history"]

_JUDGED = {"PASS", "FAIL", "INCONCLUSIVE", "INFEASIBLE"}
_DAMAGED = (EvidenceError, KeyError, TypeError, ValueError, AttributeError)
_UNITS = {"seconds": "s", "bytes": "B"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One stored value.

    Attributes
    ----------
    when
        Seconds since the epoch: when the run began, or the date of the commit.
    low, high
        Bounds of the value, where there are any.
    """

    when: float
    commit: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One quantity on one machine, in order of time.

    Attributes
    ----------
    context
        What else it belongs to: a profile, or asv's environment.
    unit
        "s", "B", "1", "count", "1/s", or as a benchmark names it.
    """

    name: str
    machine: str
    context: str
    unit: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """What one run of the gates decided.

    Attributes
    ----------
    folder
        Its name below the folder of runs.
    label
        The decision in words: "CI HOLD, not a release verdict".
    open_gates
        Gates that decide and are neither PASS nor WAIVED, each with its verdict.
    """

    folder: str
    started: str
    commit: str
    dirty: bool
    machine: str
    profile: str
    decision: str
    label: str
    open_gates: tuple[tuple[str, str], ...]


def past_runs(reports: Path) -> list[PastRun]:
    """Every whole run below a folder, the newest first; those of `run_history`'s list of unread
    ones are left out.
    """
    found = []
    for folder in _folders(reports):
        try:
            found.append(_past_run(folder))
        except _DAMAGED:
            continue
    return sorted(found, key=lambda run: (run.started, run.folder), reverse=True)


def _past_run(folder: Path) -> PastRun:
    manifest = read_json(folder / "manifest.json")
    verdicts = read_json(folder / "verdicts.json")
    run, decision = verdicts["run"], verdicts["decision"]
    return PastRun(
        folder=folder.name,
        started=f"{_moment(run['started']).astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        commit=str(run["commit"]),
        dirty=bool(manifest.get("dirty")),
        machine=str(manifest["machine"]["id"]),
        profile=str(run["profile"]),
        decision=str(decision["verdict"]),
        label=str(decision["label"]),
        open_gates=tuple(
            (str(gate["id"]), str(gate["verdict"]))
            for gate in verdicts["gates"]
            if gate["blocking"] and gate["verdict"] not in ("PASS", "WAIVED")
        ),
    )


def _folders(reports: Path) -> list[Path]:
    """Folders below one that look like runs; the link `latest` is none."""
    return [
        folder
        for folder in (sorted(reports.glob("*/")) if reports.is_dir() else [])
        if not folder.is_symlink() and (folder / "verdicts.json").is_file()
    ]


def run_history(reports: Path) -> tuple[list[Series], list[str]]:
    """Series of every row of the runs below a folder, and which runs could not be read.

    A run that is damaged anywhere is left out as a whole.
    """
    found: dict[tuple[str, ...], list[Point]] = {}
    unread = []
    for folder in _folders(reports):
        try:
            manifest = read_json(folder / "manifest.json")
            verdicts = read_json(folder / "verdicts.json")
            rows = list(_rows(verdicts, str(manifest["machine"]["id"])))
        except _DAMAGED as error:
            unread.append(f"{folder.name}: {_told(error)}")
            continue
        for key, point in rows:
            found.setdefault(key, []).append(point)
    return _in_order(found), unread


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, EvidenceError | ValueError) else repr(error)


def _rows(verdicts: dict[str, Any], machine: str) -> Iterator[tuple[tuple[str, ...], Point]]:
    """The key of a series and its point, for each row that was measured."""
    run = verdicts["run"]
    began = _moment(run["started"]).timestamp()
    for gate in verdicts["gates"]:
        for row in gate["rows"]:
            if row["verdict"] in _JUDGED and row["estimate"] is not None:
                names = (row["id"], machine, run["profile"], row["unit"], run["commit"])
                if not all(isinstance(name, str) for name in names):
                    raise ValueError(f"a row has no name where it needs one: {names}")
                point = Point(
                    when=began,
                    commit=run["commit"],
                    value=_number(row["estimate"]),
                    low=None if row["low"] is None else _number(row["low"]),
                    high=None if row["high"] is None else _number(row["high"]),
                )
                yield names[:4], point


def _moment(text: str) -> datetime:
    """A time in ISO 8601; one without a zone is UTC."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def asv_history(results: Path) -> tuple[list[Series], list[str]]:
    """Series of every benchmark with each of its parameters in asv's results, and what is unread.

    The bounds are asv's own: of its 99 % interval of the median.
    """
    found: dict[tuple[str, ...], list[Point]] = {}
    unread: list[str] = []
    if not results.is_dir():
        return [], []
    units: dict[str, str] = {}
    try:
        units = _asv_units(results)
    except _DAMAGED as error:
        unread.append(_told(error))
    for folder, file, named in iter_results_paths(str(results)):
        try:
            result = Results.load(str(Path(folder, file)), machine_name=named)
            rows = list(_asv_rows(result, units))
        except (AsvError, *_DAMAGED) as error:
            unread.append(f"{file}: {error if isinstance(error, AsvError) else _told(error)}")
            continue
        for key, point in rows:
            found.setdefault(key, []).append(point)
    return _in_order(found), unread


def _asv_rows(
    result: Results, units: dict[str, str]
) -> Iterator[tuple[tuple[str, str, str, str], Point]]:
    machine = str(result.params.get("machine", "unknown machine"))
    for name in result.get_all_result_keys():
        context = f"{result.env_name}, version {result.benchmark_version.get(name)}"
        for label, point in _asv_points(result, name):
            yield (label, machine, context, units.get(name, "")), point


def _asv_units(results: Path) -> dict[str, str]:
    path = results / "benchmarks.json"
    if not path.is_file():
        return {}
    known = read_json(path)
    units = {
        name: str(entry["unit"])
        for name, entry in known.items()
        if isinstance(entry, dict) and "unit" in entry
    }
    return {name: _UNITS.get(unit, unit) for name, unit in units.items()}


def _asv_points(result: Results, name: str) -> Iterator[tuple[str, Point]]:
    """A label and a point for each combination of parameters that has a value."""
    parameters = result.get_result_params(name)
    labels = _combinations(parameters)
    values = result.get_result_value(name, parameters)
    stats = result.get_result_stats(name, parameters)
    for label, value, stat in zip(labels, values, stats, strict=True):
        if value is None or not math.isfinite(value):
            continue
        stat = stat or {}
        yield (
            f"{name}{label}",
            Point(
                when=result.date / 1000,
                commit=result.commit_hash,
                value=float(value),
                low=_finite(stat.get("ci_99_a")),
                high=_finite(stat.get("ci_99_b")),
            ),
        )


def _combinations(parameters: Iterable[Iterable[str]]) -> list[str]:
    labels = [""]
    for one in parameters:
        labels = [f"{label}-{value}" for label in labels for value in one]
    return [label.replace("'", "") for label in labels]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _in_order(found: dict[tuple[str, ...], list[Point]]) -> list[Series]:
    return [
        Series(
            name=name,
            machine=machine,
            context=context,
            unit=unit,
            points=tuple(sorted(points, key=lambda point: point.when)),
        )
        for (name, machine, context, unit), points in sorted(found.items())
    ]


def newest(series: Iterable[Series], most: int) -> list[Series]:
    """The same with at most the `most` newest points each."""
    return [replace(one, points=one.points[-most:]) for one in series]
