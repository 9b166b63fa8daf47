"""Judged gates as verdicts.json holds them."""

from __future__ import annotations

from typing import Any

from harness.gates import GateVerdict, RowVerdict, decides, row_interval
from harness.measurement import Rival
from harness.targets import Row

__all__ = ["gate_as_json"]


def gate_as_json(judged: GateVerdict, profile: str) -> dict[str, Any]:
    """A judged gate as verdicts.json holds it."""
    return {
        "id": judged.gate.id,
        "claim": judged.gate.claim,
        "owner": judged.gate.owner,
        "blocking": judged.blocking,
        "verdict": str(judged.verdict),
        "reason": judged.reason,
        "rows": [_row_as_json(row, profile) for row in judged.rows],
    }


def _row_as_json(judged: RowVerdict, profile: str) -> dict[str, Any]:
    row, interval, measurement = judged.row, judged.interval, judged.measurement
    content: dict[str, Any] = {
        "id": row.id,
        "label": row.label,
        "blocking": decides(judged, profile),
        "verdict": str(judged.verdict),
        "reason": judged.reason,
        "metric": row.metric,
        "statistic": row.statistic,
        "unit": row.unit,
        "comparator": row.comparator,
        "limit": row.limit,
        "estimate": None if interval is None else interval.estimate,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "headroom": judged.headroom,
        "samples": 0 if interval is None else interval.samples,
        "processes": 0 if interval is None else interval.processes,
        "accepts": list(row.accepts),
        "population": dict(row.population),
        "evidence": "",
        "measurement": "",
        "bound": None,
        "bound_reason": "",
        "context": {},
        "beside": [],
    }
    if measurement is not None:
        bound = measurement.bound
        content |= {
            "population": dict(measurement.population) or dict(row.population),
            "evidence": measurement.evidence,
            "measurement": f"samples/{measurement.id}.json.gz",
            "bound": None if bound is None else bound.value,
            "bound_reason": "" if bound is None else bound.reason,
            "context": dict(measurement.context),
            "beside": [_beside(rival, row) for rival in measurement.beside],
        }
    return content


def _beside(rival: Rival, row: Row) -> dict[str, Any]:
    """A rival's figures; none where its samples give none, for they decide nothing."""
    try:
        interval = row_interval(row, rival.processes)
    except ValueError:
        interval = None
    return {
        "subject": rival.subject,
        "unit": row.unit,
        "estimate": None if interval is None else interval.estimate,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
    }
