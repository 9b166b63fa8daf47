"""Accepted misses: who accepts what, why, for which commits, and until when.

A file of TOML: [[waiver]] gate, reason, owner, expires (a date), commits ("A..B" or one commit).
An expired waiver is a FAIL of its gate whatever was measured (SPEC section 3), so that nobody
forgets it: it is renewed, or taken out of the file.
"""

from __future__ import annotations

import datetime
import subprocess
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError

__all__ = ["Waiver", "load_waivers"]

_FIELDS = ("gate", "reason", "owner", "expires", "commits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One waiver, and its state on the day of the run: "active", "expired", "other commits"."""

    gate: str
    reason: str
    owner: str
    expires: str
    commits: str
    state: str


def load_waivers(
    path: Path | None, *, gates: Collection[str], commit: str, root: Path, today: datetime.date
) -> list[Waiver]:
    """Read a file of waivers; without a path there are none.

    Raises
    ------
    UsageError
        Not TOML, a field missing, empty or unknown, an unknown gate, no date.
    """
    if path is None:
        return []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from error
    entries = document.get("waiver", [])
    if set(document) - {"waiver"} or not isinstance(entries, list):
        raise UsageError(f"{path}: want [[waiver]] tables and nothing else")
    if not all(isinstance(raw, dict) for raw in entries):
        raise UsageError(f"{path}: want [[waiver]] tables, with the fields {', '.join(_FIELDS)}")
    return [_waiver(raw, path, gates, commit, root, today) for raw in entries]


def _waiver(
    raw: Mapping[str, Any],
    path: Path,
    gates: Collection[str],
    commit: str,
    root: Path,
    today: datetime.date,
) -> Waiver:
    wrong = set(raw) ^ set(_FIELDS)
    if wrong:
        raise UsageError(
            f"{path}: a waiver has exactly {', '.join(_FIELDS)}; "
            f"missing or too many: {', '.join(sorted(wrong))}"
        )
    if raw["gate"] not in gates:
        raise UsageError(f"{path}: no gate {raw['gate']!r}; there are {', '.join(gates)}")
    expires = raw["expires"]
    if not isinstance(expires, datetime.date):
        raise UsageError(f"{path}: expires is a date like 2027-01-31, got {expires!r}")
    for name in ("reason", "owner", "commits"):
        if not isinstance(raw[name], str) or not raw[name].strip():
            raise UsageError(f"{path}: a waiver needs a {name}")
    state = "active"
    if today > (expires.date() if isinstance(expires, datetime.datetime) else expires):
        state = "expired"
    elif not _covers(raw["commits"], commit, root):
        state = "other commits"
    return Waiver(
        gate=raw["gate"],
        reason=raw["reason"],
        owner=raw["owner"],
        expires=expires.isoformat(),
        commits=raw["commits"],
        state=state,
    )


def _covers(commits: str, commit: str, root: Path) -> bool:
    """Is `commit` the one named, or within "A..B" (A itself included)?"""
    first, dots, last = commits.partition("..")
    if not dots:
        return len(first) >= 7 and commit.startswith(first)
    return _is_ancestor(first, commit, root) and _is_ancestor(commit, last or commit, root)


def _is_ancestor(older: str, newer: str, root: Path) -> bool:
    if older.startswith("-") or newer.startswith("-"):
        return False  # would be read as an option
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "merge-base", "--is-ancestor", older, newer],
            capture_output=True,
            check=False,
            timeout=60,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: a NUL in a name
        return False  # what cannot be shown to be covered is not
    return done.returncode == 0
