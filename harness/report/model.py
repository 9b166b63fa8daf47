"""A run's verdicts as values ready to be shown: read once, never changed, never judged again.

Source of the fields: the contract of `verdicts.json` (harness/verdicts.schema.json) and of
`manifest.json`. What is optional there is optional here; what is missing is shown as missing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.report.beside import AnchorShown, ProofShown, anchor_shown, proof_shown
from harness.report.quantity import format_interval, format_quantity, format_share
from harness.report.reliability import ReliabilityShown, reliability_shown
from harness.report.verdict import CONTRADICTED, DECISION_LOOKS, SETTLED, VERDICT_LOOKS, Look, rank

__all__ = ["Beside", "Gate", "Report", "Row", "Waiver", "read_report"]

SCHEMA_VERSION = 1

_BREAKS = re.compile(r"[\t\n\r\x0b\x0c\x85\u2028\u2029]+")
_ILLEGIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_EXIT_CODES = {"GO": (0,), "NO-GO": (1,), "HOLD": (1, 3)}  # --strict turns 3 into 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The same thing measured on another subject: shown, never judged."""

    subject: str
    value: str
    interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One judged row. Numbers stay in base units; the text properties are for eyes."""

    id: str
    gate: str
    label: str
    claim: str
    blocking: bool
    verdict: str
    reason: str
    metric: str
    statistic: str
    unit: str
    comparator: str
    limit: float | None
    estimate: float | None
    low: float | None
    high: float | None
    headroom: float | None
    bound: float | None
    bound_reason: str
    evidence: str
    accepts: tuple[str, ...]
    samples: int
    processes: int
    population: Mapping[str, Any]
    context: Mapping[str, Any]
    measurement: str
    beside: tuple[Beside, ...]

    @property
    def look(self) -> Look:
        """Sign, tone and meaning of the verdict."""
        return VERDICT_LOOKS[self.verdict]

    @property
    def value_text(self) -> str:
        """The point estimate in the limit's unit."""
        return format_quantity(self.estimate, self.unit, limit=self.limit)

    @property
    def interval_text(self) -> str:
        """Both one-sided 95 % bounds, or nothing when there are none."""
        if self.low is None or self.high is None:
            return ""
        return format_interval(self.low, self.high, self.unit, limit=self.limit)

    @property
    def limit_text(self) -> str:
        """Comparator and limit: "< 1 µs"."""
        if self.limit is None:
            return "no limit"
        sign = {"<=": "≤", ">=": "≥", "==": "="}.get(self.comparator, self.comparator)
        return f"{sign} {format_quantity(self.limit, self.unit, exact=True)}"

    @property
    def headroom_text(self) -> str:
        """Fraction of the limit left; "n/a" when it was not measured or the limit is zero."""
        return format_share(self.headroom)

    @property
    def bound_text(self) -> str:
        """The best value this data allows, when one is known."""
        return format_quantity(self.bound, self.unit, limit=self.limit)

    @property
    def size_text(self) -> str:
        """Samples x processes, "" when nothing was measured."""
        if not self.processes:
            return ""
        return f"{format_quantity(self.samples, 'count')} × {self.processes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One promise with its rows, worst first."""

    id: str
    claim: str
    owner: str
    blocking: bool
    verdict: str
    reason: str
    rows: tuple[Row, ...]

    @property
    def look(self) -> Look:
        """Sign, tone and meaning of the verdict."""
        return VERDICT_LOOKS[self.verdict]

    @property
    def lead(self) -> Row | None:
        """The row that decides the gate: the worst of those that count.

        A row with the gate's own verdict goes first, so that no PASS stands beside a miss. Where no
        row counts, those that bear the gate's name speak for it, not what is shown beside them.
        """
        counting = [row for row in self.rows if row.blocking]
        counting = counting or [row for row in self.rows if row.id.startswith(f"{self.id}.")]
        counting = counting or list(self.rows)
        agreeing = [row for row in counting if row.verdict == self.verdict]
        return next(iter(agreeing or counting), None)

    @property
    def tally(self) -> str:
        """ "6 rows: 1 FAIL, 5 PASS"."""
        count = Counter(row.verdict for row in self.rows)
        parts = [f"{count[verdict]} {verdict}" for verdict in VERDICT_LOOKS if count[verdict]]
        rows = "1 row" if len(self.rows) == 1 else f"{len(self.rows)} rows"
        return f"{rows}: {', '.join(parts)}" if parts else "no rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """An accepted miss: who, until when, why."""

    gate: str
    reason: str
    owner: str
    expires: str
    commits: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the pages show."""

    run: Mapping[str, Any]
    manifest: Mapping[str, Any]
    verdict: str
    label: str
    exit_code: int
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]
    waivers: tuple[Waiver, ...]
    alarms: tuple[str, ...] = field(default=())
    proof: ProofShown | None = None
    anchor: AnchorShown | None = None
    reliability: ReliabilityShown | None = None

    @property
    def look(self) -> Look:
        """Sign and tone of the decision; a contradicted one is never shown in its own colour."""
        return CONTRADICTED if self.alarms else DECISION_LOOKS[self.verdict]

    @property
    def headline(self) -> str:
        """What is printed huge: the label up to its comma, so "CI HOLD", never a bare GO for CI."""
        return self.label.partition(",")[0].strip() or self.verdict

    @property
    def subline(self) -> str:
        """The rest of the label: "not a release verdict"."""
        return self.label.partition(",")[2].strip()

    @property
    def blocking(self) -> tuple[Gate, ...]:
        """Gates that decide, worst first."""
        return tuple(gate for gate in self.gates if gate.blocking)

    @property
    def advisory(self) -> tuple[Gate, ...]:
        """Gates shown beside, worst first."""
        return tuple(gate for gate in self.gates if not gate.blocking)

    def counts(self) -> dict[str, int]:
        """Verdicts of the blocking gates, worst first, zeros left out."""
        count = Counter(gate.verdict for gate in self.blocking)
        return {verdict: count[verdict] for verdict in VERDICT_LOOKS if count[verdict]}


