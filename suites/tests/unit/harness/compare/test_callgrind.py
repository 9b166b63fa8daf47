"""Risk: counts that are not exact, or a machine without valgrind that seems to count."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.compare import callgrind
from harness.compare.progress import CompareProgress
from harness.compare.rawfile import read_lines
from harness.compare.sides import Bench
from harness.errors import HarnessError
from suites.tests.unit.harness.compare.tiny import STORE, TIMINGS, side_of, suite_of, write

needs_valgrind = pytest.mark.skipif(
    shutil.which("callgrind_control") is None, reason="valgrind is not installed"
)
WORK = Bench(name="counted.Work.time_work", benchmark="counted.Work.time_work", place=None)
SAME = Bench(name="counted.Same.time_same(3)", benchmark="counted.Same.time_same", place=1)
WRONG = Bench(name="counted.Wrong.time_wrong", benchmark="counted.Wrong.time_wrong", place=None)
DEAD = Bench(name="counted.Dead.time_dead", benchmark="counted.Dead.time_dead", place=None)
BROKEN = Bench(name="counted.Broken.time_it", benchmark="counted.Broken.time_it", place=None)
FAULTY = """

class Wrong:
    core = True

    def time_wrong(self):
        self.answer = titanstore.same()

    def teardown(self):
        assert self.answer == 1, "other bits"


class Dead:
    core = True

    def time_dead(self):
        import os
        os._exit(9)


class Broken:
    core = True

    def time_it(self):
        raise KeyError("gone")

    def teardown(self):
        open("{mark}", "a").write("torn down\\n")
"""
EXEC = Bench(name="counted.Exec.time_exec", benchmark="counted.Exec.time_exec", place=None)
MORE = """

class Exec:
    core = True

    def time_exec(self):
        exec("1 + 1")
"""


def test_a_machine_without_valgrind_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="valgrind, which is not installed") as caught:
        callgrind.require_valgrind()
    assert caught.value.exit_code == 3


@needs_valgrind
def test_counts_are_exact_and_a_slowdown_is_counted_twice(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("base", "head")]
    slow = STORE.replace("STEPS = 2_000", "STEPS = 2_600")
    for root, store in zip(roots, (STORE, slow), strict=True):
        write(
            root,
            {
                "src/titanstore/__init__.py": store,
                "suites/timings/__init__.py": "",
                "suites/timings/counted.py": TIMINGS + MORE,
            },
        )
    sides = (side_of(roots[0], "base"), side_of(roots[1], "head"))
    work = tmp_path / "work"
    work.mkdir()
    callgrind.count(
        sides, [WORK, SAME, EXEC], suite_of(roots[0]), tmp_path, work, CompareProgress()
    )
    lines = read_lines(tmp_path / "counts.jsonl")
    assert [(line["run"], line["name"]) for line in lines] == [
        (1, WORK.name), (1, SAME.name), (1, EXEC.name), (2, WORK.name),
    ]  # fmt: skip
    first, same, executed, second = lines
    assert first["head"] / first["base"] == pytest.approx(1.3, abs=0.02)
    assert abs(first["base"] - second["base"]) <= 1e-4 * first["base"]
    assert abs(same["base"] - same["head"]) <= 1e-4 * same["base"]
    assert "runs `exec` itself" in executed["failed"]


@needs_valgrind
def test_what_fails_under_callgrind_is_told_torn_down_and_not_counted(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    write(
        tmp_path,
        {
            "src/titanstore/__init__.py": STORE,
            "suites/timings/__init__.py": "",
            "suites/timings/counted.py": TIMINGS + FAULTY.replace("{mark}", str(mark)),
        },
    )
    sides = (side_of(tmp_path, "base"), side_of(tmp_path, "head"))
    work = tmp_path / "work"
    work.mkdir()
    benches = [WRONG, DEAD, BROKEN, SAME]
    assert callgrind.count(sides, benches, suite_of(tmp_path), tmp_path, work, CompareProgress())
    lines = {line["name"]: line for line in read_lines(tmp_path / "counts.jsonl")}
    assert list(lines) == [bench.name for bench in benches]
    assert "base: AssertionError: other bits" in lines[WRONG.name]["failed"]
    assert "head: AssertionError: other bits" in lines[WRONG.name]["failed"]
    assert "exit status 9" in lines[DEAD.name]["failed"]
    assert "KeyError: 'gone'" in lines[BROKEN.name]["failed"]
    assert mark.read_text() == 2 * "torn down\n"
    assert lines[SAME.name]["failed"] == ""
    assert lines[SAME.name]["base"] > 0
    assert all(line["base"] == 0 for line in lines.values() if line["failed"])
