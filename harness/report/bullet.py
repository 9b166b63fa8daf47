"""Geometry of the small bar that sets a measured interval against its limit.

Positions are fractions of the bar's width; the page draws them as SVG, the PDF as rectangles. The
limit of every "at most" row stands at two thirds of the width, so that a column of bars can be read
as one picture: left of the line is good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.report.model import Row

__all__ = ["Bullet", "bullet_of"]

_LIMIT_AT = 2 / 3
_ZERO_LIMIT_AT = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """Where limit, interval, estimate and bound stand; the good side as a stretch."""

    limit: float
    good_from: float
    good_to: float
    low: float | None
    high: float | None
    estimate: float | None
    bound: float | None
    beyond_left: bool
    beyond_right: bool
    text: str


def bullet_of(row: Row) -> Bullet | None:
    """The bar of a row, or None without a limit; an unmeasured row has a limit and no mark."""
    if row.limit is None or not math.isfinite(row.limit):
        return None
    start, end = _domain(row, row.limit)
    span = end - start

    def place(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        return min(1.0, max(0.0, (value - start) / span))

    limit = (row.limit - start) / span
    good_from, good_to = (limit, 1.0) if row.comparator.startswith(">") else (0.0, limit)
    marks = [mark for mark in (row.low, row.estimate, row.high) if mark is not None]
    return Bullet(
        limit=limit,
        good_from=good_from,
        good_to=good_to,
        low=place(row.low),
        high=place(row.high),
        estimate=place(row.estimate),
        bound=place(row.bound),
        beyond_left=any(mark < start for mark in marks),
        beyond_right=any(mark > end for mark in marks),
        text=_text(row),
    )


def _domain(row: Row, limit: float) -> tuple[float, float]:
    if row.comparator.startswith(">"):
        if row.unit == "1" and 0 < limit < 1:
            return max(0.0, limit - 2 * (1 - limit)), 1.0
        if row.unit == "1" and limit == 1:
            # "100 %": nothing lies beyond, so nearly all of the bar is for what falls short.
            seen = min(
                (v for v in (row.low, row.estimate, row.bound) if v is not None), default=1.0
            )
            width = min(1.0, max((1 - seen) * 1.25, 0.01))
            return 1 - width, 1 + width * _ZERO_LIMIT_AT / (1 - _ZERO_LIMIT_AT)
        return (0.0, limit / _LIMIT_AT) if limit > 0 else (limit - 1, limit + 1)
    if limit > 0:
        return 0.0, limit / _LIMIT_AT
    # "exactly 0 defects": the line stands near the left end, and one defect is visibly beside it.
    seen = max((abs(v) for v in (row.high, row.estimate) if v is not None), default=0.0)
    width = max(seen * 1.25, 4.0 if row.unit == "count" else 1e-12)
    return limit - width * _ZERO_LIMIT_AT / (1 - _ZERO_LIMIT_AT), limit + width


def _text(row: Row) -> str:
    bound = f", best possible {row.bound_text}" if row.bound is not None else ""
    interval = f", interval {row.interval_text}" if row.interval_text else ""
    return f"{row.value_text}{interval}{bound}; limit {row.limit_text}"