def read_report(run_dir: Path) -> Report:
    """Read `verdicts.json` and `manifest.json` of a run; nothing is written.

    Every text comes back legible: what no document can carry or what would turn the reading
    direction (control characters, lone surrogates, bidirectional marks) is U+FFFD instead.

    Raises
    ------
    FileNotFoundError
        One of the two files is missing: a run without evidence has no report.
    ValueError
        Not JSON, another schema version, an unknown verdict, or a field of the contract missing.
    """
    verdicts = _read_json(run_dir / "verdicts.json")
    manifest = _read_json(run_dir / "manifest.json")
    version = verdicts.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ValueError(f"{run_dir.name}: verdicts.json has version {version}, want 1")
    try:
        return _report(verdicts, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run_dir.name}: verdicts.json breaks its contract: {error!r}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: want a JSON object, got {type(content).__name__}")
    legible: dict[str, Any] = _legible(content)
    return legible


def _legible(tree: Any) -> Any:
    if isinstance(tree, str):
        return _ILLEGIBLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(_BREAKS.split(tree)))
    if isinstance(tree, list):
        return [_legible(value) for value in tree]
    if isinstance(tree, dict):
        return {_legible(key): _legible(value) for key, value in tree.items()}
    return tree


def _report(verdicts: Mapping[str, Any], manifest: Mapping[str, Any]) -> Report:
    run, decision = verdicts["run"], verdicts["decision"]
    gates = tuple(
        sorted(
            (_gate(raw) for raw in verdicts["gates"]),
            key=lambda gate: (not gate.blocking, rank(gate.verdict)),
        )
    )
    DECISION_LOOKS[decision["verdict"]]  # an unknown decision is an error here, not on the page
    return Report(
        run=run,
        manifest=manifest,
        verdict=decision["verdict"],
        label=str(decision.get("label") or decision["verdict"]),
        exit_code=int(decision["exit_code"]),
        reasons=tuple(str(reason) for reason in decision.get("reasons", ())),
        gates=gates,
        waivers=tuple(_waiver(raw) for raw in verdicts.get("waivers", ())),
        alarms=_contradictions(run, manifest, decision, gates),
        proof=proof_shown(verdicts.get("proof")),
        anchor=anchor_shown(
            verdicts.get("anchor"), [row for gate in verdicts["gates"] for row in gate["rows"]]
        ),
        reliability=reliability_shown(verdicts.get("reliability")),
    )


def _gate(raw: Mapping[str, Any]) -> Gate:
    rows = [_row(row, str(raw["id"])) for row in raw["rows"]]
    rank(raw["verdict"])
    return Gate(
        id=str(raw["id"]),
        claim=str(raw["claim"]),
        owner=str(raw.get("owner") or ""),
        blocking=bool(raw["blocking"]),
        verdict=str(raw["verdict"]),
        reason=str(raw.get("reason") or ""),
        rows=tuple(sorted(rows, key=_worst_first)),
    )


