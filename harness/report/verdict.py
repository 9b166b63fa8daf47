"""The seven verdicts as a reader meets them: word, sign, tone, order. Colour is never alone."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTRADICTED", "DECISION_LOOKS", "SETTLED", "VERDICT_LOOKS", "Look", "rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How one verdict is shown everywhere: page, PDF, terminal, job summary."""

    sign: str
    tone: str  # a class of style.css and a key of the palettes in pdf.py and terminal.py
    meaning: str


VERDICT_LOOKS = {
    "FAIL": Look(sign="✗", tone="fail", meaning="measured, and on the wrong side of the limit"),
    "INFEASIBLE": Look(
        sign="⊘", tone="infeasible", meaning="a proven bound excludes the limit on this data"
    ),
    "INVALID": Look(
        sign="!", tone="invalid", meaning="measured in a way that cannot count as evidence"
    ),
    "NOT RUN": Look(sign="○", tone="absent", meaning="no measurement in this run"),
    "INCONCLUSIVE": Look(
        sign="?", tone="hold", meaning="measured, but the interval straddles the limit"
    ),
    "WAIVED": Look(sign="~", tone="waived", meaning="not met, and accepted by a waiver in force"),
    "PASS": Look(
        sign="✓", tone="pass", meaning="the whole interval is on the good side of the limit"
    ),
}
"""Worst first: the order of every list of verdicts."""

SETTLED = frozenset({"PASS", "WAIVED"})

DECISION_LOOKS = {
    "GO": Look(sign="✓", tone="pass", meaning="every blocking gate is PASS or WAIVED"),
    "NO-GO": Look(sign="✗", tone="fail", meaning="a blocking gate is FAIL or INFEASIBLE"),
    "HOLD": Look(sign="?", tone="hold", meaning="nothing failed, but something is not known"),
}

CONTRADICTED = Look(
    sign="⚠", tone="fail", meaning="not to be relied on, for this report contradicts itself"
)
"""How a decision is shown that its own gates, exit code or manifest deny."""

_ORDER = {verdict: place for place, verdict in enumerate(VERDICT_LOOKS)}


def rank(verdict: str) -> int:
    """Place of a verdict, 0 = worst; a KeyError for a word that is none of the seven."""
    return _ORDER[verdict]
