"""Risk: a round times something else than it says, or leaves something behind."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.compare import rounds, sides
from harness.compare.rounds import SAMPLES, Round, inner_loops, list_benches, run_round
from harness.compare.sides import Bench, SideError, SideProcess
from harness.errors import UsageError
from suites.tests.unit.harness.compare.tiny import STORE, TIMINGS, side_of, suite_of, write

INIT = "src/titanstore/__init__.py"
SAME = Bench(name="counted.Same.time_same(3)", benchmark="counted.Same.time_same", place=1)
WORK = Bench(name="counted.Work.time_work", benchmark="counted.Work.time_work", place=None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {INIT: STORE, "suites/timings/__init__.py": "", "suites/timings/counted.py": TIMINGS},
    )
    return tmp_path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def round_with(root: Path, work: Path, benches: list[Bench], seed: int = 1) -> Round:
    return run_round(
        (side_of(root, "base"), side_of(root, "head")),
        suite_of(root),
        benches,
        {bench.name: 2 for bench in benches},
        np.random.default_rng(seed),
        work,
        run=1,
        number=7,
    )


def test_core_benchmarks_are_listed_by_asvs_names(root: Path, work: Path) -> None:
    found = list_benches(side_of(root), suite_of(root), work)
    assert [bench.name for bench in found.benches] == [
        "counted.Work.time_work",
        "counted.Rest.time_rest",
        "counted.Same.time_same(1)",
        "counted.Same.time_same(3)",
    ]
    assert found.benches[-1] == SAME
    assert found.described["counted.Same.time_same"]["params"] == [["1", "3"]]
    assert (found.failed, found.evidence) == ({}, {})


def test_several_parameters_are_flattened_in_asvs_order() -> None:
    assert list(rounds._products([["1", "2"], ["'a'", "'b'", "'c'"]])) == [
        ["1", "'a'"], ["1", "'b'"], ["1", "'c'"], ["2", "'a'"], ["2", "'b'"], ["2", "'c'"],
    ]  # fmt: skip
    assert list(rounds._products([])) == []


def test_both_processes_share_one_cpu_and_the_parent_gets_its_own_back(
    root: Path, work: Path
) -> None:
    allowed = os.sched_getaffinity(0)
    told = "print(*os.sched_getaffinity(0), file=open(f'{os.environ[\"TMPDIR\"]}/../cpus', 'a'))"
    path = root / "suites" / "timings" / "counted.py"
    path.write_text(f"import os\n{told}\n{path.read_text()}")
    seen = {round_with(root, work, [SAME], seed).cpu for seed in range(1, 9)}
    assert seen == allowed or len(allowed) > 4  # each is drawn sooner or later
    told_cpus = (work / "cpus").read_text().split("\n")[:-1]
    assert len(told_cpus) == 16
    assert all(one == other for one, other in zip(told_cpus[::2], told_cpus[1::2], strict=True))
    assert {int(one) for one in told_cpus} == seen
    assert os.sched_getaffinity(0) == allowed


def test_a_module_that_a_side_cannot_import_is_told(root: Path, work: Path) -> None:
    write(root, {"suites/timings/newer.py": "from titanstore import of_tomorrow\n"})
    found = list_benches(side_of(root), suite_of(root), work)
    assert len(found.benches) == 4
    assert found.failed["newer"].startswith("ImportError: cannot import name 'of_tomorrow'")


def test_what_the_suite_tells_of_its_data_is_kept(root: Path, work: Path) -> None:
    text = "def evidence():\n    return {'rows': {'digest': 'abc'}}\n"
    write(root, {"suites/timings/prepared.py": text})
    found = list_benches(side_of(root), suite_of(root), work)
    assert found.evidence == {"rows": {"digest": "abc"}}


def test_a_sample_lasts_as_long_as_it_should(root: Path, work: Path) -> None:
    loops, failed = inner_loops(side_of(root), suite_of(root), [WORK, SAME], work)
    assert failed == {}
    assert loops.keys() == {WORK.name, SAME.name}
    assert all(number > 1 for number in loops.values())  # single calls last some 0.1 ms


def test_a_round_has_twelve_samples_of_each_side(root: Path, work: Path) -> None:
    found = round_with(root, work, [WORK, SAME])
    assert found.failed == {}
    assert found.samples.keys() == set(found.order) == {WORK.name, SAME.name}
    for base, head in found.samples.values():
        assert (len(base), len(head)) == (SAMPLES, SAMPLES)
        assert min(*base, *head) > 0
    assert (found.run, found.number) == (1, 7)
    assert not psutil.Process().children(recursive=True)


def test_order_start_and_hash_seed_are_drawn_from_one_seed(root: Path, work: Path) -> None:
    drawn = [
        (found.order, found.first, found.hash_seed)
        for seed in (1, 1, 2, 3, 4)
        for found in [round_with(root, work, [WORK, SAME], seed)]
    ]
    assert drawn[0] == drawn[1]
    assert len({seed for _, _, seed in drawn}) == 4
    assert {first for _, first, _ in drawn} == {"base", "head"}


def test_a_benchmark_that_fails_is_told_and_the_others_go_on(root: Path, work: Path) -> None:
    broken = TIMINGS.replace("titanstore.work()", "raise KeyError('gone')")
    write(root, {"suites/timings/counted.py": broken})
    found = round_with(root, work, [WORK, SAME])
    assert "KeyError: 'gone'" in found.failed[WORK.name]
    assert found.samples.keys() == {SAME.name}


def test_an_answer_that_is_wrong_counts_as_failed(root: Path, work: Path) -> None:
    wrong = TIMINGS.replace("assert self.calls", "assert not self.calls, 'other bits'")
    write(root, {"suites/timings/counted.py": wrong})
    found = round_with(root, work, [WORK])
    assert found.failed[WORK.name] == (
        "base: AssertionError: other bits; head: AssertionError: other bits"
    )
    _, failed = inner_loops(side_of(root), suite_of(root), [WORK], work)
    assert "other bits" in failed[WORK.name]


def test_a_setup_that_skips_is_told(root: Path, work: Path) -> None:
    skipping = TIMINGS.replace("self.calls = 0", "raise NotImplementedError")
    write(root, {"suites/timings/counted.py": skipping})
    assert "NotImplementedError" in round_with(root, work, [WORK]).failed[WORK.name]


def test_what_a_benchmark_prints_disturbs_nothing(root: Path, work: Path) -> None:
    noisy = TIMINGS.replace("titanstore.work()", "print('{}'); titanstore.work()")
    write(root, {"suites/timings/counted.py": noisy})
    assert round_with(root, work, [WORK]).failed == {}


def test_the_side_that_runs_is_proved(root: Path, work: Path) -> None:
    """Without the package in its own folder, that of the checkout would be imported."""
    (root / "empty").mkdir()
    stranger = dataclasses.replace(side_of(root), source=root / "empty")
    with pytest.raises(SideError, match="instead of the titanstore below"):
        list_benches(stranger, suite_of(root), work)


DEATHS = {
    "import os; os._exit(9)": "exit status 9",
    "import os; os.kill(os.getpid(), 11)": "killed by signal 11",
    "raise SystemExit(9)": "SystemExit: 9",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_benchmark_that_ends_its_process_has_failed_and_no_other(
    root: Path, work: Path, death: str
) -> None:
    dying = TIMINGS.replace("titanstore.work()", death)
    write(root, {"suites/timings/counted.py": dying})
    found = round_with(root, work, [WORK])
    assert found.failed.keys() == {WORK.name}
    assert DEATHS[death] in found.failed[WORK.name]
    assert not psutil.Process().children(recursive=True)
    for seed in range(4):  # in either order
        found = round_with(root, work, [WORK, SAME], seed)
        assert found.failed.keys() == {WORK.name}
        assert found.samples.keys() <= {SAME.name}
    loops, failed = inner_loops(side_of(root), suite_of(root), [WORK, SAME], work)
    assert (list(loops), list(failed)) == ([SAME.name], [WORK.name])
    assert failed[WORK.name].startswith("base: ")


def test_a_benchmark_that_hangs_has_failed(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = TIMINGS.replace("titanstore.work()", "__import__('time').sleep(60)")
    write(root, {"suites/timings/counted.py": hanging})
    monkeypatch.setattr(sides, "_ANSWER_S", 5.0)
    found = round_with(root, work, [WORK])
    assert "no answer in" in found.failed[WORK.name]
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize(
    ("init", "why"),
    [
        ("raise RuntimeError('broken build')\n", "RuntimeError: broken build"),
        ("def work(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("import os\nos.kill(os.getpid(), 11)\n", "killed by signal 11"),
    ],
    ids=["raises", "no Python", "lacks a package", "exits", "crashes"],
)
def test_a_titanstore_that_cannot_be_imported_is_told(
    root: Path, work: Path, init: str, why: str
) -> None:
    write(root, {INIT: init})
    found = list_benches(side_of(root), suite_of(root), work)
    assert found.benches == ()
    assert found.unusable.startswith(f"titanstore cannot be imported: {why}")


def test_a_titanstore_that_can_be_imported_now_and_then_fails_all(root: Path, work: Path) -> None:
    write(root, {INIT: "raise RuntimeError('not today')\n"})
    found = round_with(root, work, [WORK, SAME])
    assert not found.samples
    assert found.failed.keys() == {WORK.name, SAME.name}
    assert set(found.failed.values()) <= {
        f"{side}: titanstore cannot be imported: RuntimeError: not today"
        for side in ("base", "head")
    }
    assert not psutil.Process().children(recursive=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise RuntimeError('no root')\n", "timings cannot be imported: RuntimeError: no root"),
        ("import os\nos._exit(7)\n", "its process ended while timings was imported"),
    ],
)
def test_an_import_of_the_benchmarks_that_fails_as_a_whole(
    root: Path, work: Path, text: str, why: str
) -> None:
    write(root, {"suites/timings/__init__.py": text})
    assert why in list_benches(side_of(root), suite_of(root), work).unusable


def test_an_instrument_in_the_processes_is_refused(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONTRACEMALLOC", "1")
    with pytest.raises(UsageError, match="tracemalloc"):
        round_with(root, work, [SAME])


def test_slow_blas_settings_do_not_reach_the_processes(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert round_with(root, work, [SAME]).failed == {}


def test_a_store_kept_for_later_processes_is_not_shared_by_the_sides(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMINGS_STORES", str(work / "kept"))
    told = "import os; assert 'TIMINGS_STORES' not in os.environ; titanstore.work()"
    write(root, {"suites/timings/counted.py": TIMINGS.replace("titanstore.work()", told)})
    assert round_with(root, work, [WORK]).failed == {}


def test_an_interruption_while_a_process_ends_leaves_none(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, {INIT: STORE + "import atexit\natexit.register(time.sleep, 60)\n"})
    process = SideProcess(side_of(root), suite_of(root), work, hash_seed=1)
    process.started()
    wait = process._process.wait
    with monkeypatch.context() as patch:

        def interrupted(timeout: float | None = None) -> int:
            patch.setattr(process._process, "wait", wait)
            raise KeyboardInterrupt

        patch.setattr(process._process, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.close()
    assert not psutil.pid_exists(process.pid)


def test_an_interruption_leaves_no_process(root: Path, work: Path) -> None:
    seen = []

    def interrupted() -> None:
        with SideProcess(side_of(root), suite_of(root), work, hash_seed=1) as process:
            process.started()
            seen.append(process.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not psutil.pid_exists(seen[0])
