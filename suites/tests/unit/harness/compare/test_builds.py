"""Risk: other code is timed than the one that was named."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.compare import builds
from harness.compare.environments import Environment, running_environment
from harness.environment import code_of
from harness.errors import UsageError
from suites.tests.unit.harness.compare.tiny import STORE, commit, git, make_repository, write

INIT = "src/titanstore/__init__.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_repository(tmp_path / "repo")
    return tmp_path / "repo"


def built(root: Path, word: str, *, is_head: bool = False) -> Path:
    revision = builds.find_revision(root, word, is_head=is_head)
    side = builds.build_side(
        "base", revision, root, root / "out" / "cache", running_environment(root)
    )
    return side.source


def test_a_commit_is_built_as_it_was_whatever_the_tree_holds(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, {INIT: "STEPS = 1\n"})
    write(root, {INIT: "STEPS = 2\n"})
    assert (built(root, first) / "titanstore/__init__.py").read_text() == STORE
    assert (built(root, "main") / "titanstore/__init__.py").read_text() == "STEPS = 1\n"
    source = built(root, "HEAD", is_head=True)
    assert (source / "titanstore/__init__.py").read_text() == "STEPS = 2\n"
    assert list((source / "titanstore/__pycache__").glob("*.pyc"))
    assert git(root, "status", "--porcelain") == f"M {INIT}"


def test_the_word_head_is_the_working_tree_for_head_only(root: Path) -> None:
    git(root, "config", "status.showUntrackedFiles", "no")
    write(root, {"new.txt": "x"})
    assert builds.find_revision(root, "HEAD", is_head=True).dirty
    assert not builds.find_revision(root, "HEAD", is_head=False).dirty
    assert not builds.find_revision(root, "main", is_head=True).dirty
    label = builds.find_revision(root, "HEAD", is_head=True).label
    assert label == "HEAD with uncommitted changes"
    (root / "new.txt").unlink()
    assert not builds.find_revision(root, "HEAD", is_head=True).dirty


def test_the_content_digest_is_that_of_a_gate_run(root: Path) -> None:
    revision = builds.find_revision(root, "main", is_head=False)
    cache = root / "out" / "cache"
    side = builds.build_side("base", revision, root, cache, running_environment(root))
    assert side.content_digest == code_of(root).content_digest
    write(root, {"data/new.txt": "x", INIT: "STEPS = 3\n"})
    (root / "link").symlink_to("data/new.txt")
    dirty = builds.find_revision(root, "HEAD", is_head=True)
    side = builds.build_side("head", dirty, root, cache, running_environment(root))
    assert side.content_digest == code_of(root).content_digest
    assert side.dirty


def test_paths_of_both_kinds_of_tree_are_equally_long(root: Path) -> None:
    write(root, {INIT: "STEPS = 4\n"})
    assert len(str(built(root, "main"))) == len(str(built(root, "HEAD", is_head=True)))


def test_a_tree_is_made_once(root: Path) -> None:
    source = built(root, "main")
    made = source.stat().st_ino
    assert built(root, "main") == source
    assert source.stat().st_ino == made


def _edit_a_source(source: Path) -> None:
    (source / "titanstore/__init__.py").write_text(STORE.replace("2_000", "9_000"))


def _edit_what_is_compiled(source: Path) -> None:
    (compiled,) = (source / "titanstore/__pycache__").glob("*.pyc")
    compiled.write_bytes(compiled.read_bytes()[:-1] + b"x")


def _add_a_file(source: Path) -> None:
    (source / "titanstore/new.py").write_text("")


def _remove_a_file(source: Path) -> None:
    (source / "titanstore/__init__.py").unlink()


def _remove_the_seal(source: Path) -> None:
    (source.parent / "__pycache__/seal").unlink()


@pytest.mark.parametrize(
    "change",
    [_edit_a_source, _edit_what_is_compiled, _add_a_file, _remove_a_file, _remove_the_seal],
)
@pytest.mark.parametrize("is_dirty", [False, True], ids=["commit", "working tree"])
def test_a_kept_tree_that_was_changed_is_made_anew_and_told(
    root: Path, change: Callable[[Path], None], *, is_dirty: bool
) -> None:
    if is_dirty:
        write(root, {"new.txt": "x"})
    word = "HEAD" if is_dirty else "main"
    revision = builds.find_revision(root, word, is_head=is_dirty)
    told: list[str] = []

    def build() -> Path:
        cache, running = root / "out" / "cache", running_environment(root)
        return builds.build_side("base", revision, root, cache, running, told.append).source

    source = build()
    before = {path.relative_to(source) for path in source.rglob("*")}
    change(source)
    assert build() == source
    (line,) = told
    assert "was changed since it was made" in line
    assert (source / "titanstore/__init__.py").read_text() == STORE
    assert {path.relative_to(source) for path in source.rglob("*")} == before
    assert [path.name for path in source.parents[1].iterdir()] == [source.parent.name]
    build()
    assert len(told) == 1


def test_a_tree_of_another_python_is_another_tree(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would add its compiled files, and the tree would seem changed each time."""
    ours = built(root, "main")
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-999")
    assert built(root, "main") != ours


