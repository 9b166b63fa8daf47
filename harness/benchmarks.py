"""What pytest-benchmark measured, judged: percentiles and limits, and nothing missing.

The plugin has no percentiles, one limit for all tests, and passes a benchmark that its baseline
does not know. So a benchmark notes in its `extra_info` what it promises (`note_limit`), and the
JSON that the plugin writes is judged here by the rule of the gates. It comes from one process on
one machine at one time: a first look, never evidence for a release (that is `harness gate`), and
no comparison of two builds (that is `harness compare`). Pure but for reading the files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.gates import Verdict, compare
from harness.measurement import Process
from harness.statistics import Interval, interval_of
from harness.targets import load_targets

__all__ = [
    "BenchmarkRun",
    "Judged",
    "absent_names",
    "exit_code_of",
    "judge_run",
    "lost_limits",
    "note_limit",
    "read_run",
]

_LIMITS = "limits"
_CONFIDENCE = 0.95
_BLOCKS = 20  # of neighbouring samples, drawn together: the same disturbance meets neighbours
_SAMPLES_MIN = {"p99": 1_000}  # SPEC section 2; of fewer it is the maximum
_FEWEST = 5
_FIELDS = frozenset(
    ("what", "target", "statistic", "comparator", "limit", "unit", "operations", "values")
)
_SAME = ("what", "statistic", "unit")  # by which a limit is found again in another run


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """One file of pytest-benchmark.

    Attributes
    ----------
    benchmarks
        By full name, which has the test's file and its parameters.
    """

    path: Path
    machine: str
    commit: str
    benchmarks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One limit of one benchmark; `interval` is None where there is nothing to judge."""

    benchmark: str
    what: str
    statistic: str
    unit: str
    comparator: str
    limit: float
    interval: Interval | None
    verdict: Verdict
    reason: str


def note_limit(
    extra_info: dict[str, Any],
    *,
    target: str | None = None,
    what: str = "time",
    statistic: str = "p99",
    comparator: str = "<",
    limit: float = math.nan,
    unit: str = "s",
    operations: int = 1,
    values: Sequence[float] | None = None,
) -> None:
    """Write down what a benchmark promises, in its `extra_info`.

    Parameters
    ----------
    target
        A row of targets.toml, whose statistic, comparator, limit and unit are then taken.
    operations
        What one timed call does this many times: times are divided by it.
    values
        What is judged where it is not the plugin's times; with statistic "mean" or "sum".

    Raises
    ------
    ValueError
        No limit, or a target that does not exist.
    """
    if target is not None:
        row = load_targets().rows().get(target)
        if row is None:
            raise ValueError(f"no row {target!r} in targets.toml")
        statistic, comparator, limit, unit = row.statistic, row.comparator, row.limit, row.unit
    if not math.isfinite(limit):
        raise ValueError(f"a limit of {limit} decides nothing")
    extra_info.setdefault(_LIMITS, []).append(
        {
            "what": what,
            "target": target,
            "statistic": statistic,
            "comparator": comparator,
            "limit": limit,
            "unit": unit,
            "operations": operations,
            "values": None if values is None else [float(value) for value in values],
        }
    )


