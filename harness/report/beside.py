"""What a report shows beside its gates: the proof that they can fail, and the last release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.quantity import format_quantity

__all__ = ["AnchorRow", "AnchorShown", "ProofRow", "ProofShown", "anchor_shown", "proof_shown"]

_SIGNS = {"as expected": "✓", "missed": "✗", "tripped": "✗", "could not run": "○"}
_TONES = {"as expected": "pass", "missed": "fail", "tripped": "fail", "could not run": "absent"}
_ANCHOR_SIGNS = {"worse": "✗", "better": "✓", "no difference seen": "=", "not comparable": "○"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRow:
    """One fault: who had to catch it, who had to keep quiet, and what they said."""

    fault: str
    title: str
    injected: str
    tier: str
    state: str
    seconds: float
    reason: str
    catching: tuple[str, ...]
    quiet: tuple[str, ...]

    @property
    def sign(self) -> str:
        """Of the state; colour only repeats it."""
        return _SIGNS.get(self.state, "?")

    @property
    def tone(self) -> str:
        """A class of style.css."""
        return _TONES.get(self.state, "hold")

    @property
    def line(self) -> str:
        """The whole row in words, for pages without a table."""
        state = f"{self.state}: {self.reason}" if self.reason else self.state
        catching = "; ".join(self.catching) or "nobody"
        return (
            f"{self.sign} {self.title} ({self.fault}, {self.tier} evidence): {state}. "
            f"Must catch it: {catching}. Must keep quiet: {'; '.join(self.quiet) or 'nobody'}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofShown:
    """The newest proof and whether it counts.

    Attributes
    ----------
    fault
        Why it does not count; an empty string if it does.
    """

    fault: str
    id: str
    verdict: str
    machine: str
    ended: str
    rows: tuple[ProofRow, ...]

    @property
    def sentence(self) -> str:
        """What a reader needs to know of it, in one line."""
        if self.fault:
            return f"{self.fault[:1].upper()}{self.fault[1:]}."
        seconds = format_quantity(sum(row.seconds for row in self.rows), "s")
        return (
            f"{len(self.rows)} faults and controls, all as expected: {self.id}, "
            f"{self.ended}, machine {self.machine}, {seconds}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorRow:
    """One blocking row beside the anchor."""

    id: str
    now: str
    then: str
    ratio: str
    verdict: str
    reason: str
    label: str

    @property
    def sign(self) -> str:
        """Of the verdict."""
        return _ANCHOR_SIGNS.get(self.verdict, "?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorShown:
    """The last release's run beside this one."""

    label: str
    commit: str
    machine: str
    ended: str
    profile: str
    fault: str
    rows: tuple[AnchorRow, ...]
    earlier: tuple[str, ...]
    crept: tuple[AnchorRow, ...]

    @property
    def sentence(self) -> str:
        """Which anchor, how many rows are worse, and how many than in an earlier release."""
        head = f"{self.label}, commit {self.commit[:10]}, {self.profile} profile, {self.ended}"
        if self.fault:
            return f"{head}: not comparable, {self.fault}. {self.creep}".rstrip()
        return f"{head}: {self._worse()}. {self.creep}".rstrip()

    def _worse(self) -> str:
        """In how many rows that are comparable at all; none of them is no good news."""
        compared = [row for row in self.rows if row.verdict != "not comparable"]
        worse = [row.id for row in compared if row.verdict == "worse"]
        if worse:
            return f"worse: {', '.join(worse)}"
        of = f"{len(compared)} of {len(self.rows)} rows are comparable"
        return f"no row is worse ({of})" if compared else f"nothing can be said ({of})"

    @property
    def creep(self) -> str:
        """What became worse since earlier releases; "" where none is comparable."""
        if not self.earlier:
            return ""
        if not self.crept:
            return f"No row is worse than in earlier releases ({', '.join(self.earlier)})."
        rows = ", ".join(f"{row.id} since {row.label}" for row in self.crept)
        return f"Worse than in an earlier release: {rows}."


def proof_shown(raw: Mapping[str, Any] | None) -> ProofShown | None:
    """From `proof` of verdicts.json; None where a run has nothing to say of it."""
    if raw is None:
        return None
    return ProofShown(
        fault=str(raw["fault"]),
        id=str(raw["id"]),
        verdict=str(raw["verdict"]),
        machine=str(raw["machine_id"]),
        ended=str(raw["ended"]),
        rows=tuple(_proof_row(row) for row in raw["rows"]),
    )


def _proof_row(raw: Mapping[str, Any]) -> ProofRow:
    cells = raw["cells"]
    return ProofRow(
        fault=str(raw["fault"]),
        title=str(raw["title"]),
        injected=str(raw["injected"]),
        tier=str(raw["tier"]),
        state=str(raw["state"]),
        seconds=float(raw["seconds"]),
        reason=str(raw["reason"]),
        catching=tuple(_cell(cell) for cell in cells if cell["kind"] == "catch"),
        quiet=tuple(_cell(cell) for cell in cells if cell["kind"] == "quiet"),
    )


def _cell(cell: Mapping[str, Any]) -> str:
    """ "quality.bits: wanted FAIL, seen FAIL, 3", and the reason where that is not right."""
    value = cell.get("value")
    seen = cell["seen"] if value is None else f"{cell['seen']}, {value:.5g}"
    reason = f" ({cell['reason']})" if cell["reason"] and not cell["right"] else ""
    wrong = "" if cell["right"] else "✗ "
    return f"{wrong}{cell['judge']}: wanted {cell['wanted']}, seen {seen}{reason}"


def anchor_shown(
    raw: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]
) -> AnchorShown | None:
    """From `anchor` of verdicts.json and the rows that it speaks of; None without an anchor."""
    if raw is None:
        return None
    known = {row["id"]: row for row in rows}
    return AnchorShown(
        **{name: str(raw[name]) for name in ("label", "commit", "machine", "ended", "profile")},
        fault=str(raw["fault"]),
        rows=tuple(_anchor_row(one, known[one["id"]]) for one in raw["rows"]),
        earlier=tuple(map(str, raw.get("earlier", {}).get("labels", ()))),
        crept=tuple(
            _anchor_row(one, known[one["id"]]) for one in raw.get("earlier", {}).get("rows", ())
        ),
    )


def _anchor_row(raw: Mapping[str, Any], row: Mapping[str, Any]) -> AnchorRow:
    unit, limit = str(row["unit"]), row["limit"]
    ratio = raw["ratio"]
    return AnchorRow(
        id=str(raw["id"]),
        now=format_quantity(row["estimate"], unit, limit=limit),
        then=format_quantity(raw["anchor"], unit, limit=limit),
        ratio="" if ratio is None else f"{ratio:.3f} ({raw['low']:.3f} to {raw['high']:.3f})",
        verdict=str(raw["verdict"]),
        reason=str(raw["reason"]),
        label=str(raw.get("label", "")),
    )
