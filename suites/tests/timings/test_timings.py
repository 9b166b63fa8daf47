"""Timings rot: a benchmark that raises, checks nothing, or is no longer found measures nothing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from titanstore import ErrorKind, Problem

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "suites" / "timings"
CALLS = 2

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TIMINGS_SIZE", "smoke")
    MODULES = [
        importlib.import_module(f"suites.timings.{path.stem}")
        for path in sorted(FOLDER.glob("*.py"))
        if path.stem != "__init__"
    ]
prepared = next(module for module in MODULES if module.__name__.endswith(".prepared"))


class Case(NamedTuple):
    """One benchmark with one set of parameters."""

    room: str
    benchmark: type[Any]
    method: str
    parameters: tuple[Any, ...]

    @property
    def name(self) -> str:
        return f"{self.room}.{self.benchmark.__name__}.{self.method}"

    @property
    def id(self) -> str:
        return "-".join([self.name, *map(str, self.parameters)])


def _cases() -> Iterator[Case]:
    for module in MODULES:
        for found in vars(module).values():
            if not isinstance(found, type) or found.__module__ != module.__name__:
                continue
            given = getattr(found, "params", [])
            lists = given if given and isinstance(given[0], list | tuple) else [given][: len(given)]
            for name in dir(found):
                if name.startswith(("time_", "track_", "peakmem_", "timeraw_")):
                    for parameters in product(*lists):
                        room = module.__name__.rpartition(".")[2]
                        yield Case(room, found, name, parameters)


CASES = list(_cases())
TIMES = [case for case in CASES if case.method.startswith("time_")]


def _run(case: Case) -> Any:
    """Set up and called twice; not yet torn down."""
    benchmark = case.benchmark()
    benchmark.setup(*case.parameters)
    for _ in range(getattr(benchmark, "number", CALLS)):
        getattr(benchmark, case.method)(*case.parameters)
    return benchmark


@pytest.mark.parametrize("case", TIMES, ids=lambda case: case.id)
def test_a_benchmark_runs_and_finds_its_answer_right(case: Case) -> None:
    _run(case).teardown(*case.parameters)
    untouched = case.benchmark()
    untouched.setup(*case.parameters)
    untouched.teardown(*case.parameters)


def _other_order(benchmark: Any) -> None:
    benchmark.answers[0] = benchmark.answers[0][::-1]


def _one_version_too_few(benchmark: Any) -> None:
    benchmark.taken += 1


def _twice_the_same_key(benchmark: Any) -> None:
    benchmark.answer[1] = benchmark.answer[0]


def _another_unit(benchmark: Any) -> None:
    benchmark.answer = benchmark.answer._replace(units=2 * benchmark.answer.units)


def _damage(benchmark: Any) -> None:
    found = Problem(kind=ErrorKind.CHECKSUM_MISMATCH, place="segment 1", message="synthetic")
    benchmark.answer = replace(benchmark.answer, problems=(found,))


# What these return is not vectors
SPOIL: dict[str, Callable[[Any], None]] = {
    "Search": _other_order,
    "SearchMany": _other_order,
    "SearchRepeated": _other_order,
    "Snapshot": _one_version_too_few,
    "Keys": _twice_the_same_key,
    "Quantise": _another_unit,
    "Check": _damage,
}


@pytest.mark.parametrize("case", TIMES, ids=lambda case: case.id)
def test_a_benchmark_notices_a_wrong_answer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = _run(case)
    spoil = SPOIL.get(case.benchmark.__name__)
    if spoil is not None:
        spoil(benchmark)
    else:
        _flip_a_bit_of_what_is_wanted(monkeypatch)
    with pytest.raises(AssertionError):
        benchmark.teardown(*case.parameters)


def _flip_a_bit_of_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    check: Callable[..., None] = prepared.check_bits

    def check_flipped(seen: Any, wanted: Any) -> None:
        words = np.array(wanted, copy=True).view(np.uint32)
        words.flat[-1] ^= 1
        check(seen, words.view(np.float32))

    monkeypatch.setattr(prepared, "check_bits", check_flipped)


TRACKED = [case for case in CASES if case.method.startswith("track_")]
PLAUSIBLE = {
    "track_added": (100_000, 20_000_000),
    "track_hot": (50, 100),
    "track_saved": (0, 70),
    "track_vector_bytes": (1_000, 4_300),
}


@pytest.mark.parametrize("case", TRACKED, ids=lambda case: case.id)
def test_what_is_tracked_is_a_plausible_number(case: Case) -> None:
    benchmark = case.benchmark()
    benchmark.setup(*case.parameters)
    seen = getattr(benchmark, case.method)(*case.parameters)
    getattr(benchmark, "teardown", lambda *_: None)(*case.parameters)
    low, high = PLAUSIBLE[case.method]
    assert low < seen < high


@pytest.mark.parametrize("serving", ["v1", "v2-2024"])
def test_a_serving_on_a_grid_saves_half(serving: str) -> None:
    (case,) = [one for one in TRACKED if one.parameters == (serving,) and "saved" in one.method]
    benchmark = case.benchmark()
    benchmark.setup(serving)
    assert benchmark.track_saved(serving) > 50
    benchmark.teardown(serving)


def test_a_hit_ratio_of_other_vectors_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = [one for one in TRACKED if one.method == "track_hot"]
    benchmark = case.benchmark()
    benchmark.setup()
    _flip_a_bit_of_what_is_wanted(monkeypatch)
    with pytest.raises(AssertionError, match="other bits"):
        benchmark.track_hot()
    benchmark.teardown()


def _timed_raw(statement: str | tuple[str, str]) -> subprocess.CompletedProcess[str]:
    code, setup = (statement, "") if isinstance(statement, str) else statement
    program = f"from timeit import timeit; print(timeit({code!r}, {setup!r}, number=1))"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_startup_is_timed_and_a_wrong_vector_fails_it() -> None:
    (startup,) = {case.benchmark for case in CASES if case.room == "startup"}
    benchmark = startup()
    benchmark.setup()
    for statement in (benchmark.timeraw_import(), benchmark.timeraw_first_vector()):
        done = _timed_raw(statement)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) > 0
    code, setup = benchmark.timeraw_first_vector()
    other = code.replace(*prepared.document_keys()[:2])
    assert _timed_raw((other, setup)).returncode == 1
    assert _timed_raw((code.replace("seen.append", ""), setup)).returncode == 1


def test_core_benchmarks_cover_every_room_and_time_what_the_others_do_not() -> None:
    core = {case.id for case in TIMES if getattr(case.benchmark, "core", False)}
    assert {case.room for case in TIMES if case.id in core} == {
        "codec",
        "keys",
        "search",
        "segments",
        "tiers",
        "updates",
    }
    assert 20 <= len(core) <= 30


def test_every_benchmark_has_an_explicit_version() -> None:
    for case in CASES:
        assert isinstance(case.benchmark.version, str), case.name
        assert case.benchmark.version.endswith("-smoke"), case.name


def test_asv_finds_exactly_these(tmp_path: Path) -> None:
    """By asv's own discovery, as the package `timings`; no helper is taken for a benchmark."""
    program = (
        "import json, sys; from asv_runner.discovery import disc_benchmarks\n"
        "from asv_runner._aux import update_sys_path; update_sys_path(sys.argv[1])\n"
        "print(json.dumps([one.name for one in disc_benchmarks(sys.argv[1])]))"
    )
    found = json.loads(_as_asv(program, tmp_path).splitlines()[-1])
    assert sorted(found) == sorted({case.name for case in CASES})


