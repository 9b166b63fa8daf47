"""A runbook as steps. Pure.

In a page, each fenced block of `sh` is a procedure for an operator, and here a script: its
commands are carried out one after the other in one shell. A line that begins with `#>` says what
the command above it prints, `...` standing for anything in a line and a space for any white space;
`#!` is its exit status, where that is not 0. A comment `<!-- drill: NAME -->` in the text, which no
reader sees, makes the condition that the page is for (`harness.procedures.drills`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PROGRAMS", "REQUIRED", "RunbookError", "Step", "is_as_told", "pages", "parse"]

# SPEC section 2, ops.ready: configuration, migration, alerts, fallback, rollback; the plan's others
REQUIRED = (
    "configuration",
    "migration",
    "monitor",
    "fallback",
    "rollback",
    "deploy",
    "upgrade",
    "disk-full",
    "corruption",
    "restore",
)
PROGRAMS = ("bash", "curl", "flock")  # beside coreutils, pip and our own
_DRILL = re.compile(r"^<!-- drill: ([a-z-]+) -->$")
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")


class RunbookError(ValueError):
    """A page that cannot be carried out as it is written."""


@dataclass(slots=True, kw_only=True)
class Step:
    """One command of a page, or a drill.

    Attributes
    ----------
    line
        Number of its first line in the page.
    is_drill
        `text` is the name of a drill.
    told
        What it prints, by the page: parts of it, in their order.
    status
        Exit status, by the page.
    """

    line: int
    text: str
    is_drill: bool = False
    told: list[str] = field(default_factory=list)
    status: int = 0


def pages(folder: Path) -> dict[str, Path]:
    """Pages of a folder with something to carry out, by name."""
    found = sorted(folder.glob("*.md"))
    return {page.stem: page for page in found if "```sh\n" in page.read_text(encoding="utf-8")}


def parse(text: str) -> list[Step]:
    """The steps of a page.

    Raises
    ------
    RunbookError
        A block that does not end, or an expectation without a command.
    """
    steps: list[Step] = []
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if found := _DRILL.match(line):
            steps.append(Step(line=number, text=found[1], is_drill=True))
        elif line == "```sh":
            steps += _block(lines)
        elif line.startswith("```") and line != "```":
            for _, other in lines:
                if other == "```":
                    break
    return steps


def _block(lines: Iterator[tuple[int, str]]) -> list[Step]:
    steps: list[Step] = []
    for number, line in lines:
        if line == "```":
            return steps
        if line.startswith(("#>", "#!")):
            if not steps:
                raise RunbookError(f"line {number}: of which command?")
            if line.startswith("#>"):
                steps[-1].told.append(line[2:].strip())
            else:
                steps[-1].status = int(line[2:])
        elif line.strip() and not line.startswith("#"):
            steps.append(Step(line=number, text=_whole(line, lines)))
    raise RunbookError("a block of the page does not end")


def _whole(line: str, lines: Iterator[tuple[int, str]]) -> str:
    """A command with the lines that belong to it: after a backslash, or up to the end of a text."""
    parts = [line]
    heredoc = _HEREDOC.search(line)
    while parts[-1].endswith("\\") or (heredoc and parts[-1] != heredoc[1]):
        _, more = next(lines, (0, "```"))
        if more == "```":
            raise RunbookError(f"a command does not end: {line}")
        parts.append(more)
    return "\n".join(parts)


def is_as_told(told: Sequence[str], printed: str) -> bool:
    """Are these the lines that were printed, with others between them perhaps?"""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    patterns = [".*".join(re.escape(part) for part in each.split("...")) for each in told]
    return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in patterns)
