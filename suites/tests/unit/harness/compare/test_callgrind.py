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
