"""Risk: a benchmark that was changed is compared as if it were the same, or the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.compare.bodies import body_digests, read_bodies
from harness.environment import project_root

BASE = '''
"""Words."""
from . import shared
from .shared import rows as some_rows
import numpy as np

LIMIT = 3
OTHER = 4

def helper(x):
    return x + LIMIT

class _Common:
    core = True

    def setup(self):
        self.values = some_rows()

class Read(_Common):
    """Reads."""

    version = "1"
    params = [1, 2]

    def time_read(self, n):
        helper(self.values[n])  # a comment

    def time_other(self, n):
        shared.check(n)

    def track_size(self, n):
        return 1

class Off(Read):
    core = False

class _Hidden(_Common):
    def time_hidden(self):
        pass
'''
SHARED = """
STEP = 5

def rows():
    return list(range(0, 100, STEP))

def check(n):
    return deeper(n)

def deeper(n):
    return n

def unused():
    return 1
"""
READ = "room.Read.time_read"
OTHER = "room.Read.time_other"


def digests(base: str = BASE, shared: str = SHARED) -> dict[str, str]:
    return body_digests({"": "", "room": base, "shared": shared})


def changed(old: str, new: str, *, shared: bool = False) -> set[str]:
    before = digests()
    text = SHARED if shared else BASE
    assert old in text
    after = digests(shared=text.replace(old, new)) if shared else digests(text.replace(old, new))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_core_benchmarks_are_found_and_only_they() -> None:
    assert digests().keys() == {READ, OTHER}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # a comment", ""),
        ('"""Reads."""', '"""Other words."""'),
        ("helper(self.values[n])", "helper( self.values[ n ] )"),
        ("OTHER = 4", "OTHER = 5"),
        ("return 1", "return 2"),
    ],
    ids=["comment", "docstring", "layout", "a name it does not use", "another benchmark"],
)
def test_what_does_not_matter(old: str, new: str) -> None:
    assert changed(old, new) == set()


@pytest.mark.parametrize(
    ("old", "new", "whom"),
    [
        ("helper(self.values[n])", "helper(self.values[0])", {READ}),
        ("shared.check(n)", "shared.check(0)", {OTHER}),
        ("LIMIT = 3", "LIMIT = 4", {READ}),
        ("self.values = some_rows()", "self.values = list(some_rows())", {READ, OTHER}),
        ('version = "1"', 'version = "2"', {READ, OTHER}),
        ("params = [1, 2]", "params = [1]", {READ, OTHER}),
    ],
    ids=["body", "other body", "constant", "inherited setup", "version", "parameters"],
)
def test_what_matters_to_whom(old: str, new: str, whom: set[str]) -> None:
    assert changed(old, new) == whom


def test_what_matters_in_another_module() -> None:
    assert changed("STEP = 5", "STEP = 6", shared=True) == {READ, OTHER}
    assert changed("return n\n", "return -n\n", shared=True) == {OTHER}
    assert changed("return 1", "return 2", shared=True) == set()


def test_a_modules_own_setup_matters_to_all_of_its_benchmarks() -> None:
    hook = "\ndef setup():\n    helper(1)\n"
    before, after = digests(BASE + hook), digests(BASE + hook.replace("1", "2"))
    assert {name for name in before if before[name] != after[name]} == {READ, OTHER}


def test_what_a_function_imports_matters() -> None:
    local = BASE.replace("from . import shared\n", "").replace(
        "        shared.check(n)", "        from . import shared\n        shared.check(n)"
    )
    before = digests(local)
    after = digests(local, SHARED.replace("return n\n", "return -n\n"))
    assert {name for name in before if before[name] != after[name]} == {OTHER}


def test_a_renamed_benchmark_is_another_one() -> None:
    assert READ not in digests(BASE.replace("time_read", "time_reads"))


def test_an_inherited_benchmark_has_the_digest_of_its_own_class() -> None:
    more = BASE + "\nclass More(Read):\n    extra = 1\n"
    found = digests(more)
    assert {"room.More.time_read", "room.More.time_other"} <= found.keys()
    assert found["room.More.time_read"] != found[READ]
    assert found[READ] == digests()[READ]


def test_a_file_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (")
    with pytest.raises(ValueError, match="bad"):
        read_bodies(tmp_path)
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bad\.py"):
        read_bodies(tmp_path)


def test_no_folder_has_no_bodies(tmp_path: Path) -> None:
    assert read_bodies(tmp_path / "none") == {}


def test_the_projects_own_benchmarks_all_have_different_bodies() -> None:
    found = read_bodies(project_root() / "suites" / "timings")
    assert "codec.Decode.time_decode_32" in found
    assert len(set(found.values())) == len(found) >= 10
