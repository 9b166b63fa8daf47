"""What a fault of the catalogue is: how it is put in, and what each judge must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CATCH", "LEFT_OUT", "QUIET", "Cell", "Fault", "catch", "quiet"]

QUIET = "quiet"
CATCH = "catch"
LEFT_OUT = "the same without the fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one judge must say about one fault.

    Attributes
    ----------
    wanted
        Verdicts that are right; several only where a quiet judge may be unsure.
    kind
        "catch" or "quiet".
    because
        Words that the judge's reason must contain: else it was right by accident.
    between
        Least and largest value that the judge may have seen, for the same reason: what is judged
        must be as large as what was put in makes it.
    """

    judge: str
    wanted: tuple[str, ...]
    kind: str
    because: str = ""
    between: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, or one control in which nothing is broken.

    Attributes
    ----------
    kind
        Which module injects it: "run", "soak" or "compare".
    tier
        Evidence tier that the gates judge; a row has that of its evidence.
    settings
        What the injector needs to know.
    control
        Id of the control that is the same without the fault. The cells of this fault, judged on
        the control's evidence, must come out as missed: that is the cell `LEFT_OUT`, which is
        there wherever there is a control. Else who catches might have said the same anyway.
    """

    id: str
    title: str
    injected: str
    kind: str
    tier: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Those of the catalogue, and `LEFT_OUT`."""
        return (*self.cells, catch(LEFT_OUT, "missed")) if self.control else self.cells

    def __post_init__(self) -> None:
        judges = [cell.judge for cell in self.cells]
        if not judges or len(set(judges)) < len(judges):
            raise ValueError(f"{self.id}: each of its judges once, got {judges}")


def catch(
    judge: str, *wanted: str, because: str = "", between: tuple[float, float] | None = None
) -> Cell:
    """One who must notice."""
    return Cell(judge=judge, wanted=wanted, kind=CATCH, because=because, between=between)


def quiet(judge: str, *wanted: str, because: str = "") -> Cell:
    """One who must keep quiet, which is PASS unless another verdict is named."""
    return Cell(judge=judge, wanted=wanted or ("PASS",), kind=QUIET, because=because)
