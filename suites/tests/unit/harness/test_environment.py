"""Risk: two runs that must not be compared look alike, or an instrument that is on is not seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from harness.environment import (
    Code,
    code_of,
    instruments,
    load_now,
    machine,
    machine_id,
    package_versions,
    project_root,
    require_linux,
)
from harness.errors import UsageError


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with two committed files and an ignored one."""
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("a = 1\n")
    (root / "src" / "b.py").write_text("b = 2\n")
    (root / ".gitignore").write_text("reports/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def test_the_same_tree_is_the_same_code_whatever_its_history(tree: Path) -> None:
    before = code_of(tree)
    assert before == code_of(tree)
    assert not before.dirty
    assert len(before.commit) == 40
    git(tree, "commit", "--quiet", "--allow-empty", "-m", "second")
    after = code_of(tree)
    assert after.content_digest == before.content_digest
    assert after.commit != before.commit


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "src" / "a.py").write_text("a = 2\n"),
        lambda tree: (tree / "src" / "a.py").rename(tree / "src" / "c.py"),
        lambda tree: (tree / "src" / "a.py").unlink(),
        lambda tree: (tree / "src" / "new.py").write_text(""),
        lambda tree: (tree / "src" / "link.py").symlink_to("a.py"),
        lambda tree: (tree / "src" / "ä\n.py").write_text("x"),
    ],
    ids=["edited", "renamed", "deleted", "added", "linked", "odd name"],
)
def test_each_change_of_the_tree_is_other_code(tree: Path, change: object) -> None:
    before = code_of(tree)
    change(tree)  # type: ignore[operator]
    after = code_of(tree)
    assert after.content_digest != before.content_digest
    assert after.commit == before.commit
    assert after.dirty


def test_what_git_ignores_is_not_code(tree: Path) -> None:
    before = code_of(tree)
    (tree / "reports").mkdir()
    (tree / "reports" / "samples.gz").write_text("x")
    assert code_of(tree) == before


def test_content_cannot_move_between_neighbouring_files(tree: Path) -> None:
    (tree / "src" / "a.py").write_text("a = 1\nb")
    (tree / "src" / "b.py").write_text(" = 2\n")
    first = code_of(tree).content_digest
    (tree / "src" / "a.py").write_text("a = 1\n")
    (tree / "src" / "b.py").write_text("b = 2\n")
    assert code_of(tree).content_digest != first


def test_a_tree_without_git_has_a_digest_and_is_dirty(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("a = 1\n")
    first = code_of(tmp_path)
    assert (first.commit, first.dirty) == ("none", True)
    (tmp_path / "src" / "a.py").write_text("a = 2\n")
    assert code_of(tmp_path).content_digest != first.content_digest


def test_a_checkout_whose_state_git_cannot_tell_is_dirty(tree: Path) -> None:
    (tree / ".git" / "index").write_bytes(b"DIRC damaged")
    found: Code = code_of(tree)
    assert found.dirty


def test_the_harness_names_its_own_tree() -> None:
    assert (project_root() / "harness" / "targets.toml").is_file()


@pytest.mark.parametrize("name", ["cpu_model", "cores", "kernel", "memory_bytes", "python", "libc"])
def test_a_machine_that_differs_in_one_fact_is_another(name: str) -> None:
    facts = machine()
    assert machine_id(facts) == machine_id(dict(reversed(facts.items())))
    assert machine_id({**facts, name: "other"}) != machine_id(facts)


def test_every_fact_of_the_machine_is_known() -> None:
    facts = machine()
    assert all(facts.values())
    assert facts["memory_bytes"] > 10**8


def test_load_and_steal_are_read() -> None:
    found = load_now()
    assert found.load >= 0
    assert found.steal_s >= 0


def test_every_instrument_is_known_to_be_on_or_off() -> None:
    assert all(isinstance(state, bool) for state in instruments().values())


def test_tracing_of_allocations_is_seen() -> None:
    was_on = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        assert instruments()["tracemalloc"]
    finally:
        if not was_on:
            tracemalloc.stop()


def test_a_profiler_is_seen() -> None:
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        assert instruments()["tracing"]
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(
    ("variables", "options", "name"),
    [
        ({}, [], ""),
        ({"PYTHONTRACEMALLOC": "1"}, [], "tracemalloc"),
        ({"PYTHONMALLOC": "malloc"}, [], "debug_malloc"),
        ({"PYTHONMALLOC": "pymalloc"}, [], ""),
        ({"OPENBLAS_CORETYPE": "Prescott"}, [], "slow_blas"),
        ({"OPENBLAS_L2_SIZE": "256"}, [], "slow_blas"),
        ({}, ["-X", "dev"], "devmode"),
        ({}, ["-X", "tracemalloc"], "tracemalloc"),
    ],
)
def test_what_is_switched_on_from_outside_is_seen(
    variables: dict[str, str], options: list[str], name: str
) -> None:
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "OPENBLAS", "COV_"))
    }
    program = (
        "import json; from harness.environment import instruments as i; print(json.dumps(i()))"
    )
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        env={**clean, **variables},
        cwd=project_root(),
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert {key for key, on in found.items() if on} == ({name} if name else set())


def test_versions_of_what_is_there_and_of_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = package_versions()
    assert found["numpy"][0].isdigit()
    monkeypatch.setattr("harness.environment._PACKAGES", ("no-such-package-here",))
    assert package_versions() == {"no-such-package-here": "not installed"}


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_linux()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="Linux"):
        require_linux()
