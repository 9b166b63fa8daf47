"""Rows of the matrix, fault by judge: what was wanted, what was seen; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.prove.catalogue import CATALOGUE, Cell, Fault
from harness.prove.seen import Seen

__all__ = ["AS_EXPECTED", "STATES", "exit_code_of", "not_run_row", "row_of", "verdict_of"]

AS_EXPECTED, MISSED, TRIPPED, NOT_RUN = "as expected", "missed", "tripped", "could not run"
STATES = (MISSED, TRIPPED, NOT_RUN, AS_EXPECTED)
_ABSENT = "nothing"


def row_of(fault: Fault, seen: Seen, **facts: Any) -> dict[str, Any]:
    """The row of one fault: "missed" if one who must catch it did not, "tripped" if one who must
    keep quiet did not, "as expected" otherwise.

    A judge who said nothing at all is neither right nor quiet.
    """
    cells = [_cell(cell, seen) for cell in fault.cells]
    wrong = {cell["kind"] for cell in cells if not cell["right"]}
    state = MISSED if "catch" in wrong else TRIPPED if wrong else AS_EXPECTED
    head = {**_head(fault), "tier": seen.tier or fault.tier}
    return {**head, "state": state, "reason": "", "cells": cells, **facts}


def _head(fault: Fault) -> dict[str, Any]:
    return {
        "fault": fault.id,
        "title": fault.title,
        "injected": fault.injected,
        "tier": fault.tier,
    }


def _cell(cell: Cell, seen: Seen) -> dict[str, Any]:
    verdict = seen.verdicts.get(cell.judge, _ABSENT)
    reason = seen.reasons.get(cell.judge, "")
    right = verdict in cell.wanted and cell.because in reason
    return {
        "judge": cell.judge,
        "kind": cell.kind,
        "wanted": " or ".join(cell.wanted) + (f" ({cell.because})" if cell.because else ""),
        "seen": verdict,
        "reason": reason,
        "right": right,
    }


def not_run_row(fault: Fault, reason: str, **facts: Any) -> dict[str, Any]:
    """The row of a fault that could not be injected here."""
    return {**_head(fault), "state": NOT_RUN, "reason": reason, "cells": [], **facts}


def verdict_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """PROVED if every fault of the catalogue has its row, and each is as expected.

    Else NOT PROVED if one was missed or a quiet judge tripped, INCOMPLETE if rows are missing.
    """
    states = {row["fault"]: row["state"] for row in rows}
    if {MISSED, TRIPPED} & set(states.values()):
        return "NOT PROVED"
    wanted = {fault.id for fault in CATALOGUE}
    is_whole = wanted == states.keys() and len(rows) == len(wanted)
    return "PROVED" if is_whole and set(states.values()) == {AS_EXPECTED} else "INCOMPLETE"


def exit_code_of(rows: Sequence[Mapping[str, Any]]) -> int:
    """0 all of these as expected, 1 one missed or tripped, 3 one could not be run, or none."""
    states = {row["state"] for row in rows}
    if {MISSED, TRIPPED} & states:
        return 1
    return 0 if states == {AS_EXPECTED} else 3
