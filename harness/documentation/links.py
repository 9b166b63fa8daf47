"""Links of pages, and files that their text names.

A link out of the project is checked by its form only: a measurement asks nobody else's server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from harness.documentation.finding import Finding
from harness.documentation.pages import anchors, guides, pages, prose, spans

__all__ = ["check_links", "check_paths"]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TOP = ("src/", "harness/", "suites/", "fixtures/", "docs/", "reports/decisions", ".ci/")


def check_links(root: Path) -> Iterator[Finding]:
    """Every link of every page: its file, and in a Markdown file its heading."""
    for page in pages(root):
        for target in _LINK.findall(prose(page)):
            where = f"{page.relative_to(root)}: {target}"
            yield Finding(kind="link", what=where, fault=_fault(page, target))


def _fault(page: Path, target: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        parts = urlsplit(target)
        good = parts.scheme == "https" and re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc)
        return "" if good else "not of the form https://host/path"
    path, _, anchor = target.partition("#")
    goal = (page.parent / path).resolve() if path else page
    if not goal.exists():
        return "no such file"
    if anchor and (goal.suffix != ".md" or anchor not in anchors(goal)):
        return "no such heading"
    return ""


def check_paths(root: Path) -> Iterator[Finding]:
    """Inline code that begins with a folder of the project; `<name>` in it stands for any."""
    for page in guides(root):
        for span in sorted(set(spans(page))):
            if span.startswith(_TOP) and "<" not in span:
                fault = "" if (root / span).exists() else "no such file"
                yield Finding(kind="path", what=f"{page.relative_to(root)}: {span}", fault=fault)
