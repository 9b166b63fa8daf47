"""The same accesses derived from what people really did: a git repository's history.

Every file that a commit touches is visited and saved, commit by commit, oldest first (SPEC
section 4, "git replay"; FACTS, "Hit ratio on real histories": 22 chunks a file, one or three
saves per file and commit).
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.workload.trace import Parameter, Trace
from harness.workload.visits import VisitRecorder, save_document

__all__ = ["Commit", "git_replay", "read_history"]

COMMITS_MAX = 5_000
READS_MAX = 200_000  # the oldest commits are left out, so that a long history stays a short trace
OUTPUT_BYTES_MAX = 256 * 10**6
TIMEOUT_S = 120.0
CHUNKS_PER_DOCUMENT, DIMENSION, SAVES = 22, 1024, 1

# The user's settings and the repository's must neither change the answer nor start a program.
_SETTINGS = (
    "core.fsmonitor=false",
    "core.quotePath=false",
    "diff.renames=false",
    "diff.external=",
    "log.showSignature=false",
    "log.showRoot=true",
    "log.mailmap=false",
    "protocol.allow=never",
)
_FILE_MODES = (b"100644", b"100755")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit that is no merge: its id, and the files it added or changed, in git's order."""

    id: str
    files: tuple[bytes, ...]


def read_history(repository: Path, *, commits_max: int = COMMITS_MAX) -> tuple[Commit, ...]:
    """The newest `commits_max` commits of HEAD that are no merges, oldest first.

    Parameters
    ----------
    repository
        A folder inside a git working tree, or a bare repository.

    Raises
    ------
    ValueError
        No such folder, no git, not a repository, no commit, or more than 256 MB or 120 s of
        answer; the message holds git's own.

    Notes
    -----
    Runs `git log --raw -z`: with -z a file may have any name, and with --raw each is led by its
    modes, so that deleted files, submodules and links are told apart and left out.
    """
    if commits_max < 1:
        raise ValueError(f"{commits_max} commits, at least 1 wanted")
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = ["git", "--no-pager", *settings, "log", "--raw", "-z", "--no-abbrev"]
    command += ["--no-renames", "--no-merges", "--no-ext-diff", "--no-color", "--reverse"]
    command += [f"--max-count={commits_max}", "--format=%H", "HEAD", "--"]
    return tuple(_parse(_run(command, repository).split(b"\0")))


def _run(command: Sequence[str], folder: Path) -> bytes:
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}")
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    environment |= {"GIT_TERMINAL_PROMPT": "0"}
    with tempfile.TemporaryFile() as said:
        try:
            git = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        except FileNotFoundError as error:
            raise ValueError("git is not installed") from error
        # killing git ends the read below: neither its time nor its answer is without bound
        alarm = threading.Timer(TIMEOUT_S, git.kill)
        alarm.start()
        try:
            assert git.stdout is not None
            with git.stdout:  # closed early, git ends by SIGPIPE
                answer = git.stdout.read(OUTPUT_BYTES_MAX + 1)
            status = git.wait()
        finally:
            alarm.cancel()
            git.kill()
        if len(answer) > OUTPUT_BYTES_MAX:
            raise ValueError(f"git log in {folder}: more than {OUTPUT_BYTES_MAX} bytes")
        if status == -signal.SIGKILL:
            raise ValueError(f"git log in {folder}: killed, took more than {TIMEOUT_S:g} s")
        if status:
            said.seek(0)
            words = said.read(65_536).decode("utf-8", "replace").strip().splitlines()
            raise ValueError(f"git log in {folder}: {words[-1] if words else status}")
    return answer


def _parse(fields: Sequence[bytes]) -> Iterator[Commit]:
    """A commit id, then for each file ":old-mode new-mode old-id new-id status" and its name."""
    commit, files = b"", list[bytes]()
    rest = iter(fields)
    for word in rest:
        told = word.lstrip(b"\n")
        if told.startswith(b":"):
            name = next(rest)
            if told.split(b" ")[1] in _FILE_MODES:
                files.append(name)
        elif told:
            if files:
                yield Commit(id=commit.decode("ascii"), files=tuple(files))
            commit, files = told, []
    if files:
        yield Commit(id=commit.decode("ascii"), files=tuple(files))


def git_replay(
    repository: Path,
    seed: int = 0,
    *,
    saves: int = SAVES,
    commits_max: int = COMMITS_MAX,
    reads_max: int = READS_MAX,
    chunks_per_document: int = CHUNKS_PER_DOCUMENT,
    dimension: int = DIMENSION,
) -> Trace:
    """Replay a history: `saves` times per commit, each of its files is saved in turn.

    Parameters
    ----------
    repository, commits_max
        As for `read_history`.
    seed
        Chooses the 1 to 3 chunks that a save changes, and the think time; nothing else.
    saves
        Rounds over the files of a commit: 1 is what history proves, 3 what people do.
    reads_max
        Commits are taken from the newest back until their reads would exceed this.

    Returns
    -------
    Trace
        Documents are numbered by first appearance; a renamed file is a new one. `source` is the
        newest commit's id: with the parameters it determines the trace.

    Raises
    ------
    ValueError
        As for `read_history`, or when no commit within the bounds touches a file.
    """
    if min(saves, reads_max, chunks_per_document, dimension) < 1:
        raise ValueError("saves, reads, chunks and dimensions must be at least 1")
    history = read_history(repository, commits_max=commits_max)
    taken = _newest(history, files=reads_max // (saves * chunks_per_document))
    if not taken:
        raise ValueError(f"{repository}: no commit touches a file within {reads_max} reads")
    rng = np.random.default_rng(seed)
    recorder = VisitRecorder(rng)
    numbers: dict[bytes, int] = {}
    for commit in taken:
        for _ in range(saves):
            for name in commit.files:
                document = numbers.setdefault(name, len(numbers))
                recorder.visit(save_document(rng, document, chunks_per_document))
    parameters: dict[str, Parameter] = {"saves": saves, "commits": len(taken)}
    parameters |= {"commits_max": commits_max, "reads_max": reads_max}
    return recorder.finish(
        name=f"git:{repository.resolve().name}",
        seed=seed,
        documents=len(numbers),
        chunks_per_document=chunks_per_document,
        row_bytes=4 * dimension,
        parameters=parameters,
        source=taken[-1].id,
    )


def _newest(history: tuple[Commit, ...], *, files: int) -> tuple[Commit, ...]:
    """The longest end of a history with at most so many changed files in all."""
    first = len(history)
    while first and len(history[first - 1].files) <= files:
        first -= 1
        files -= len(history[first].files)
    return history[first:]