def _worst_first(row: Row) -> tuple[int, bool, float]:
    room = row.headroom if row.headroom is not None else float("inf")
    return rank(row.verdict), not row.blocking, room


def _row(raw: Mapping[str, Any], gate: str) -> Row:
    unit, limit = str(raw.get("unit") or ""), _number(raw.get("limit"))
    return Row(
        id=str(raw["id"]),
        gate=gate,
        label=str(raw.get("label") or raw["id"]),
        claim=str(raw.get("claim") or ""),
        blocking=bool(raw["blocking"]),
        verdict=str(raw["verdict"]),
        reason=str(raw.get("reason") or ""),
        metric=str(raw.get("metric") or ""),
        statistic=str(raw.get("statistic") or ""),
        unit=unit,
        comparator=str(raw.get("comparator") or ""),
        limit=limit,
        estimate=_number(raw.get("estimate")),
        low=_number(raw.get("low")),
        high=_number(raw.get("high")),
        headroom=_number(raw.get("headroom")),
        bound=_number(raw.get("bound")),
        bound_reason=str(raw.get("bound_reason") or ""),
        evidence=str(raw.get("evidence") or ""),
        accepts=tuple(str(tier) for tier in raw.get("accepts") or ()),
        samples=int(raw.get("samples") or 0),
        processes=int(raw.get("processes") or 0),
        population=raw.get("population") or {},
        context=raw.get("context") or {},
        measurement=str(raw.get("measurement") or ""),
        beside=tuple(_beside(other, unit, limit) for other in raw.get("beside") or ()),
    )


def _beside(raw: Mapping[str, Any], unit: str, limit: float | None) -> Beside:
    own_unit = str(raw.get("unit") or unit)
    low, high = _number(raw.get("low")), _number(raw.get("high"))
    known = low is not None and high is not None
    return Beside(
        subject=str(raw["subject"]),
        value=format_quantity(_number(raw.get("estimate")), own_unit, limit=limit),
        interval=format_interval(low, high, own_unit, limit=limit) if known else "",
    )


def _waiver(raw: Mapping[str, Any]) -> Waiver:
    commits = raw.get("commits") or ""
    listed = isinstance(commits, Sequence) and not isinstance(commits, str)
    return Waiver(
        gate=str(raw["gate"]),
        reason=str(raw.get("reason") or ""),
        owner=str(raw.get("owner") or ""),
        expires=str(raw.get("expires") or ""),
        commits=" to ".join(str(commit) for commit in commits) if listed else str(commits),
        state=str(raw.get("state") or ""),
    )


def _number(raw: Any) -> float | None:
    if raw is None or isinstance(raw, bool):
        return None
    return float(raw)


def _contradictions(
    run: Mapping[str, Any],
    manifest: Mapping[str, Any],
    decision: Mapping[str, Any],
    gates: Sequence[Gate],
) -> tuple[str, ...]:
    """What can't be true of one honest run: shown above everything else, never smoothed over."""
    alarms = []
    verdict, exit_code = decision["verdict"], int(decision["exit_code"])
    unsettled = [gate.id for gate in gates if gate.blocking and gate.verdict not in SETTLED]
    if verdict == "GO" and unsettled:
        alarms.append(
            f"The decision says GO, but these blocking gates do not: {', '.join(unsettled)}."
        )
    if verdict == "GO" and not any(gate.blocking for gate in gates):
        alarms.append("The decision says GO, but no gate blocks in this profile.")
    if exit_code not in _EXIT_CODES[verdict]:
        alarms.append(f"The decision says {verdict}, but the exit code is {exit_code}.")
    for gate in gates:
        worse = [row.label for row in gate.rows if row.blocking and row.verdict not in SETTLED]
        if gate.verdict == "PASS" and worse:
            alarms.append(f"{gate.id} says {gate.verdict}, but not its rows {', '.join(worse)}.")
        if gate.verdict == "PASS" and not any(row.estimate is not None for row in gate.rows):
            alarms.append(f"{gate.id} says PASS, but nothing was measured.")
    alarms.extend(
        f"verdicts.json and manifest.json disagree on {name}: {run[name]!r} and {manifest[name]!r}."
        for name in ("id", "profile", "commit", "content_digest", "config_digest")
        if name in run and name in manifest and run[name] != manifest[name]
    )
    return tuple(alarms)
