"""Clones of this checkout as it is, edits and all, each a repository of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from harness import environment
from harness.prove.seen import CannotRunError

__all__ = ["clone_as_it_is", "commit_all"]


def clone_as_it_is(clone: Path) -> str:
    """A commit with the files of this checkout as they are, in a repository of its own.

    Raises
    ------
    CannotRunError
        No git, or no git checkout.
    """
    root = environment.project_root()
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    clone.mkdir()
    _git(clone, "init", "--quiet")
    for name in sorted({name for name in listed.split("\0") if name}):
        source, target = root / name, clone / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return commit_all(clone, "As it is")


def commit_all(clone: Path, message: str) -> str:
    """Commit every file below a clone, and return the commit's id; raises CannotRunError."""
    _git(clone, "add", "--all", "--force")
    name = ("-c", "user.name=harness prove", "-c", "user.email=prove@localhost")
    _git(clone, *name, "commit", "--quiet", "--no-gpg-sign", "--no-verify", "-m", message)
    return _git(clone, "rev-parse", "HEAD").strip()


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CannotRunError(f"git: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise CannotRunError(f"git {words[0]}: {last}")
    return done.stdout
