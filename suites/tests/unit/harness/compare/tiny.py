"""A git repository with a tiny `titanstore` and three benchmarks, for tests that build and run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.compare.run import CompareOptions
from harness.compare.sides import Side, Suite

STORE = """
import time

STEPS = 2_000


def work():
    total = 0
    for step in range(STEPS):
        total += step
    return total


def rest():
    time.sleep(0.004)


def same():
    return sum(range(2_000))
"""

TIMINGS = """
import titanstore


class Work:
    core = True
    version = "1"

    def setup(self):
        self.calls = 0

    def time_work(self):
        self.calls += 1
        titanstore.work()

    def teardown(self):
        assert self.calls


class Rest:
    core = True
    version = "1"

    def time_rest(self):
        titanstore.rest()


class Same:
    core = True
    version = "1"
    params = [1, 3]
    param_names = ["times"]

    def time_same(self, times):
        for _ in range(times):
            titanstore.same()


class NotCore:
    def time_work(self):
        raise AssertionError("never run")
"""


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *words], capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commit(root: Path, files: dict[str, str], message: str = "change") -> str:
    """Write files, commit all, and return the commit's id."""
    write(root, files)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


def make_repository(root: Path) -> str:
    """The first commit; its id."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q", "-b", "main")
    return commit(
        root,
        {
            "src/titanstore/__init__.py": STORE,
            "suites/timings/__init__.py": "",
            "suites/timings/counted.py": TIMINGS,
            ".gitignore": "__pycache__/\n/out/\n",
        },
    )


def suite_of(root: Path) -> Suite:
    return Suite(timings=root / "suites" / "timings", root=root)


def side_of(root: Path, name: str = "base") -> Side:
    """The working tree itself as a side, for tests that build nothing."""
    return Side(
        name=name,
        label=name,
        commit="0" * 40,
        content_digest="0" * 32,
        dirty=False,
        source=root / "src",
        python=Path(sys.executable),
        environment="the running interpreter",
    )


def options_of(root: Path, base: str, head: str = "HEAD", **more: object) -> CompareOptions:
    out = root / "out"
    given: dict[str, object] = {
        "reports": out / "reports",
        "cache": out / "cache",
        "calibrations": out / "calibrations",
        "suite": suite_of(root),
        "command": ["harness", "compare", base, head],
        **more,
    }
    return CompareOptions(base=base, head=head, root=root, **given)  # type: ignore[arg-type]
