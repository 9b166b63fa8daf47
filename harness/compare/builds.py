"""The code of each side as a tree of files of its own, cached by commit or by content.

A tree is exported by `git archive`, so nothing in the checkout or in `.git` changes, and compiled
once, so that no side pays for it later. An uncommitted state is copied, file by file, under the
digest of its content: edits made meanwhile change nothing. A kept tree is sealed: what is no longer
as it was made is never timed, but made anew.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.compare.environments import Environment, environment_for
from harness.compare.sides import Side
from harness.errors import HarnessError, UsageError

__all__ = ["Revision", "build_side", "changed_paths", "find_revision", "prune"]

TREES_KEPT = 8
_BUILD_S_MAX = 3_600
_ENDING = ".unfinished"
_PACKAGE = "titanstore"
_CACHED = "__pycache__"  # in no digest of code
_SEAL = Path(_CACHED, "seal")  # within the tree, so that both appear at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What one word of the command line stands for.

    Attributes
    ----------
    commit
        Full id. Of an uncommitted state, the commit that it started from.
    dirty
        True: the files of the working tree, not those of the commit.
    """

    label: str
    commit: str
    dirty: bool


def find_revision(root: Path, word: str, *, is_head: bool) -> Revision:
    """Resolve a branch, tag or commit. As HEAD, the word "HEAD" means the working tree.

    Raises
    ------
    UsageError
        No such commit, or no git checkout; the message says how to get it.
    """
    commit = _commit_of(root, word)
    if commit is None:
        raise UsageError(_why_no_commit(root, word))
    status = ("status", "--porcelain", "--untracked-files=normal")  # whatever the user's settings
    dirty = is_head and word == "HEAD" and bool(_git(root, *status).strip())
    label = "HEAD with uncommitted changes" if dirty else word
    return Revision(label=label, commit=commit, dirty=dirty)


def _commit_of(root: Path, word: str) -> str | None:
    found = _git_or_none(root, "rev-parse", "--verify", "--quiet", f"{word}^{{commit}}")
    return None if found is None else found.strip()


def _why_no_commit(root: Path, word: str) -> str:
    """A CI's checkout has one commit and no branches: the usual reason, and what helps."""
    if _git_or_none(root, "rev-parse", "--git-dir") is None:
        return f"{root} is no git checkout: there are no commits to compare"
    if (_git_or_none(root, "rev-parse", "--is-shallow-repository") or "").strip() == "true":
        return (
            f"no commit {word!r} in this shallow clone, which has only the newest history. Get "
            "the rest: `git fetch --unshallow` (or some of it: `git fetch --deepen 100`); with "
            "GitHub's actions/checkout, `fetch-depth: 0`"
        )
    remotes = (_git_or_none(root, "remote") or "").split()
    there = [f"{one}/{word}" for one in remotes if word and _commit_of(root, f"{one}/{word}")]
    if there:
        return f"no commit {word!r} here, but {there[0]!r} is known: name that"
    return f"no commit {word!r}; see `git branch -a` and `git tag`"


def changed_paths(root: Path, base: Revision, head: Revision, paths: Sequence[str]) -> list[str]:
    """Files below `paths` that differ between both; all of the tree if there are no paths.

    Raises
    ------
    UsageError
        A path that neither side has.
    """
    for path in paths:
        known = _git_or_none(root, "ls-tree", "--name-only", base.commit, "--", path)
        known_head = _git_or_none(root, "ls-tree", "--name-only", head.commit, "--", path)
        if not known and not known_head and not (head.dirty and (root / path).exists()):
            raise UsageError(f"--paths {path}: neither side has it")
    there = [] if head.dirty else [head.commit]
    found = _git(root, "diff", "--name-only", "-z", base.commit, *there, "--", *paths).split("\0")
    if head.dirty:
        new = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *paths)
        found += new.split("\0")
    return sorted({name for name in found if name})


def _tell_nobody(_: str) -> None:
    pass


def build_side(
    name: str,
    revision: Revision,
    root: Path,
    cache: Path,
    running: Environment,
    tell: Callable[[str], None] = _tell_nobody,
) -> Side:
    """Export and prepare one side, or find it in the cache.

    Parameters
    ----------
    tell
        Hears if what the cache held was changed since, and had to be made anew.

    Raises
    ------
    UsageError
        The commit has no `src/titanstore`.
    HarnessError
        git, or the installation of its requirements, failed.
    """
    made = _working_tree if revision.dirty else _commit_tree
    tree = made(root, cache, revision, tell)
    if not (tree / "src" / _PACKAGE).is_dir():
        raise UsageError(f"{revision.label} has no src/{_PACKAGE}: nothing of it can be timed")
    environment = environment_for(tree, cache, running)
    return Side(
        name=name,
        label=revision.label,
        commit=revision.commit,
        content_digest=tree_digest(tree),
        dirty=revision.dirty,
        source=tree / "src",
        python=environment.python,
        environment=environment.told,
    )


