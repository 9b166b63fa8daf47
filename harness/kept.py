"""Where results of one kind are kept: a folder for each, and a link to the newest."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fixtures.titan.recorded import load_recorded
from harness.errors import UsageError

__all__ = ["alone_in", "name_of", "point_latest", "recording_digests", "shown_page"]


def name_of(facts: Mapping[str, Any]) -> str:
    """A folder's name, by all that its parts must have in common; not by the commit's name."""
    text = json.dumps({name: facts[name] for name in sorted(facts) if name != "commit"})
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@contextmanager
def alone_in(folder: Path, command: str) -> Iterator[None]:
    """Nobody else works in this folder meanwhile; the kernel ends it with the process.

    Raises
    ------
    UsageError
        Somebody does.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another `harness {command}` is at work in {folder}") from error
        yield


def point_latest(folder: Path) -> None:
    """Move the link `latest` beside a folder to it, in one step: others may end just now too."""
    fresh = folder.with_name(f".latest-{folder.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(folder.with_name("latest"))


def shown_page(page: Path) -> str:
    """How a page is named to whoever called: by the link, where it leads to its folder."""
    latest = page.parent.with_name("latest")
    is_latest = latest.resolve() == page.parent.resolve()
    return os.path.relpath(latest / page.name if is_latest else page)


def recording_digests(recorded: Path | None) -> dict[str, str]:
    """Which recordings these are: parts made of others are not kept for them.

    Raises
    ------
    UsageError
        They are damaged.
    """
    if recorded is None:
        return {}
    try:
        return {group.name: group.digest for group in load_recorded(recorded)}
    except (OSError, ValueError) as error:
        raise UsageError(f"recorded vectors in {recorded}: {error}") from error
