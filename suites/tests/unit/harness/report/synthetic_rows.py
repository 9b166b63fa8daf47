"""Rows and gates of a synthetic verdicts.json, and those of search and updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def row(label: str, verdict: str, **fields: Any) -> dict[str, Any]:
    """One row of verdicts.json, seconds by default; `fields` override."""
    base: dict[str, Any] = {
        "id": label.replace(" ", "-")[:60],
        "label": label,
        "claim": "",
        "blocking": True,
        "verdict": verdict,
        "reason": "",
        "metric": "latency",
        "statistic": "p99",
        "unit": "s",
        "comparator": "<",
        "limit": None,
        "estimate": None,
        "low": None,
        "high": None,
        "headroom": None,
        "bound": None,
        "bound_reason": "",
        "evidence": "synthetic",
        "accepts": ["live", "recorded", "emulated"],
        "samples": 0,
        "processes": 0,
        "population": {},
        "context": {},
        "measurement": "",
        "beside": [],
    }
    return base | fields


def gate(name: str, verdict: str, claim: str, *rows: Mapping[str, Any], **more: Any) -> Any:
    """One gate of verdicts.json."""
    base = {"id": name, "claim": claim, "owner": "store", "blocking": True, "verdict": verdict}
    return base | {"reason": "", "rows": [dict(r) for r in rows]} | more


def measured(low: float, estimate: float, high: float, limit: float, **more: Any) -> dict[str, Any]:
    """Fields of a row with an "at most" limit and an interval."""
    numbers = {"low": low, "estimate": estimate, "high": high, "limit": limit}
    return numbers | {"headroom": 1 - estimate / limit, "samples": 5000, "processes": 5} | more


def queries() -> Any:
    """Nothing that decides, and rows beside it for the figures."""
    why = "no suite of this build measures it"
    empty = row("all", "NOT RUN", reason=why, evidence="", limit=5e-3)
    shown = [
        row(
            f"{path}, {size} vectors, {debt} updates",
            "PASS",
            blocking=False,
            population={"vectors": size, "updates": debt, "search_index": path},
            context={"p50_s": mid / 2},
            **measured(mid * 0.9, mid, mid * 1.1, 5e-3),
        )
        for path, size, debt, mid in (
            ("flat", 2_200, 0, 4e-4),
            ("flat", 2_200, 600, 4.4e-4),
            ("lance", 100_000, 0, 3.6e-3),
            ("flat", 100_000, 0, 4.1e-3),
        )
    ]
    return gate("query.latency", "NOT RUN", "below 5 ms", empty, *shown, reason=why)


def throughput() -> Any:
    """A load that was kept up with, and its knee."""
    context = {
        "knee_rate": 800.0,
        "knee_curve": [
            [200.0, 201.0, 4e-4, 9e-4],
            [800.0, 801.0, 5e-4, 2e-3],
            [1600.0, 1e3, 0.1, 0.3],
        ],
        "knee_4_threads_rate": 200.0,
        "knee_4_threads_curve": [[200.0, 201.0, 6e-4, 3e-3], [400.0, 300.0, 0.2, 0.4]],
        "knee_p99_limit_s": 0.05,
    }
    rate = {"unit": "1/s", "comparator": ">=", "limit": 100.0, "statistic": "mean", "samples": 20}
    numbers = {"estimate": 100.9, "low": 100.7, "high": 101.0, "headroom": 0.009, "processes": 5}
    only = row("100/s for 20 s", "PASS", blocking=False, context=context, **rate, **numbers)
    return gate("query.throughput", "PASS", "100 queries a second", only, blocking=False)


def session() -> Any:
    """A measured row of updates, with samples for its figure."""
    trend = {"added_by_1000_updates_s": 2e-5, "added_by_1000_updates_low_s": -1e-5}
    return row(
        "text-v1",
        "PASS",
        blocking=False,
        measurement="samples/update.latency-v1.json.gz",
        context={**trend, "added_by_1000_updates_high_s": 5e-5},
        **measured(4e-3, 4.2e-3, 4.5e-3, 1e-2),
    )
