"""Two runs of the gates side by side: verdicts that changed, values that moved; pure.

A value is compared by the rule for anchors (`harness.anchors`): the interval of the ratio is made
of the bounds of both runs. Runs of different machines or configurations are not compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.anchors import anchor_of, beside_row, why_strange
from harness.report.model import Report, Row

__all__ = ["GatePair", "RowPair", "RunDiff", "diff_runs"]

_ABSENT = "not there"
_ORDER = ("worse", "better", "no difference seen", "not comparable")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePair:
    """A gate's verdict in both runs; "not there" where a run does not have it."""

    id: str
    blocking: bool
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPair:
    """A row in both runs; None where a run does not have it.

    Attributes
    ----------
    seen
        "worse", "better", "no difference seen", "not comparable".
    ratio, low, high
        After / before with its interval; None for counts and where nothing is compared.
    """

    id: str
    before: Row | None
    after: Row | None
    seen: str
    reason: str
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def some(self) -> Row:
        """The row of the later run, else that of the earlier."""
        row = self.after or self.before
        assert row is not None
        return row

    @property
    def told(self) -> bool:
        """There is something to see: a value, or another verdict."""
        rows = (self.before, self.after)
        return self.changed or any(row is not None and row.estimate is not None for row in rows)

    @property
    def changed(self) -> bool:
        """Its verdict is another one."""
        verdicts = {None if row is None else row.verdict for row in (self.before, self.after)}
        return len(verdicts) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """What two runs have different.

    Attributes
    ----------
    strange
        Why no value of the two is comparable; an empty string if values are.
    rows
        Changed verdicts first, then values that moved, then the rest; each in the order of gates.
    """

    before: Report
    after: Report
    strange: str
    gates: tuple[GatePair, ...]
    rows: tuple[RowPair, ...]

    def count(self, seen: str) -> int:
        """Rows of which that was seen."""
        return sum(row.seen == seen for row in self.rows)


def diff_runs(
    before: Report, after: Report, verdicts: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> RunDiff:
    """Compare two runs.

    Parameters
    ----------
    before, after
        As `read_report` gives them.
    verdicts
        The content of verdicts.json of both, in the same order.

    Raises
    ------
    KeyError
        A manifest that does not say which machine and configuration it is of.
    """
    anchor = anchor_of("before", before.manifest, verdicts[0])
    strange = why_strange(anchor, after.manifest)
    anchored = {row["id"]: row for row in anchor["rows"]}
    compared = {
        row["id"]: beside_row(row, anchored.get(row["id"]), strange)
        for gate in verdicts[1]["gates"]
        for row in gate["rows"]
    }
    rows_of = [{row.id: row for gate in run.gates for row in gate.rows} for run in (before, after)]
    rows = [
        _pair(name, rows_of[0].get(name), rows_of[1].get(name), compared.get(name))
        for name in dict.fromkeys([*rows_of[1], *rows_of[0]])
    ]
    rows.sort(key=lambda row: (not row.changed, _ORDER.index(row.seen)))  # stable
    return RunDiff(
        before=before,
        after=after,
        strange=strange,
        gates=tuple(_gate_pairs(before, after)),
        rows=tuple(rows),
    )


def _gate_pairs(before: Report, after: Report) -> Iterator[GatePair]:
    earlier, later = ({gate.id: gate for gate in run.gates} for run in (before, after))
    for name in dict.fromkeys([*later, *earlier]):
        pair = earlier.get(name), later.get(name)
        verdicts = [_ABSENT if gate is None else gate.verdict for gate in pair]
        yield GatePair(
            id=name,
            blocking=any(gate is not None and gate.blocking for gate in pair),
            before=verdicts[0],
            after=verdicts[1],
        )


def _pair(
    name: str, before: Row | None, after: Row | None, compared: Mapping[str, Any] | None
) -> RowPair:
    if before is None or after is None or compared is None:
        which = "earlier" if after is None else "later"
        compared = {"verdict": "not comparable", "reason": f"only in the {which} run"}
    return RowPair(
        id=name,
        before=before,
        after=after,
        seen=compared["verdict"],
        reason=compared["reason"].replace("the anchor", "the earlier run"),
        ratio=compared.get("ratio"),
        low=compared.get("low"),
        high=compared.get("high"),
    )