def read_run(path: Path) -> BenchmarkRun:
    """Read what `pytest --benchmark-json` wrote; raises UsageError if it is anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        machine, commit = document["machine_info"], document["commit_info"]
        found = {one["fullname"]: one for one in document["benchmarks"]}
        if len(found) != len(document["benchmarks"]):
            raise ValueError("a benchmark comes twice")
        for one in found.values():
            for limit in _limits_of(one):
                if not limit.keys() >= _FIELDS:
                    raise ValueError(f"{one['fullname']}: a limit that `note_limit` did not write")
        cpu = machine["cpu"].get("brand_raw", "unknown CPU")
        return BenchmarkRun(
            path=path,
            machine=f"{machine['node']}, {cpu}, Python {machine['python_version']}",
            commit=str(commit.get("id")) + ("-dirty" if commit.get("dirty") else ""),
            benchmarks=found,
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UsageError(f"{path}: not a file of pytest --benchmark-json: {error!r}") from error


def absent_names(run: BenchmarkRun, baseline: BenchmarkRun) -> tuple[list[str], list[str]]:
    """Benchmarks that the baseline lacks, and those that this run lacks; sorted.

    One that was renamed is in both lists. Neither may be passed over: the plugin compares only
    what both files have.
    """
    here, there = set(run.benchmarks), set(baseline.benchmarks)
    return sorted(here - there), sorted(there - here)


def _limits_of(benchmark: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = benchmark.get("extra_info", {}).get(_LIMITS, [])
    return found


def lost_limits(run: BenchmarkRun, baseline: BenchmarkRun) -> list[str]:
    """Limits of the baseline that this run no longer holds its benchmarks to, a sentence each.

    A benchmark that both have may have lost its limit, or have a looser one in its place: then it
    passes without having become better. One that is stricter, or new, is none of these.
    """
    lost = []
    for name in sorted(run.benchmarks.keys() & baseline.benchmarks.keys()):
        here = list(_limits_of(run.benchmarks[name]))
        for limit in _limits_of(baseline.benchmarks[name]):
            alike = [one for one in here if all(one[key] == limit[key] for key in _SAME)]
            kept = [one for one in alike if _is_as_strict(one, limit)]
            told = f"{limit['what']}, {limit['statistic']} {limit['comparator']} {limit['limit']:g}"
            if kept:
                here.remove(kept[0])
            elif alike:
                now = f"{alike[0]['comparator']} {alike[0]['limit']:g} {limit['unit']}"
                lost.append(f"limit loosened: {name}: {told} {limit['unit']}, now {now}")
            else:
                lost.append(f"limit lost: {name}: {told} {limit['unit']}")
    return lost


def _is_as_strict(one: Mapping[str, Any], limit: Mapping[str, Any]) -> bool:
    if one["comparator"] != limit["comparator"]:
        return False
    now, before = float(one["limit"]), float(limit["limit"])
    if str(limit["comparator"]).startswith("<"):
        return now <= before
    return now >= before if str(limit["comparator"]).startswith(">") else now == before


def judge_run(run: BenchmarkRun) -> list[Judged]:
    """Every limit of every benchmark, in the order of the file."""
    return [
        _judge(name, benchmark, limit)
        for name, benchmark in run.benchmarks.items()
        for limit in _limits_of(benchmark)
    ]


def _judge(name: str, benchmark: Mapping[str, Any], limit: Mapping[str, Any]) -> Judged:
    interval, fault = _interval(benchmark, limit)
    if interval is None:
        verdict = Verdict.INVALID
    else:
        verdict = compare(limit["comparator"], limit["limit"], interval)
    return Judged(
        benchmark=name,
        what=limit["what"],
        statistic=limit["statistic"],
        unit=limit["unit"],
        comparator=limit["comparator"],
        limit=limit["limit"],
        interval=interval,
        verdict=verdict,
        reason=fault,
    )


def _interval(
    benchmark: Mapping[str, Any], limit: Mapping[str, Any]
) -> tuple[Interval | None, str]:
    """The statistic with its bounds, or why there is none."""
    values, statistic = limit["values"], limit["statistic"]
    if values is None:
        data = (benchmark.get("stats") or {}).get("data") or []
        values = [value / limit["operations"] for value in data]
        wanted = _SAMPLES_MIN.get(statistic, _FEWEST)
        if len(values) < wanted:
            return None, f"{len(values)} samples, {wanted} wanted"
    is_count = statistic == "sum" or (limit["values"] is not None and len(values) == 1)
    resample = "none" if is_count else "process"
    process = Process(values=values, block=max(1, len(values) // _BLOCKS))
    try:
        found = interval_of([process], statistic, confidence=_CONFIDENCE, resample=resample)
    except ValueError as error:
        return None, str(error)
    return found, ""


def exit_code_of(judged: Sequence[Judged], absent: Sequence[str]) -> int:
    """1 if a limit is missed or anything is absent, 3 if something is not known, else 0.

    No limit at all is not known: an empty file promises nothing.
    """
    if absent or any(one.verdict is Verdict.FAIL for one in judged):
        return 1
    if not judged or any(one.verdict is not Verdict.PASS for one in judged):
        return 3
    return 0