def test_nothing_half_made_is_taken_for_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builds, "_compile", stop)
        with pytest.raises(KeyboardInterrupt):
            built(root, "main")
    assert list((root / "out" / "cache" / "trees").iterdir()) == []
    assert (built(root, "main") / "titanstore" / "__init__.py").exists()


def test_old_trees_are_pruned_and_those_in_use_are_not(root: Path) -> None:
    cache = root / "out" / "cache"
    trees = []
    for number in range(5):
        commit(root, {INIT: f"STEPS = {number}\n"})
        trees.append(built(root, "main").parent)
        os.utime(trees[-1], (number, number))
    gone = builds.prune(cache, keep=[trees[0]], kept=2)
    assert sorted(gone) == sorted(trees[1:3])
    assert [tree.is_dir() for tree in trees] == [True, False, False, True, True]


def test_environments_and_what_killed_builds_left_are_pruned_too(tmp_path: Path) -> None:
    names = [
        "working-a.unfinished", "trees/b.unfinished", "trees/new.unfinished",
        "environments/c.unfinished", "environments/0", "environments/1", "environments/2",
    ]  # fmt: skip
    for age, name in enumerate(names):
        (tmp_path / name).mkdir(parents=True)
        if "new" not in name:
            os.utime(tmp_path / name, (age, age))
    builds.prune(tmp_path, keep=[tmp_path / "environments/0"], kept=1)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "trees", "trees/new.unfinished", "environments", "environments/0", "environments/2"
    }  # fmt: skip


@pytest.mark.parametrize("word", ["nowhere", "main:src", "--help", ""])
def test_a_word_that_is_no_commit(root: Path, word: str) -> None:
    with pytest.raises(UsageError, match="no commit"):
        builds.find_revision(root, word, is_head=False)


def test_outside_of_git(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no git checkout"):
        builds.find_revision(tmp_path, "HEAD", is_head=True)


def test_a_shallow_clone_says_how_to_get_the_rest(root: Path, tmp_path: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    commit(root, {"new.txt": "x"})
    git(tmp_path, "clone", "-q", "--depth", "1", root.as_uri(), "shallow")
    for word in (first, "HEAD~1", "release"):
        with pytest.raises(UsageError, match="shallow clone") as caught:
            builds.find_revision(tmp_path / "shallow", word, is_head=False)
        for advice in ("git fetch --unshallow", "git fetch --deepen", "fetch-depth: 0"):
            assert advice in str(caught.value)
    assert builds.find_revision(tmp_path / "shallow", "main", is_head=False).commit != first
    git(tmp_path / "shallow", "fetch", "-q", "--unshallow")
    assert builds.find_revision(tmp_path / "shallow", first, is_head=False).commit == first


def test_a_branch_that_only_the_remote_has_is_named(root: Path, tmp_path: Path) -> None:
    git(root, "branch", "topic")
    git(tmp_path, "clone", "-q", root.as_uri(), "clone")
    with pytest.raises(UsageError, match="'origin/topic' is known"):
        builds.find_revision(tmp_path / "clone", "topic", is_head=False)


def test_a_commit_without_the_store(root: Path) -> None:
    shutil.rmtree(root / "src")
    commit(root, {"other.txt": "x"})
    with pytest.raises(UsageError, match="has no src/titanstore"):
        built(root, "main")


def test_changed_paths(root: Path) -> None:
    base = builds.find_revision(root, "main", is_head=False)
    git(root, "checkout", "-q", "-b", "other")
    commit(root, {"src/titanstore/codec/a.py": "1\n", "docs/x.md": "x\n"})
    other = builds.find_revision(root, "other", is_head=True)

    def changed(*paths: str, head: builds.Revision = other) -> list[str]:
        return builds.changed_paths(root, base, head, paths)

    assert changed("src/titanstore/codec") == ["src/titanstore/codec/a.py"]
    assert changed("docs", "src") == ["docs/x.md", "src/titanstore/codec/a.py"]
    assert changed("suites") == []
    with pytest.raises(UsageError, match="neither side has it"):
        changed("sources")
    write(root, {"suites/new.py": "", "docs/y.md": ""})
    dirty = builds.find_revision(root, "HEAD", is_head=True)
    assert changed("suites", head=dirty) == ["suites/new.py"]
    assert changed("docs", head=dirty) == ["docs/x.md", "docs/y.md"]


def test_an_environment_without_a_lock_file_is_the_running_one(root: Path) -> None:
    running = running_environment(root)
    assert running.pins == {}
    side = builds.build_side(
        "base",
        builds.find_revision(root, "main", is_head=False),
        root,
        root / "out" / "cache",
        Environment(python=Path("/x/python"), told="told", pins={}),
    )
    assert (side.python, side.environment) == (Path("/x/python"), "told")
