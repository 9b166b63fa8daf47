"""What a report shows of the reliability campaign: what was tried, and whether it is of this code.

It is evidence beside the gates and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PartShown", "ReliabilityShown", "UnitShown", "reliability_shown"]

_DONE = {
    "kill": "SIGKILL just before a call that writes",
    "power-cut": "what was not synced dropped, torn or reordered",
    "trouble": "a call of the disk refused, once or for good",
    "damage": "bytes of files changed, files cut short",
    "input": "hostile files, names and documents read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitShown:
    """One scenario of one part."""

    part: str
    scenario: str
    known: int
    tried: int
    faults: int
    not_run: str

    @property
    def tried_text(self) -> str:
        """ "132 of 132", or why none."""
        return f"not run: {self.not_run}" if self.not_run else f"{self.tried:,} of {self.known:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartShown:
    """All scenarios of one part."""

    name: str
    done: str
    units: tuple[UnitShown, ...]

    @property
    def tried_text(self) -> str:
        """Points tried of those known."""
        tried, known = (sum(getattr(u, name) for u in self.units) for name in ("tried", "known"))
        missing = sum(bool(unit.not_run) for unit in self.units)
        text = f"{tried:,} of {known:,}"
        return f"{text}; {missing} of {len(self.units)} not run" if missing else text

    @property
    def faults(self) -> int:
        """Points that did not end as they must."""
        return sum(unit.faults for unit in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityShown:
    """The counts beside a run.

    Attributes
    ----------
    is_of_this_content
        Were they counted on the very files that this run measured?
    faults
        In words, the first of them.
    """

    size: str
    commit: str
    ended: str
    is_complete: bool
    is_of_this_content: bool
    not_run: tuple[str, ...]
    parts: tuple[PartShown, ...]
    faults: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What a reader needs to know of it, in one paragraph."""
        return " ".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        tried = sum(unit.tried for part in self.parts for unit in part.units)
        count = sum(part.faults for part in self.parts)
        faults = f"{count:,} faults" if count != 1 else "1 fault"
        yield f"{tried:,} points tried, {faults} found ({self.size} campaign, {self.ended})."
        if not self.is_of_this_content:
            yield (
                f"Counted on ANOTHER CONTENT, commit {self.commit[:10]}: it says nothing of what "
                "changed since."
            )
        if not self.is_complete:
            yield "NOT COMPLETE: some parts or scenarios were not tried."
        for reason in self.not_run:
            yield f"Not run: {reason}."
        yield "It decides nothing."

    @property
    def line(self) -> str:
        """The parts in words, for pages without a table."""
        return "; ".join(
            f"{part.name}: {part.tried_text} tried, {part.faults:,} faults" for part in self.parts
        )


def reliability_shown(raw: Mapping[str, Any] | None) -> ReliabilityShown | None:
    """From `reliability` of verdicts.json; None where a run has nothing to say of it."""
    if raw is None:
        return None
    units = [
        UnitShown(
            part=str(unit["part"]),
            scenario=str(unit["scenario"]),
            known=int(unit["points_known"]),
            tried=int(unit["points_tried"]),
            faults=int(unit["faults"]),
            not_run=str(unit["not_run"]),
        )
        for unit in raw["units"]
    ]
    names = dict.fromkeys(unit.part for unit in units)
    return ReliabilityShown(
        size=str(raw["size"]),
        commit=str(raw["commit"]),
        ended=str(raw["ended"]),
        is_complete=bool(raw["is_complete"]),
        is_of_this_content=bool(raw["is_of_this_content"]),
        not_run=tuple(map(str, raw["not_run"])),
        parts=tuple(
            PartShown(
                name=name,
                done=_DONE.get(name, ""),
                units=tuple(unit for unit in units if unit.part == name),
            )
            for name in names
        ),
        faults=tuple(
            f"{fault['part']}, {fault['scenario']}: {fault['point']}: {fault['what']}"
            for fault in raw["faults"]
        ),
    )
