"""From the parts of a comparison to its table: values, ratios to ours with bounds; pure.

A round gives d = log(rival / ours), both from fresh processes that ran minutes apart at most: a
round that was broken off is made anew. The
Hodges-Lehmann estimate over the rounds and its signed-rank bounds are those of `harness compare`
(harness/compare/decide.py), here one-sided at 95 %, for which 5 rounds are enough. Bytes are
counted once and have no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from harness.compare.decide import Rule, look_at
from harness.rivals.catalogue import OURS
from harness.rivals.metrics import METRICS, Metric

__all__ = ["Cell", "Standing", "Table", "table_of"]

_RULE = Rule(looks=(5,), alpha=0.05, margin=0.0)

# Measures of a part that is not called like its only one
_PARTS = {"time": ("put", "hot", "warm", "cold", "batch"), "memory": ("memory", "open")}


class Standing(StrEnum):
    """Where ours stands against a rival, by one metric."""

    AHEAD = "ahead"
    BEHIND = "behind"
    EVEN = "no difference shown"
    UNKNOWN = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One subject by one metric.

    Attributes
    ----------
    value
        Median over the rounds; None if there is none.
    ratio, low, high
        Rival / ours, above 1 where ours is ahead; bounds infinite with fewer than 5 rounds.
    reason
        Why there is no value.
    """

    subject: str
    metric: Metric
    value: float | None
    ratio: float | None = None
    low: float = 0.0
    high: float = math.inf
    reason: str = ""

    @property
    def standing(self) -> Standing:
        """By the bounds alone."""
        if self.ratio is None:
            return Standing.UNKNOWN
        if self.low > 1:
            return Standing.AHEAD
        return Standing.BEHIND if self.high < 1 else Standing.EVEN


Table = Mapping[tuple[str, str], Cell]
"""Cells by subject and metric."""


def table_of(document: Mapping[str, Any]) -> dict[tuple[str, str], Cell]:
    """Every cell that was measured or should have been."""
    values, failures = _values(document["parts"])
    found = {}
    for subject in document["subjects"]:
        for metric in METRICS.values():
            own = values.get((subject, metric.id), {})
            if own:
                ours = values.get((OURS, metric.id), {})
                found[subject, metric.id] = _cell(subject, metric, own, ours)
                continue
            missing = document["subjects"][subject]["missing"]
            reason = missing or failures.get((subject, metric.measure), "")
            if reason:
                found[subject, metric.id] = Cell(
                    subject=subject, metric=metric, value=None, reason=reason
                )
    return found


def _values(
    parts: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[tuple[str, str], dict[str, float]], dict[tuple[str, str], str]]:
    """Values by subject, metric and round; and what failed, by subject and measure."""
    values: dict[tuple[str, str], dict[str, float]] = {}
    failures: dict[tuple[str, str], str] = {}
    for name, part in parts.items():
        kind, _, subject = name.rpartition(" ")
        for metric, value in part.get("metrics", {}).items():
            if metric in METRICS:
                values.setdefault((subject, metric), {})[kind] = float(value)
        if "failed" in part:
            first = kind.partition(" ")[0]
            measures = _PARTS.get(first, (first,))
            failures |= {(subject, measure): part["failed"] for measure in measures}
    return values, failures


def _cell(
    subject: str, metric: Metric, own: Mapping[str, float], ours: Mapping[str, float]
) -> Cell:
    middle = median(own.values())
    shared = [kind for kind in own if kind in ours and own[kind] > 0 and ours[kind] > 0]
    if subject == OURS or not shared:
        return Cell(subject=subject, metric=metric, value=middle)
    logs = [math.log(own[kind] / ours[kind]) for kind in shared]
    if metric.measure == "size":
        ratio = math.exp(logs[0])
        return Cell(
            subject=subject, metric=metric, value=middle, ratio=ratio, low=ratio, high=ratio
        )
    look = look_at(logs, _RULE)
    return Cell(
        subject=subject,
        metric=metric,
        value=middle,
        ratio=math.exp(look.estimate),
        low=math.exp(look.low),
        high=math.exp(look.high),
    )
