"""A real repository's history becomes the accesses it stands for, whatever the files are called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.workload import git
from harness.workload.git import git_replay, read_history
from harness.workload.trace import Operation

ODD = [
    b"new\nline",
    b":100644 100644 a b M",
    b"tab\there",
    b"\xff not utf-8",
    b"-option",
    b"f" * 40,
]


def run(folder: Path, *words: str | bytes) -> None:
    names = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{name}_NAME": "n" for name in names} | {f"GIT_{name}_EMAIL": "e" for name in names}
    when = {f"GIT_{name}_DATE": "2026-01-01T00:00:00Z" for name in names}
    environment = {**os.environ, **who, **when, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *words], cwd=folder, env=environment, check=True, capture_output=True)


def commit(folder: Path, message: str, *options: str) -> None:
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "-m", message, *options)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    run(folder, "init", "-q", "-b", "main")
    for name in ODD:
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x\n")
    commit(folder, "odd names")
    (folder / "a.py").write_text("1\n")
    (folder / "link").symlink_to("a.py")
    commit(folder, "two, one of them a link")
    commit(folder, "nothing", "--allow-empty")
    (folder / "a.py").write_text("2\n")
    (folder / "link").unlink()
    Path(os.fsdecode(bytes(folder) + b"/" + ODD[0])).unlink()
    commit(folder, "one change, two deletions")
    (folder / "a.py").rename(folder / "b.py")
    commit(folder, "a rename is a new file")
    return folder


def test_history_lists_added_and_changed_files(repository: Path) -> None:
    history = read_history(repository)
    assert [commit.files for commit in history] == [
        tuple(sorted(ODD)),
        (b"a.py",),
        (b"a.py",),
        (b"b.py",),
    ]
    assert all(len(commit.id) == 40 for commit in history)


def test_the_users_settings_change_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_history(repository)
    settings = tmp_path / "config"
    settings.write_text("[log]\nshowSignature = true\n[diff]\nrenames = copies\nnoprefix = true\n")
    settings.write_text(settings.read_text() + "[color]\nui = always\n[core]\nquotePath = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(settings.read_text())
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert read_history(repository) == expected


def test_the_newest_commits_are_kept(repository: Path) -> None:
    assert [commit.files for commit in read_history(repository, commits_max=2)] == [
        (b"a.py",),
        (b"b.py",),
    ]


def test_each_file_of_each_commit_is_saved_once(repository: Path) -> None:
    trace = git_replay(repository, seed=5)
    assert trace.documents == len(ODD) + 2
    assert trace.reads == 22 * (len(ODD) + 3)
    assert trace.source == read_history(repository)[-1].id
    assert git_replay(repository, seed=5).digest == trace.digest
    assert git_replay(repository, seed=6).digest != trace.digest
    opened = [access.document for access in trace if access.chunk == 0 and not access.operation]
    assert opened == [*range(len(ODD)), 6, 6, 7]
    assert sum(access.operation is Operation.WRITE for access in trace) >= len(ODD) + 3


def test_saves_multiply_the_visits(repository: Path) -> None:
    once, thrice = (git_replay(repository, saves=saves) for saves in (1, 3))
    assert thrice.reads == 3 * once.reads


def test_the_oldest_commits_go_when_the_trace_would_be_too_long(repository: Path) -> None:
    assert git_replay(repository, reads_max=60).reads == 44
    with pytest.raises(ValueError, match="within 10 reads"):
        git_replay(repository, reads_max=10)


def test_what_is_no_repository_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        read_history(tmp_path / "absent")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".git").write_text("gitdir: nowhere")
    with pytest.raises(ValueError, match=r"git log in .*not a git repository"):
        read_history(tmp_path)
    (tmp_path / ".git").unlink()
    run(tmp_path, "init", "-q")
    with pytest.raises(ValueError, match="git log in"):
        read_history(tmp_path)
    with pytest.raises(ValueError, match="at least 1"):
        read_history(tmp_path, commits_max=0)


def test_answers_are_bounded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "OUTPUT_BYTES_MAX", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_history(repository)


def test_git_missing_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="git is not installed"):
        read_history(repository)
