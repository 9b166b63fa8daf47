"""compare.json as a reader meets it: words, signs and rounded ratios, the same in every format."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.compare.decide import RULE
from harness.report.quantity import format_quantity
from harness.report.verdict import Look

__all__ = ["LOOKS", "Line", "View", "view_of"]

LOOKS = {
    "REGRESSED": Look(
        sign="✗", tone="fail", meaning=f"slower by more than {RULE.margin:.0%}, twice over"
    ),
    "NOT COMPARABLE": Look(
        sign="!", tone="invalid", meaning="both sides did not do the same; never a pass"
    ),
    "INCONCLUSIVE": Look(
        sign="?", tone="hold", meaning="the rounds do not tell, or the second run disagrees"
    ),
    "NO REGRESSION": Look(
        sign="✓", tone="pass", meaning=f"not slower by {RULE.tolerance:.0%} or more"
    ),
    "IMPROVED": Look(sign="✓", tone="pass", meaning=f"faster by more than {RULE.margin:.0%}"),
}
"""Worst first: the order of every list."""

_ORDER = {verdict: place for place, verdict in enumerate(LOOKS)}
_OLD_S = 30 * 86_400
_HEADLINES = {
    "REGRESSED": "HEAD is slower than BASE",
    "NO REGRESSION": "HEAD is not slower than BASE",
    "INCONCLUSIVE": "it cannot be said",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One benchmark.

    Attributes
    ----------
    first, second
        JSON of its runs.
    shown
        The run whose figures are shown: the second one if it has an interval, since the first was
        chosen for being large.
    is_sure
        Holm's p value is small enough among so many benchmarks.
    """

    name: str
    verdict: str
    look: Look
    decides: bool
    reason: str
    ratio_text: str
    interval_text: str
    rounds_text: str
    times_text: str
    effect_text: str
    standing: Mapping[str, Any] | None
    first: Mapping[str, Any] | None
    second: Mapping[str, Any] | None
    shown: Mapping[str, Any] | None
    is_sure: bool
    p_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A comparison. `facts` are pairs of name and text."""

    document: Mapping[str, Any]
    verdict: str
    look: Look
    headline: str
    tally: str
    lines: Sequence[Line]
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    reasons: Sequence[str]


def view_of(document: Mapping[str, Any]) -> View:
    """Everything that is shown of a comparison; a function of compare.json alone."""
    lines = sorted((_line(one) for one in document["benchmarks"]), key=_rank)
    decision = document["decision"]
    counts = {word: sum(line.verdict == word for line in lines) for word in LOOKS}
    return View(
        document=document,
        verdict=decision["verdict"],
        look=LOOKS[decision["verdict"]],
        headline=_HEADLINES[decision["verdict"]],
        tally=", ".join(f"{count} {word}" for word, count in counts.items() if count),
        lines=lines,
        facts=_facts(document),
        notes=_notes(document, lines),
        reasons=decision["reasons"],
    )


def _rank(line: Line) -> tuple[bool, int, str]:
    return not line.decides, _ORDER[line.verdict], line.name


def _line(one: Mapping[str, Any]) -> Line:
    second = one["second"]
    shown = one["first"] if second is None or second["low"] is None else second
    effect = None if shown is None else shown["smallest_effect"]
    return Line(
        name=one["id"],
        verdict=one["verdict"],
        look=LOOKS[one["verdict"]],
        decides=one["decides"],
        reason=one["reason"],
        ratio_text=ratio_text(None if shown is None else shown["ratio"]),
        interval_text=interval_text(shown),
        rounds_text=" + ".join(
            str(run["rounds"]) for run in (one["first"], one["second"]) if run is not None
        ),
        times_text=_times(one["base_s"], one["head_s"]),
        effect_text="" if effect is None else f"a slowdown by {effect - 1:.1%} would have shown",
        standing=one["calibration"],
        first=one["first"],
        second=second,
        shown=shown,
        is_sure=one["p_holm"] is not None and one["p_holm"] <= RULE.alpha,
        p_text=f"p {one['p']:.2g}" + (f", Holm {one['p_holm']:.2g}" if one["p_holm"] else ""),
    )


def ratio_text(ratio: float | None) -> str:
    """A ratio with three decimals, more where these would say 1.000 of something that is not."""
    if ratio is None:
        return "-"
    return f"{ratio:.3f}"


def interval_text(run: Mapping[str, Any] | None) -> str:
    """Both bounds, or why there are none."""
    if run is None:
        return ""
    if run["low"] is None or run["high"] is None:
        return f"after {run['rounds']} rounds no bounds"
    return f"{run['low']:.3f} to {run['high']:.3f}"


def _times(base_s: float | None, head_s: float | None) -> str:
    if base_s is None or head_s is None:
        return "-"
    return f"{format_quantity(base_s, 's')} → {format_quantity(head_s, 's', limit=base_s)}"


def _side(side: Mapping[str, Any]) -> str:
    changed = f"; content {side['content_digest']}, not committed" if side["dirty"] else ""
    return f"{side['label']} ({side['commit'][:10]}{changed}), {side['environment']}"


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    run = document["run"]
    return [
        ("BASE", _side(document["base"])),
        ("HEAD", _side(document["head"])),
        ("Machine", document["machine"]),
        ("Measured", "time" if run["tier"] == "time" else "CPU work (instructions), not time"),
        ("Calibration", calibration_text(document)),
        ("Seed", str(run["seed"])),
        ("Begun", run["started"]),
        ("Ended", run["ended"]),
        ("Command", " ".join(run["command"])),
    ]


def calibration_text(document: Mapping[str, Any]) -> str:
    """Which calibration, how old, and for how many benchmarks it holds."""
    if document["run"]["tier"] != "time":
        return "none needed: counts are exact"
    states = [one["calibration"]["state"] for one in document["benchmarks"] if one["calibration"]]
    if not states:
        return "none relied on: nothing was compared"
    newest = document["calibration"]["newest"]
    if newest is None:
        return "none for this machine and these benchmarks; run `harness calibrate`"
    ended = datetime.datetime.fromisoformat(document["run"]["ended"]).timestamp()
    oldest = document["calibration"].get("oldest", newest)
    age = max(0.0, ended - oldest)
    told = f"{_span(age)} old"
    if age - (ended - newest) > 86_400:  # made in several sessions: the youngest tells too little
        told = f"its oldest round {told}, its newest {_span(max(0.0, ended - newest))}"
    counts = ", ".join(f"{states.count(word)} {word}" for word in sorted(set(states)))
    old = "; old, make a new one (`harness calibrate --fresh`)" if age > _OLD_S else ""
    return f"of machine {document['calibration']['machine']}, {told}{old}; {counts}"


def _span(seconds: float) -> str:
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / 3_600:.1f} hours"


def _notes(document: Mapping[str, Any], lines: Sequence[Line]) -> list[str]:
    notes = []
    if document["run"]["is_aa"]:
        notes.append("Both sides are the same code: an A/A comparison.")
    if document["head"]["dirty"]:
        notes.append("HEAD is a working tree with uncommitted changes.")
    if not document["run"]["is_complete"]:
        notes.append("Time was up before every benchmark was decided (--max-minutes).")
    trend = [line.name for line in lines if not line.decides]
    if trend:
        notes.append(f"Trend only, and not deciding: {', '.join(trend)}.")
    real = max(
        (line.standing["real"]["of"] for line in lines if line.standing is not None), default=0
    )
    if document["run"]["tier"] == "time":
        notes.append(
            "Calibration resamples rounds, which assumes that they are exchangeable; "
            f"{real} real A/A comparisons count beside."
        )
    return notes
