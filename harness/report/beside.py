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

    @property
    def sentence(self) -> str:
        """Which anchor, and how many rows are worse."""
        head = f"{self.label}, commit {self.commit[:10]}, {self.profile} profile, {self.ended}"
        if self.fault:
            return f"{head}: not comparable, {self.fault}."
        worse = [row.id for row in self.rows if row.verdict == "worse"]
        tail = f"worse: {', '.join(worse)}" if worse else "no row is worse"
        return f"{head}: {tail}."


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
        catching=tuple(_cell(cell) for cell in cells if cell["kind"] == "catch"),
        quiet=tuple(_cell(cell) for cell in cells if cell["kind"] == "quiet"),
    )


def _cell(cell: Mapping[str, Any]) -> str:
    """ "quality.bits: FAIL", and what was wanted where it is not that."""
    wanted = "" if cell["right"] else f", wanted {cell['wanted']}"
    return f"{cell['judge']}: {cell['seen']}{wanted}"


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
    )
