"""A profile judged: its findings, the lines behind them, the accounts. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.memory.accounts import Account, account_of
from harness.memory.findings import (
    BYTES_A_VECTOR,
    TIER_TOLERANCE,
    Finding,
    Line,
    line_finding,
    worst_growth,
)

__all__ = ["Judged", "judge", "parts_of"]

COUNTED = ("anonymous", "shared memory", "swapped", "dirty file pages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What follows from the parts.

    Attributes
    ----------
    accounts
        By session.
    sizes, added
        Numbers of vectors, one a process, and what it added by "counted" and "anonymous".
    fillings
        By tier: (bytes stated, bytes added), one a process.
    lines
        By "vectors", "hot" and "warm".
    """

    findings: tuple[Finding, ...]
    accounts: Mapping[str, Account]
    sizes: tuple[float, ...]
    added: Mapping[str, tuple[float, ...]]
    fillings: Mapping[str, tuple[tuple[float, float], ...]]
    lines: Mapping[str, Line | None]


def parts_of(parts: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Parts of one kind by the rest of their names: "session", "traced", "memray", "vectors"."""
    return {
        name.removeprefix(f"{kind} "): part
        for name, part in parts.items()
        if name.startswith(f"{kind} ")
    }


def judge(parts: Mapping[str, Any]) -> Judged:
    """Findings of a profile's parts."""
    findings: list[Finding] = []
    sessions = parts_of(parts, "session")
    recorded = parts_of(parts, "memray")
    accounts = {}
    for name, session in sessions.items():
        findings += worst_growth(name, session["timelines"])
        dimension = int(session["population"]["dimension"])
        accounts[name] = account_of(session, recorded[name], dimension)
    sizes, added = _vectors(parts)
    finding, line = line_finding(
        "anonymous memory against the number of vectors",
        sizes,
        added["anonymous"],
        at_least=-math.inf,
        at_most=BYTES_A_VECTOR,
        unit="B",
        wanted=f"at most {BYTES_A_VECTOR:g} bytes a vector",
    )
    findings.append(finding)
    lines: dict[str, Line | None] = {"vectors": line}
    fillings = _fillings(parts["filling"]["processes"])
    for tier, points in fillings.items():
        finding, lines[tier] = line_finding(
            f"{tier} tier: bytes by the kernel for each byte it states",
            [stated for stated, _ in points],
            [seen for _, seen in points],
            at_least=1 - TIER_TOLERANCE,
            at_most=1 + TIER_TOLERANCE,
            unit="B",
            wanted=f"{1 - TIER_TOLERANCE:g} to {1 + TIER_TOLERANCE:g}",
        )
        findings.append(finding)
    return Judged(
        findings=tuple(findings),
        accounts=accounts,
        sizes=sizes,
        added=added,
        fillings=fillings,
        lines=lines,
    )


def _vectors(parts: Mapping[str, Any]) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
    processes = [
        (float(part["vectors"]), one["facts"]["by_type"])
        for part in parts_of(parts, "vectors").values()
        for one in part["processes"]
    ]
    return (
        tuple(size for size, _ in processes),
        {
            "counted": tuple(float(sum(types[n] for n in COUNTED)) for _, types in processes),
            "anonymous": tuple(float(types["anonymous"]) for _, types in processes),
        },
    )


def _fillings(
    processes: Sequence[Mapping[str, Any]],
) -> dict[str, tuple[tuple[float, float], ...]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for one in processes:
        facts = one["facts"]
        stated = float(sum(facts["tiers"].values()))  # the other tier holds a little too
        found.setdefault(facts["tier"], []).append((stated, float(one["added"])))
    return {tier: tuple(points) for tier, points in found.items()}
