"""One thing that was looked at in the documentation, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "PageError", "guarded", "same_names", "tally"]


class PageError(Exception):
    """A page has not the form that a check reads; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    kind
        Of what sort it is: "setting", "link", "block", and so on.
    what
        Its name, or where it stands.
    fault
        What is wrong; an empty string if nothing is.
    """

    kind: str
    what: str
    fault: str = ""


def same_names(
    kind: str, page: Path, told: Collection[str], there: Collection[str]
) -> Iterator[Finding]:
    """One finding a name: what the code has the page tells, and the other way about."""
    for name in sorted({*told, *there}):
        if name not in told:
            fault = f"{page.name} does not tell it"
        elif name not in there:
            fault = f"{page.name} tells it, and it is not there"
        else:
            fault = ""
        yield Finding(kind=kind, what=name, fault=fault)


def guarded(kind: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of a check; a page that it cannot read is a fault, not an end."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except (PageError, OSError) as error:
        found.append(Finding(kind=kind, what="its page", fault=str(error)))
    return found


def tally(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """By kind: how many were looked at, and how many have a fault."""
    counts: dict[str, dict[str, int]] = {}
    for one in findings:
        count = counts.setdefault(one.kind, {"checked": 0, "faults": 0})
        count["checked"] += 1
        count["faults"] += bool(one.fault)
    return counts
