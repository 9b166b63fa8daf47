"""Does a quantity grow with the number of vectors, and how fast? Pure: numbers in, verdicts out.

The exponent x of N^x is the slope of log(quantity) over log(N), by least squares over the sizes,
one median each, with a two-sided 95 % interval (Student's t). A quantity made of a large constant
and a small part that grows with N has a small exponent over all sizes: so the exponent of the last
decade alone is held against the same tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from harness.gates import Verdict
from harness.memory.findings import Line, fit

__all__ = ["QUANTITIES", "TOLERANCE", "Growth", "Quantity", "exit_code_of", "judge", "judge_all"]

# From 10^3 to 10^6 or 10^7 vectors a logarithm doubles, or little more: that is N^0.1
TOLERANCE = 0.1
_DECADE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One thing that is measured at each size.

    Attributes
    ----------
    source
        Name of its samples in the facts of a process.
    share
        Quantile of the samples of a process.
    expected
        The exponent that is promised: 0, or 1 for what has to look at every vector.
    """

    name: str
    title: str
    unit: str
    source: str
    group: str
    share: float = 0.5
    expected: int = 0


_LATENCY, _MEMORY, _BYTES = "latency", "memory", "bytes"
_WORK, _PROCESSOR = "work", "processor"
_LONG = (
    ("first_open", "first open to write of a boot"),
    ("check", "check"),
    ("compact", "maintain, all segments compacted"),
)


def _quantity(
    name: str,
    title: str,
    unit: str,
    source: str,
    group: str,
    *,
    share: float = 0.5,
    expected: int = 0,
) -> Quantity:
    return Quantity(
        name=name,
        title=title,
        unit=unit,
        source=source,
        group=group,
        share=share,
        expected=expected,
    )


QUANTITIES = (
    _quantity("get_p50", "get, p50", "s", "get_s", _LATENCY),
    _quantity("get_p99", "get, p99", "s", "get_s", _LATENCY, share=0.99),
    _quantity("open", "open to read", "s", "open_s", _LATENCY),
    _quantity("put_p50", "put, a vector, p50", "s", "put_s", _LATENCY),
    _quantity("update_p50", "update of a document, p50", "s", "update_s", _LATENCY),
    _quantity("update_p99", "update of a document, p99", "s", "update_s", _LATENCY, share=0.99),
    _quantity("memory", "anonymous memory of a process at work", "B", "memory_b", _MEMORY),
    *(
        _quantity(f"{name}_memory", f"anonymous memory, peak: {title}", "B", f"{name}_b", _MEMORY)
        for name, title in _LONG
    ),
    _quantity("catalog", "catalog, a vector", "B", "catalog_each", _BYTES),
    _quantity("stored", "everything on the disk, a vector", "B", "stored_each", _BYTES),
    _quantity("search", "exact search, p50", "s", "search_s", _WORK, expected=1),
    *(_quantity(name, title, "s", f"{name}_s", _WORK, expected=1) for name, title in _LONG),
    *(
        _quantity(
            f"{name}_cpu", f"{title}, processor", "s", f"{name}_cpu_s", _PROCESSOR, expected=1
        )
        for name, title in _LONG
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How one quantity grows.

    Attributes
    ----------
    points
        Size and median over the processes, rising.
    line
        In logarithms; None with fewer than 3 sizes, or a value that has no logarithm.
    last
        Exponent of the last decade; None with less than a decade.
    """

    quantity: Quantity
    points: tuple[tuple[int, float], ...]
    line: Line | None
    last: float | None
    verdict: Verdict
    words: str


def points_of(quantity: Quantity, sizes: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Median over processes of the quantile of each process's samples, at each size."""
    found = []
    for size in sizes:
        values = [
            _quantile(_samples(process, quantity.source, int(size["vectors"])), quantity.share)
            for process in size["processes"]
        ]
        known = [value for value in values if value is not None]
        if known:
            found.append((int(size["vectors"]), float(median(known))))
    return found


def _samples(process: Mapping[str, Any], source: str, vectors: int) -> Sequence[float]:
    if source in process:
        return list(process[source])
    if source == "catalog_each" and "space" in process:
        return [process["rooms"]["catalog (LMDB)"]["bytes"] / vectors]
    if source == "stored_each" and "rooms" in process:
        return [sum(room["bytes"] for room in process["rooms"].values()) / vectors]
    return []


def _quantile(samples: Sequence[float], share: float) -> float | None:
    if not samples:
        return None
    return float(np.quantile(np.asarray(samples, np.float64), share, method="higher"))


def judge_all(sizes: Sequence[Mapping[str, Any]]) -> list[Growth]:
    """Each quantity of `QUANTITIES` over the sizes of a scale.json."""
    return [judge(quantity, points_of(quantity, sizes)) for quantity in QUANTITIES]


def judge(quantity: Quantity, points: Sequence[tuple[int, float]]) -> Growth:
    """PASS: the interval lies below the promised exponent plus the tolerance, and so does the last
    decade; FAIL: both lie above; INCONCLUSIVE between, and where the two disagree; NOT RUN without
    three sizes.
    """
    line = _line(points)
    last = _last_decade(points)
    verdict, words = _verdict(quantity.expected, line, last)
    return Growth(
        quantity=quantity,
        points=tuple(points),
        line=line,
        last=last,
        verdict=verdict,
        words=words,
    )


def _line(points: Sequence[tuple[int, float]]) -> Line | None:
    if any(value <= 0 for _, value in points):
        return None
    try:
        return fit([math.log(n) for n, _ in points], [math.log(value) for _, value in points])
    except ValueError:
        return None


def _last_decade(points: Sequence[tuple[int, float]]) -> float | None:
    if not points or any(value <= 0 for _, value in points):
        return None
    end, value = points[-1]
    before = [point for point in points if point[0] * _DECADE <= end]
    if not before:
        return None
    start, old = before[-1]
    return math.log(value / old) / math.log(end / start)


def _verdict(expected: int, line: Line | None, last: float | None) -> tuple[Verdict, str]:
    if line is None:
        return Verdict.NOT_RUN, "not measured at three sizes"
    limit = expected + TOLERANCE
    slope = f"N^{line.slope:.2f}"
    both = f"{slope} over all, N^{last or 0:.2f} in the last decade"
    if line.low > limit:
        if last is not None and last <= limit:
            return Verdict.INCONCLUSIVE, both
        return Verdict.FAIL, f"grows like {slope}"
    if line.high > limit:
        return Verdict.INCONCLUSIVE, f"N^{line.low:.2f} to N^{line.high:.2f}: cannot be said"
    if last is not None and last > limit:
        return Verdict.INCONCLUSIVE, both
    if expected:
        return Verdict.PASS, f"grows like {slope}"
    if line.low > 0:
        return Verdict.PASS, f"grows like {slope}: no faster than a logarithm"
    return Verdict.PASS, "does not grow"


def exit_code_of(found: Sequence[Growth]) -> int:
    """0 nothing grows that may not, 1 something does, 3 it cannot be said."""
    verdicts = {one.verdict for one in found}
    if Verdict.FAIL in verdicts:
        return 1
    return 0 if verdicts == {Verdict.PASS} else 3