def _tree_place(cache: Path, key: str) -> Path:
    """Of one length for both sides: the length of a path must not tell them apart.

    For this Python alone: another one would add its compiled files to the tree.
    """
    return cache / "trees" / f"{key:0>40}-{sys.implementation.cache_tag}"


def _commit_tree(root: Path, cache: Path, revision: Revision, tell: Callable[[str], None]) -> Path:
    target = _tree_place(cache, revision.commit)
    with _made_once(target, tell) as folder:
        if folder is not None:
            with tempfile.TemporaryFile() as archive:
                command = ["git", "-C", str(root), "archive", "--format=tar", revision.commit]
                done = subprocess.run(command, stdout=archive, stderr=subprocess.PIPE, check=False)
                if done.returncode:
                    words = done.stderr.decode(errors="replace").strip()
                    raise HarnessError(f"git archive of {revision.label} failed: {words}")
                archive.seek(0)
                with tarfile.open(fileobj=archive) as content:
                    content.extractall(folder, filter="data")
            _compile(folder)
    return target


def _working_tree(root: Path, cache: Path, _: Revision, tell: Callable[[str], None]) -> Path:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [name for name in listed.split("\0") if name]
    cache.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="working-", suffix=_ENDING, dir=cache))
    try:
        for name in names:
            source, target = root / name, copy / name
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        kept = _tree_place(cache, tree_digest(copy))
        with _made_once(kept, tell) as folder:
            if folder is not None:
                shutil.copytree(copy, folder, symlinks=True, dirs_exist_ok=True)
                _compile(folder)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return kept


@contextmanager
def _made_once(target: Path, tell: Callable[[str], None]) -> Iterator[Path | None]:
    """A folder to fill, which becomes `target` when all went well; None if that is there, whole."""
    if target.is_dir():
        if _is_sealed(target):
            os.utime(target)
            yield None
            return
        tell(f"  {target} was changed since it was made: it is made anew")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{target.name}-", suffix=_ENDING, dir=target.parent))
    try:
        yield folder
        _seal(folder)
        folder.chmod(0o755)
        if target.is_dir() and not _is_sealed(target):
            gone = Path(tempfile.mkdtemp(prefix="gone-", suffix=_ENDING, dir=target.parent))
            with suppress(FileNotFoundError):  # another process was at it too
                target.rename(gone / "tree")
            shutil.rmtree(gone, ignore_errors=True)
        if not target.is_dir():  # else another process was faster, with the same content
            folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seal(tree: Path) -> None:
    path = tree / _SEAL
    path.parent.mkdir(exist_ok=True)
    path.write_text(_whole_digest(tree), encoding="utf-8")


def _is_sealed(tree: Path) -> bool:
    try:
        return (tree / _SEAL).read_text(encoding="utf-8") == _whole_digest(tree)
    except (OSError, UnicodeDecodeError):
        return False


def _whole_digest(tree: Path) -> str:
    """Of each file but the seal: compiled ones too, since it is they that are run."""
    return _digest_of(tree, [path for path in _files(tree) if path != tree / _SEAL])


def _compile(tree: Path) -> None:
    compileall.compile_dir(
        tree / "src",
        quiet=2,
        invalidation_mode=compileall.py_compile.PycInvalidationMode.UNCHECKED_HASH,  # type: ignore[attr-defined]
    )


def tree_digest(tree: Path) -> str:
    """The digest that `harness.environment.code_of` has of a checkout with these files."""
    return _digest_of(tree, [path for path in _files(tree) if _CACHED not in path.parts])


def _files(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_symlink() or path.is_file()]


def _digest_of(tree: Path, files: Sequence[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(str(path.relative_to(tree)) for path in files):
        path = tree / name
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        digest.update(f"{len(os.fsencode(name))}:{len(content)}:".encode())
        digest.update(os.fsencode(name) + content)
    return digest.hexdigest()


def prune(cache: Path, keep: Sequence[Path] = (), kept: int = TREES_KEPT) -> list[Path]:
    """Remove the trees and environments used longest ago, and what killed builds left.

    What was removed is returned. An unfinished build is left alone for an hour: another process may
    be at it.
    """
    gone: list[Path] = []
    for folder in (cache, cache / "trees", cache / "environments"):
        found = [(_used(path), path) for path in (folder.iterdir() if folder.is_dir() else ())]
        half = [(when, path) for when, path in found if path.name.endswith(_ENDING)]
        gone += [path for when, path in half if when < time.time() - _BUILD_S_MAX]
        if folder != cache:
            by_use = sorted((one for one in found if one not in half), reverse=True)
            gone += [path for _, path in by_use[kept:] if path not in keep]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return gone


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process removed it
        return 0.0


def _git(root: Path, *words: str) -> str:
    done = _git_done(root, words)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise HarnessError(f"git {words[0]} failed: {said}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _git_or_none(root: Path, *words: str) -> str | None:
    done = _git_done(root, words)
    return None if done.returncode else done.stdout.decode("utf-8", "surrogateescape")


def _git_done(root: Path, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=False)
