"""Rows of the matrix, fault by judge: what was wanted, what was seen; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.prove.catalogue import CATALOGUE, by_id
from harness.prove.fault import Cell, Fault
from harness.prove.seen import Seen

__all__ = [
    "AS_EXPECTED",
    "STATES",
    "exit_code_of",
    "is_as_the_catalogue_says",
    "left_out",
    "not_run_row",
    "row_of",
    "verdict_of",
]

AS_EXPECTED, MISSED, TRIPPED, NOT_RUN = "as expected", "missed", "tripped", "could not run"
STATES = (MISSED, TRIPPED, NOT_RUN, AS_EXPECTED)
_ABSENT = "nothing"


def row_of(fault: Fault, seen: Seen, **facts: Any) -> dict[str, Any]:
    """The row of one fault: "missed" if one who must catch it did not, "tripped" if one who must
    keep quiet did not, "as expected" otherwise.

    A judge who said nothing at all is neither right nor quiet.
    """
    cells = [_cell(cell, seen) for cell in fault.all_cells]
    wrong = {cell["kind"] for cell in cells if not cell["right"]}
    state = MISSED if "catch" in wrong else TRIPPED if wrong else AS_EXPECTED
    head = {**_head(fault), "tier": seen.tier or fault.tier}
    return {**head, "state": state, "reason": "", "cells": cells, **facts}


def left_out(fault: Fault, seen: Seen) -> str:
    """What becomes of a fault's own cells on the evidence of its control."""
    return str(row_of(replace(fault, control=""), seen)["state"])


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
    value = seen.values.get(cell.judge)
    right = verdict in cell.wanted and cell.because in reason and _fits(value, cell.between)
    return {
        "judge": cell.judge,
        "kind": cell.kind,
        "wanted": _wanted(cell),
        "seen": verdict,
        "reason": reason,
        "value": value,
        "right": right,
    }


def _fits(value: float | None, between: tuple[float, float] | None) -> bool:
    if between is None:
        return True
    return value is not None and between[0] <= value <= between[1]


def _wanted(cell: Cell) -> str:
    more = [cell.because] if cell.because else []
    if cell.between is not None:
        more.append(f"{cell.between[0]:g} to {cell.between[1]:g}")
    return " or ".join(cell.wanted) + (f" ({', '.join(more)})" if more else "")


def not_run_row(fault: Fault, reason: str, **facts: Any) -> dict[str, Any]:
    """The row of a fault that could not be injected here."""
    return {**_head(fault), "state": NOT_RUN, "reason": reason, "cells": [], **facts}


def is_as_the_catalogue_says(row: Mapping[str, Any]) -> bool:
    """Does all that a row claims follow from what its judges said, by today's catalogue?

    So that a cell called right, or a state called as expected, is not taken at its word.
    """
    try:
        fault = by_id(row["fault"])
    except KeyError:
        return False
    seen = Seen(tier=row["tier"])
    for cell in row["cells"]:
        seen.add(cell["judge"], cell["seen"], cell["reason"], cell["value"])
    again = row_of(fault, seen)
    return all(again[name] == row[name] for name in again)


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
