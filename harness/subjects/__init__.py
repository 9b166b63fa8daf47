"""One file a subject. Only `reference` may import the store."""

from __future__ import annotations

from pathlib import Path

from harness.subject import DocumentSubject

__all__ = ["BASELINES", "open_baseline"]

BASELINES = ("current", "sqlite-blob")


def open_baseline(name: str, path: Path) -> DocumentSubject:
    """Open a baseline by name; each is imported when it is used.

    Raises
    ------
    KeyError
        There is no baseline of that name.
    """
    if name == "current":
        from harness.subjects.current import CurrentSubject

        return CurrentSubject(path)
    if name == "sqlite-blob":
        from harness.subjects.sqlite_blob import SqliteBlobSubject

        return SqliteBlobSubject(path)
    raise KeyError(name)
