"""The pages of a run, vouched for: pages.json has the SHA-256 of each, and of what they show.

Pages claim nothing of their own, but they are what is read: one that was touched up afterwards is
a difference like any other. They can be made again at any time (`harness report`), so that one
that is missing is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from harness.evidence import read_json, seal_files, write_json

__all__ = ["PAGES", "page_faults", "seal_pages"]

PAGES = "pages.json"
_MADE_OF = ("verdicts.json", "manifest.json")
_NAMES = ("report.html", "report.pdf", "junit.xml", "summary.md")


def seal_pages(run: Path, names: Iterable[str]) -> None:
    """Vouch for pages that were just written, by their names below the run's folder."""
    write_json(
        run / PAGES, {"made_of": seal_files(run, _MADE_OF), "pages": seal_files(run, list(names))}
    )


def page_faults(run: Path) -> list[str]:
    """Pages that are not those which `harness report` made of this run.

    Raises
    ------
    EvidenceError
        pages.json is there and cannot be read.
    """
    found = [run / name for name in _NAMES] + sorted((run / "figures").glob("*"))
    pages = {path.relative_to(run).as_posix(): path for path in found if path.is_file()}
    if not (run / PAGES).is_file():
        return [f"{name} is there without {PAGES}" for name in pages]
    sealed = read_json(run / PAGES)
    vouched = sealed.get("pages")
    known = vouched if isinstance(vouched, dict) else {}
    faults = [
        f"{name} is not the page that was made of this run"
        for name, path in pages.items()
        if known.get(name) != hashlib.sha256(path.read_bytes()).hexdigest()
    ]
    if pages and sealed.get("made_of") != seal_files(run, _MADE_OF):
        faults.append("the pages were made of another verdicts.json or manifest.json")
    return faults
