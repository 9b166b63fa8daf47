"""The figures of a run: which data, which drawing, which caption, and the same facts in words.

A figure whose data is missing becomes a sentence that says so, never an empty plot.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from harness.report import charts
from harness.report.canvas import png_of, style, svg_of
from harness.report.context import number, numbers, section
from harness.report.model import Report, Row
from harness.report.quantity import format_quantity
from harness.report.samples import read_values
from harness.report.search_figures import (
    Drawn,
    drawn_debt,
    drawn_load,
    drawn_recall,
    drawn_sessions,
)
from harness.report.soak_figure import drawn_soak

__all__ = ["Figure", "build_figures"]

_PANELS_MAX = 5
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of the report; `missing` says why there is none, and then svg and png are empty."""

    name: str
    title: str
    caption: str
    alternative: str
    missing: str
    svg: str
    png: bytes


def build_figures(report: Report, run_dir: Path) -> tuple[Figure, ...]:
    """Draw every figure from the run's samples and contexts; nothing is written.

    Cost: about 0.3 s a figure. Equal runs give equal figures, byte for byte.
    """
    plans: tuple[tuple[str, str, str, Drawn | None], ...] = (
        (
            "latency-hot",
            "Cached get",
            "raw samples of latency.hot",
            _latency(report, run_dir, "latency.hot"),
        ),
        (
            "latency-disk",
            "Memory-mapped get",
            "raw samples of latency.disk",
            _latency(report, run_dir, "latency.disk"),
        ),
        (
            "bytes-per-vector",
            "Bytes per vector, and how few are possible",
            "bytes_per_vector in the contexts of compression.saving",
            _sizes(report),
        ),
        (
            "hit-ratio",
            "Hit ratio and capacity",
            "curves in the contexts of hit_ratio.hot",
            _ratios(report),
        ),
        (
            "memory",
            "Memory by page type",
            "by_page_type in the contexts of memory.steady",
            _memory(report),
        ),
        (
            "query-debt",
            "Queries and version debt",
            "samples of query.latency by updates since maintenance",
            drawn_debt(report),
        ),
        (
            "query-load",
            "Queries under load",
            "knee_curve in the contexts of query.throughput",
            drawn_load(report),
        ),
        (
            "recall",
            "Recall and latency",
            "recall at 100 000 vectors (the nightly profile measures it)",
            drawn_recall(report),
        ),
        (
            "updates",
            "Update after update",
            "raw samples of update.latency",
            drawn_sessions(report, run_dir),
        ),
        ("startup", "Start-up", "raw samples of startup.time", _starts(report, run_dir)),
    )
    endured = drawn_soak(run_dir)
    if endured is not None:  # without a soak the row soak.day says so, and how to get one
        plans += (("soak", "Soak", "segments of a soak", endured),)
    return tuple(_finish(*plan) for plan in plans)


def _finish(name: str, title: str, wanted: str, drawn: Drawn | None) -> Figure:
    if drawn is None:
        return Figure(
            name=name,
            title=title,
            caption="",
            alternative="",
            missing=f"No figure: this run has no {wanted}.",
            svg="",
            png=b"",
        )
    with style():
        canvas = drawn.canvas()
        return Figure(
            name=name,
            title=title,
            caption=drawn.caption,
            alternative=drawn.alternative,
            missing="",
            svg=svg_of(canvas, name, drawn.alternative),
            png=png_of(canvas),
        )


def _rows(report: Report, gate: str) -> list[Row]:
    return [row for found in report.gates if found.id == gate for row in found.rows]


