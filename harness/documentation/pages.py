"""Reading the project's Markdown: blocks, tables, headings, links.

A block that must not run has its reason in a comment on the line before it,
`<!-- not run: minutes; `make gate` is what runs it -->`; one of shell commands whose last one fails
on purpose has `<!-- exit status 1 -->`. Those of runbooks are the gate ops.ready's. A `text` block
after a block that runs is what it prints, where `...` stands for anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.documentation.finding import PageError

__all__ = [
    "LANGUAGES",
    "Block",
    "anchors",
    "blocks",
    "guides",
    "headings",
    "pages",
    "prose",
    "reference",
    "section",
    "spans",
    "table",
]

LANGUAGES = ("python", "sh", "text", "toml", "yaml")
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NOT_RUN, _STATUS = "not run: ", "exit status "
_RUNBOOKS = "operations"  # a folder of `docs`


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    line
        Number of its first line in the page, from 1.
    not_run
        Why it is not executed; an empty string if it is.
    status
        Exit status that shell commands must have.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str = ""
    status: int = 0

    @property
    def runs(self) -> bool:
        """It is executed."""
        return self.language in ("python", "sh") and not self.not_run


def guides(root: Path) -> list[Path]:
    """Pages that a user reads."""
    front = [root / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
    return [*front, *sorted(root.glob("docs/**/*.md"))]


def pages(root: Path) -> list[Path]:
    """The guides, the format, and the decisions."""
    more = [root / "src" / "titanstore" / "FORMAT.md"]
    return [*guides(root), *more, *sorted(root.glob("reports/decisions/*.md"))]


def reference(root: Path, name: str) -> Path:
    """A page of the reference."""
    return root / "docs" / "reference" / f"{name}.md"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Fenced blocks in their order, all or those of one language.

    Raises
    ------
    PageError
        A block is not closed, is of a language that nothing checks, or has a mark that means
        nothing.
    """
    text = page.read_text(encoding="utf-8")
    found = [_block(page, text, one) for one in _FENCE.finditer(text)]
    if text.count("```") != 2 * len(found):
        raise PageError(f"{page.name}: a block is not closed")
    return [one for one in found if language in (None, one.language)]


def _block(page: Path, text: str, found: re.Match[str]) -> Block:
    line = text.count("\n", 0, found.start("text")) + 1
    language, mark = found["language"], found["mark"] or ""
    if language not in LANGUAGES:
        raise PageError(f"{page.name}:{line}: a block of {language!r}, know {', '.join(LANGUAGES)}")
    not_run, status = "", 0
    if page.parent.name == _RUNBOOKS:
        not_run = "a step of a runbook, which ops.ready carries out whole (harness.procedures)"
    elif mark.startswith(_NOT_RUN):
        not_run = mark.removeprefix(_NOT_RUN)
    elif re.fullmatch(rf"{_STATUS}\d+", mark) and language == "sh":
        status = int(mark.removeprefix(_STATUS))
    elif mark:
        raise PageError(f"{page.name}:{line}: the mark {mark!r} means nothing")
    return Block(
        page=page, line=line, language=language, text=found["text"], not_run=not_run, status=status
    )


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Inline code, without that of blocks."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(page))]


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading, in order."""
    found = re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)
    return [(len(signs), text) for signs, text in found]


def anchors(page: Path) -> set[str]:
    """Names of the headings as links write them."""
    return {
        re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        for _, text in headings(page)
    }


def section(page: Path, heading: str) -> str:
    """Text from a heading of level 2 to the next one; raises PageError if there is none."""
    parts = re.split(r"^## (.+)$", prose(page), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        raise PageError(f"{page.name} has no section {heading!r}")
    return found[heading]


def table(page: Path, heading: str) -> dict[str, list[str]]:
    """Rows of a section's tables by each code span of their first cell.

    Raises
    ------
    PageError
        There is no such section, or a name comes twice.
    """
    rows: dict[str, list[str]] = {}
    for line in section(page, heading).splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            for name in re.findall(r"`([^`]+)`", cells[0]):
                if name in rows:
                    raise PageError(f"{page.name}: {name} comes twice")
                rows[name] = cells[1:]
    return rows