def test_the_harness_is_the_checkouts_and_the_store_that_under_test(tmp_path: Path) -> None:
    """A wheel brings `harness` and `fixtures` of its commit, which must stay unused."""
    site = tmp_path / "site"
    (site / "harness").mkdir(parents=True)
    (site / "harness" / "__init__.py").write_text("raise AssertionError('the commit\\'s harness')")
    (site / "fixtures").mkdir()
    (site / "fixtures" / "vectors.py").write_text("raise AssertionError('its fixtures')")
    (site / "titanstore").symlink_to(ROOT / "src" / "titanstore")
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from asv_runner.discovery import get_benchmark_from_name\n"
        "from asv_runner._aux import update_sys_path; update_sys_path(sys.argv[1])\n"
        "get_benchmark_from_name(sys.argv[1], 'codec.Decode.time_decode_32')\n"
        "import fixtures.vectors, harness, titanstore\n"
        "print(titanstore.__file__); print(harness.__file__); print(fixtures.vectors.__file__)"
    )
    store, harness, fixtures = map(Path, _as_asv(program, tmp_path).splitlines()[-3:])
    assert store == site / "titanstore" / "__init__.py"
    assert harness == ROOT / "harness" / "__init__.py"
    assert fixtures == ROOT / "fixtures" / "vectors.py"


def _as_asv(program: str, folder: Path) -> str:
    """Run with the folder given as asv gives it: from elsewhere, the root not on `sys.path`."""
    return subprocess.run(
        [sys.executable, "-c", program, str(FOLDER)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_size_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import suites.timings.prepared"],
        cwd=ROOT,
        env={"TIMINGS_SIZE": "large", "PYTHONPATH": f"{ROOT}/src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TIMINGS_SIZE='large', wanted smoke or full" in done.stderr