def _spreads(
    report: Report, run_dir: Path, gate: str
) -> tuple[list[tuple[Row, charts.Spread]], str]:
    """Samples of a gate's rows, each file once, and a sentence on the rows left out."""
    found: list[tuple[Row, charts.Spread]] = []
    drawn: set[str] = set()
    left_out = []
    for row in _rows(report, gate):
        if row.measurement in drawn:
            continue
        values = [value for value in read_values(run_dir, row) if 0 < value < float("inf")]
        if row.unit == "s" and len(values) >= 2 and len(found) < _PANELS_MAX:
            found.append((row, charts.Spread(label=_short(row.label), values=values)))
            drawn.add(row.measurement)
        else:
            left_out.append(_short(row.label))
    sentence = f" Not drawn, no samples or no room: {', '.join(left_out)}." if left_out else ""
    return found, sentence


def _latency(report: Report, run_dir: Path, gate: str) -> Drawn | None:
    found, left_out = _spreads(report, run_dir, gate)
    limit = next((row.limit for row, _ in found if row.limit), None)
    if not found or limit is None:
        return None
    spreads = [spread for _, spread in found]
    facts = []
    for spread in spreads:
        cuts = statistics.quantiles(spread.values, n=100, method="inclusive")
        p50, p99 = (format_quantity(cuts[at], "s", limit=limit) for at in (49, 98))
        count = format_quantity(len(spread.values), "count")
        facts.append(f"{spread.label}: p50 {p50}, p99 {p99}, {count} samples")
    floor = next(
        (n for row, _ in found if (n := number(row.context, "timer_floor_s")) is not None), None
    )
    timer = f" The timer's own floor is {format_quantity(floor, 's')}." if floor else ""
    what = "batch means" if gate == "latency.hot" else "single calls"
    return Drawn(
        canvas=lambda: charts.draw_latency(spreads, limit),
        caption=f"Share of {what} that took at most this long; each step up is ten times rarer. "
        f"Dots mark p50 and p99, the red line the limit.{timer}{left_out}",
        alternative=f"Distribution of {what}, limit {format_quantity(limit, 's', exact=True)}. "
        + "; ".join(facts)
        + ".",
    )


def _sizes(report: Report) -> Drawn | None:
    models, facts = [], []
    for row in _rows(report, "compression.saving"):
        ours = number(row.context, "bytes_per_vector")
        if ours is None:
            continue
        raw = number(row.context, "raw_bytes_per_vector")
        bounds = {
            "entropy bound": number(row.context, "entropy_bound_bytes"),
            "with per-dimension statistics": _per_dimension(row, raw),
        }
        known = {name: size for name, size in bounds.items() if size is not None}
        rivals = numbers(row.context, "rivals")
        # The limit is a saving, so the bytes it allows are what is left of the raw ones.
        limit = raw * (1 - row.limit) if raw and row.limit is not None else None
        models.append(
            charts.Rungs(
                label=f"{_short(row.label)}: {row.verdict}",
                ours=ours,
                raw=raw,
                limit=limit,
                bounds=known,
                rivals={_short(name): size for name, size in rivals.items()},
            )
        )
        others = {**known, **rivals}
        listed = ", ".join(f"{n} {format_quantity(v, 'B')}" for n, v in others.items())
        facts.append(
            f"{row.label}: this store {format_quantity(ours, 'B')}; {listed or 'no rival'}"
        )
    if not models:
        return None
    shown = models[:_PANELS_MAX]
    return Drawn(
        canvas=lambda: charts.draw_sizes(shown),
        caption="Everything kept for one vector, frame and catalog, shortest bar best; the share "
        "is of the raw float32 bytes. Dashed or dotted: the fewest bytes the data's entropy "
        "allows; no lossless codec can be left of it.",
        alternative="Bytes per vector. " + ". ".join(facts) + ".",
    )


def _per_dimension(row: Row, raw: float | None) -> float | None:
    """The per-dimension bound as bytes per vector, whichever of the two ways it was written."""
    value = number(row.context, "entropy_bound_per_dimension_bytes")
    if value is not None and raw and value < _FLOAT32_BYTES:
        return value * raw / _FLOAT32_BYTES
    return value


