"""A synthetic run directory: every verdict, every figure, hostile text. No number was measured."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from suites.tests.unit.harness.report.synthetic_rows import (
    gate,
    measured,
    queries,
    row,
    session,
    throughput,
)

HOSTILE = "<script>alert('x')</script> | `tick` **bold** $x_1$ \x00\x1b[31m \u202eedoc & \ud800"
LONG = "a-very-long-label-" * 12
SEED = 20261124

_MACHINE = {
    "cpu_model": "Synthetic CPU (no such machine) @ 2.50GHz",
    "cores": 2,
    "kernel": "6.1.0-synthetic",
    "memory_bytes": 8_200_000_000,
    "steal_before": 0.4,
    "steal_after": 0.9,
    "load_before": 0.31,
    "load_after": 1.72,
}
_RUN = {
    "id": "2026-11-24-synthetic-0d33ea27",
    "profile": "ci",
    "commit": "0d33ea27c1f24bb9a6d0a4b3a5c0f7a1d7a0e6b1",
    "content_digest": "blake2b:7a5d0c1e9b3f4a6688d2c4f1",
    "config_digest": "blake2b:41c09e77ab10de5f",
    "dirty": True,
    "command": "harness gate --profile ci",
    "started": "2026-11-24T20:31:04+00:00",
    "ended": "2026-11-24T20:35:19+00:00",
}


def _bits() -> Any:
    clean: dict[str, Any] = {
        "unit": "count",
        "comparator": "==",
        "limit": 0.0,
        "estimate": 0.0,
        "low": 0.0,
        "high": 0.0,
        "samples": 1_000_000,
        "processes": 5,
        "context": {"error_rate_high": 3e-6},
        "metric": "differing bits",
        "statistic": "sum",
    }
    paths = ("hot", "warm", "cold")
    rows = [
        row(f"{path} tier, recorded v1", "PASS", evidence="recorded", **clean) for path in paths
    ]
    return gate("quality.bits", "PASS", "zero loss: 0 differing bits", *rows)


def _saving() -> Any:
    rivals = {"zstd": 4982.0, "byte shuffle + zstd": 2211.5, "blosc2": 2304.0, "pcodec": 2143.0}
    v1 = {
        "bytes_per_vector": 2164.2,
        "raw_bytes_per_vector": 6144.0,
        "entropy_bound_bytes": 2035.2,
        "entropy_bound_per_dimension_bytes": 1977.6,
        "rivals": rivals,
        "space_with_search": 0.541,
        "catalog": {"bytes_per_key": 58.4},
    }
    v2 = {
        "bytes_per_vector": 3489.0,
        "raw_bytes_per_vector": 4096.0,
        "entropy_bound_bytes": 3302.4,
        "rivals": {"zstd": 3801.0, "byte shuffle + zstd": 3494.0, "pcodec": 3462.0},
    }
    share: dict[str, Any] = {
        "unit": "1",
        "comparator": ">=",
        "limit": 0.5,
        "metric": "saving",
        "statistic": "mean",
        "evidence": "recorded",
        "samples": 749,
        "processes": 5,
    }
    return gate(
        "compression.saving",
        "PASS",
        "at least 50 % of the raw float32 bytes saved on disk",
        row(
            "titan-embed-text-v1",
            "PASS",
            estimate=0.6477,
            low=0.6471,
            high=0.6483,
            headroom=0.2954,
            population={"vectors": 749, "dimension": 1536},
            context=v1,
            **share,
        ),
        row(
            "titan-embed-text-v2 as served today",
            "INFEASIBLE",
            blocking=False,
            estimate=0.1482,
            low=0.146,
            high=0.1501,
            headroom=-0.7036,
            bound=0.1938,
            bound_reason="the mantissas are those of a mean of token states",
            context=v2,
            population={"vectors": 139, "dimension": 1024},
            **share,
        ),
        blocking=False,
    )


def _memory() -> Any:
    context: dict[str, Any] = {
        "process_total_bytes": 31_400_000,
        "by_page_type": {
            "treatment": {
                "anonymous": 27.1e6,
                "shared": 0.4e6,
                "file dirty": 0.2e6,
                "file clean": 9e6,
            },
            "control": {
                "anonymous": 24.4e6,
                "shared": 0.4e6,
                "file dirty": 0.1e6,
                "file clean": 8e6,
            },
        },
        "by_module": {"titanstore.tiers.hot": 2_010_000, "titanstore.catalog": 120_000},
    }
    rivals = [
        {"subject": "current", "estimate": 9.44e6, "low": 9.40e6, "high": 9.51e6, "unit": "B"},
        {"subject": "sqlite-blob", "estimate": 1.31e6, "low": None, "high": None, "unit": "B"},
    ]
    smaller = copy.deepcopy(context)
    smaller["by_page_type"]["treatment"]["anonymous"] = 26.6e6
    straddling = measured(
        2.71e6, 2.83e6, 3.04e6, 3e6, unit="B", metric="added memory", context=context, beside=rivals
    )
    return gate(
        "memory.steady",
        "INCONCLUSIVE",
        "below 3 MB in the steady state",
        row(
            "editing session",
            "INCONCLUSIVE",
            reason="the interval straddles the limit",
            **straddling,
        ),
        row(
            "100 files",
            "PASS",
            **measured(2.2e6, 2.3e6, 2.4e6, 2.5e6, unit="B", comparator="<=", context=smaller),
        ),
    )


def _hits() -> Any:
    capacities = [2**n * 1e5 for n in range(1, 8)]
    curves = {
        "LRU per chunk": [0.41, 0.48, 0.55, 0.61, 0.68, 0.74, 0.79],
        "LRU per document": [0.44, 0.52, 0.58, 0.64, 0.70, 0.75, 0.80],
        "Belady per chunk": [0.52, 0.60, 0.66, 0.71, 0.76, 0.80, 0.83],
        "Belady per document": [0.93, 0.955, 0.968, 0.977, 0.984, 0.990, 0.994],
    }
    context = {
        "capacities_bytes": capacities,
        "curves": curves,
        "ours": {"capacity_bytes": 2e6, "hit_ratio": 0.9413},
        "misses_per_visit": 1.06,
    }
    return gate(
        "hit_ratio.hot",
        "FAIL",
        "at least 95 % of accesses served by L1 of 2 MB",
        row(
            "editing session",
            "FAIL",
            unit="1",
            comparator=">=",
            limit=0.95,
            estimate=0.9413,
            low=0.9402,
            high=0.9425,
            headroom=-0.0092,
            samples=100_000,
            processes=5,
            context=context,
        ),
    )


def _timed(name: str, verdict: str, claim: str, limit: float, mid: float, *labels: str) -> Any:
    rows = [
        row(
            label,
            verdict,
            measurement=f"samples/{name}-{place}.json.gz",
            context={"timer_floor_s": 5e-8, "single_call": {"p50": mid, "p99": mid * 1.6}},
            population={"vectors": 2200, "dimension": 1024},
            **measured(mid * 0.97, mid, mid * 1.04, limit),
        )
        for place, label in enumerate(labels)
    ]
    return gate(name, verdict, claim, *rows)


def _absent(name: str, claim: str, **more: Any) -> Any:
    why = "no suite of this build measures it"
    empty = row("all", "NOT RUN", reason=why, evidence="", limit=0.01, **more)
    return gate(name, "NOT RUN", claim, empty, reason=why)


def content() -> dict[str, Any]:
    """verdicts.json with all seven verdicts and hostile text."""
    hostile = row(
        f"{HOSTILE} {LONG}",
        "INVALID",
        reason=f"tracemalloc was on {HOSTILE}",
        context={HOSTILE: HOSTILE, "note": LONG},
        population={HOSTILE: LONG},
        **measured(8e-3, 9e-3, 11e-3, 1e-2),
    )
    gates = [
        _bits(),
        _saving(),
        _memory(),
        _timed("latency.hot", "PASS", "cached get below 1 µs", 1e-6, 1.83e-7, "p99 of batch means"),
        _timed(
            "latency.disk",
            "WAIVED",
            "memory-mapped get below 100 µs",
            1e-4,
            1.12e-4,
            "warm",
            "cold",
        ),
        _hits(),
        _timed(
            "startup.time", "PASS", "below 1 s", 1.0, 0.412, "100 files, warm", "100 files, cold"
        ),
        gate(
            "update.latency", "INVALID", f"below 10 ms {HOSTILE}", hostile, session(), owner=HOSTILE
        ),
        queries(),
        throughput(),
        _absent("soak.day", "24-hour stress test passed"),
        gate("sharing.zero_copy", "NOT RUN", "processes share one copy", reason="no rows yet"),
        gate(
            "quality.search",
            "INFEASIBLE",
            "100 % match",
            row(
                "recall at 100 000",
                "INFEASIBLE",
                unit="1",
                comparator=">=",
                limit=1.0,
                bound=0.998,
                bound_reason="ties in the data",
            ),
            row(
                "recall where a profile measures it",
                "PASS",
                blocking=False,
                unit="1",
                comparator=">=",
                limit=0.99,
                estimate=0.993,
                low=0.991,
                high=0.995,
                headroom=0.003,
                population={"vectors": 100_000},
            ),
        ),
    ]
    waiver = {
        "gate": "latency.disk",
        "reason": f"slow disk of the CI machine {HOSTILE}",
        "owner": "release manager",
        "expires": "2026-12-31",
        "commits": ["0d33ea27", "HEAD"],
        "state": "active",
    }
    return {
        "schema_version": 1,
        "run": dict(_RUN),
        "decision": {
            "verdict": "NO-GO",
            "label": "CI FAIL, not a release verdict",
            "exit_code": 1,
            "reasons": ["hit_ratio.hot is FAIL", "quality.search is INFEASIBLE", HOSTILE],
        },
        "gates": gates,
        "waivers": [waiver],
    }


def passing() -> dict[str, Any]:
    """verdicts.json of a run in which everything that blocks passes."""
    whole = content()
    kept = {"quality.bits", "compression.saving", "latency.hot", "latency.disk", "startup.time"}
    whole["gates"] = [copy.deepcopy(one) for one in whole["gates"] if one["id"] in kept]
    whole["decision"] = {"verdict": "GO", "label": "CI PASS, not a release verdict", "reasons": []}
    whole["decision"]["exit_code"] = 0
    return whole


def manifest() -> dict[str, Any]:
    """manifest.json that belongs to `content()`."""
    return {
        **_RUN,
        "seeds": {"editing session": SEED},
        "packages": {"numpy": "2.4.6", "zstandard": "0.25.0"},
        "machine": dict(_MACHINE),
        "fixtures": {"corpus": "blake2b:aa01", "recorded": "blake2b:bb02"},
        "evidence": "synthetic: no number of this run was measured",
        "instrumentation": {"tracemalloc": False, "metrics": True},
    }


def build_run(folder: Path, verdicts: Mapping[str, Any] | None = None) -> Path:
    """Write verdicts.json, manifest.json and samples into `folder`, which need not exist."""
    verdicts = verdicts or content()
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    _write_json(folder / "verdicts.json", verdicts)
    _write_json(folder / "manifest.json", manifest())
    rng = np.random.default_rng(SEED)
    for found in (one for judged in verdicts["gates"] for one in judged["rows"]):
        if found["measurement"]:
            _write_samples(folder / found["measurement"], found, rng)
    return folder


def _write_json(path: Path, tree: Any) -> None:
    path.write_text(json.dumps(tree, allow_nan=False), encoding="utf-8")


def _write_samples(path: Path, found: Mapping[str, Any], rng: np.random.Generator) -> None:
    count = 4 if found["limit"] == 1.0 else 1000
    processes = [
        {
            "control": place == 0,
            "values": list(found["estimate"] * rng.lognormal(-0.3, 0.22, count)),
        }
        for place in range(6)
    ]
    path.write_bytes(gzip.compress(json.dumps({"processes": processes}).encode(), mtime=0))