def _ratios(report: Report) -> Drawn | None:
    traces, facts = [], []
    for row in _rows(report, "hit_ratio.hot"):
        listed = row.context.get("capacities_bytes")
        capacities = [
            float(size)
            for size in (listed if isinstance(listed, list) else [])
            if isinstance(size, (int, float)) and size > 0
        ]
        policies = {
            _short(str(name)): [float(ratio) for ratio in ratios]
            for name, ratios in section(row.context, "curves").items()
            if isinstance(ratios, list)
            and len(ratios) == len(capacities)
            and all(isinstance(ratio, (int, float)) for ratio in ratios)
        }
        if not capacities or not policies:
            continue
        size = number(row.context, "ours", "capacity_bytes")
        ratio = number(row.context, "ours", "hit_ratio")
        ours = (size, ratio) if size is not None and ratio is not None else None
        traces.append(
            charts.Curve(
                label=_short(row.label),
                capacities=capacities,
                policies=policies,
                ours=ours,
                limit=row.limit,
            )
        )
        stand = f"this store {format_quantity(ratio, '1')}" if ours else "this store not measured"
        ends = ", ".join(
            f"{name} {format_quantity(min(c), '1')} to {format_quantity(max(c), '1')}"
            for name, c in policies.items()
        )
        facts.append(f"{row.label}: {stand}; over the capacities drawn {ends}")
    if not traces:
        return None
    shown = traces[:_PANELS_MAX]
    return Drawn(
        canvas=lambda: charts.draw_ratios(shown),
        caption="Accesses served by the hot tier. Belady knows the future: per document it is the "
        "bound for any policy that brings siblings in, per chunk for any that does not.",
        alternative="Hit ratio over capacity. " + ". ".join(facts) + ".",
    )


def _memory(report: Report) -> Drawn | None:
    stacks, facts = [], []
    for row in _rows(report, "memory.steady"):
        treatment = numbers(row.context, "by_page_type", "treatment")
        control = numbers(row.context, "by_page_type", "control")
        if not treatment or not control:
            continue
        label = _short(row.label)
        stacks.append(
            charts.Stack(label=label, treatment=treatment, control=control, limit=row.limit)
        )
        added = ", ".join(
            f"{kind} {format_quantity(size - control.get(kind, 0.0), 'B', limit=1e6)}"
            for kind, size in treatment.items()
        )
        whole = format_quantity(sum(treatment.values()), "B")
        facts.append(f"{row.label}: added {added}; whole process {whole}")
    if not stacks:
        return None
    shown = stacks[:_PANELS_MAX]
    return Drawn(
        canvas=lambda: charts.draw_memory(shown),
        caption="Steady state. Added = process with the store minus import-only control. Clean "
        "file pages belong to the page cache: shown in the whole, not counted against the limit.",
        alternative="Memory by page type. " + ". ".join(facts) + ".",
    )


def _starts(report: Report, run_dir: Path) -> Drawn | None:
    found, left_out = _spreads(report, run_dir, "startup.time")
    limit = next((row.limit for row, _ in found if row.limit), None)
    if not found or limit is None:
        return None
    spreads = [spread for _, spread in found]
    facts = "; ".join(
        f"{s.label}: median {format_quantity(statistics.median(s.values), 's', limit=limit)}, "
        f"slowest {format_quantity(max(s.values), 's', limit=limit)} of {len(s.values)}"
        for s in spreads
    )
    return Drawn(
        canvas=lambda: charts.draw_starts(spreads, limit),
        caption="One dot a fresh process, from exec to the first vector returned; the dark bar is "
        f"the median, which the gate judges, the red line the limit.{left_out}",
        alternative=f"Start-up times, limit {format_quantity(limit, 's', exact=True)}. {facts}.",
    )


def _short(label: str, most: int = 34) -> str:
    label = " ".join(label.split()).lstrip("_")  # matplotlib hides labels that begin with one
    return label if len(label) <= most else f"{label[: most - 1]}…"
