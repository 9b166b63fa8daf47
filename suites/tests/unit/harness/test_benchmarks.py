"""Risk: a benchmark that is slow, gone, or measured too seldom passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.benchmarks import (
    absent_names,
    exit_code_of,
    judge_run,
    lost_limits,
    note_limit,
    read_run,
)
from harness.cli import main
from harness.errors import UsageError
from harness.gates import Verdict
from harness.targets import load_targets


def _file(path: Path, benchmarks: dict[str, tuple[list[float], dict[str, Any]]]) -> Path:
    """As pytest-benchmark writes it; the values are synthetic."""
    content = {
        "machine_info": {"node": "somewhere", "python_version": "3.11.7", "cpu": {}},
        "commit_info": {"id": "c0ffee", "dirty": False},
        "benchmarks": [
            {"fullname": name, "stats": {"data": data}, "extra_info": extra}
            for name, (data, extra) in benchmarks.items()
        ],
    }
    path.write_text(json.dumps(content))
    return path


def _extra(**limit: Any) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    note_limit(extra, **limit)
    return extra


def _verdicts(path: Path) -> list[Verdict]:
    return [one.verdict for one in judge_run(read_run(path))]


FAST = [1e-5 + 1e-9 * (place % 97) for place in range(1_200)]
SLOW = [3e-4 if place % 12 == 0 else value for place, value in enumerate(FAST)]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [(FAST, Verdict.PASS), (SLOW, Verdict.FAIL), (FAST[:999], Verdict.INVALID)],
    ids=["fast", "slow-tail", "too-few-for-a-p99"],
)
def test_a_p99_is_judged_from_all_calls(tmp_path: Path, data: list[float], wanted: Verdict) -> None:
    extra = _extra(target="latency.disk.files-1024.p99")
    assert _verdicts(_file(tmp_path / "run.json", {"get": (data, extra)})) == [wanted]


def test_a_limit_from_targets_is_that_of_targets() -> None:
    row = load_targets().rows()["query.latency.flat-2200-0"]
    (noted,) = _extra(target=row.id)["limits"]
    assert (noted["limit"], noted["statistic"], noted["unit"]) == (
        row.limit,
        row.statistic,
        row.unit,
    )


def test_times_of_a_batch_are_divided_by_its_operations(tmp_path: Path) -> None:
    batches = [1e-3 + 1e-9 * place for place in range(1_000)]
    extra = _extra(target="latency.hot.files-1024.p99", operations=10_000)
    assert _verdicts(_file(tmp_path / "run.json", {"get": (batches, extra)})) == [Verdict.PASS]
    extra = _extra(target="latency.hot.files-1024.p99", operations=500)
    assert _verdicts(_file(tmp_path / "run.json", {"get": (batches, extra)})) == [Verdict.FAIL]


def test_a_count_is_judged_by_its_value_and_not_by_the_time(tmp_path: Path) -> None:
    def judged(share: float) -> Verdict:
        extra = _extra(target="compression.saving.v1", what="saved share", values=[share])
        (verdict,) = _verdicts(_file(tmp_path / "run.json", {"saving": ([9.0], extra)}))
        return verdict

    assert judged(0.56) is Verdict.PASS
    assert judged(0.49) is Verdict.FAIL
    assert judged(float("inf")) is Verdict.INVALID


def test_no_samples_are_never_a_pass(tmp_path: Path) -> None:
    extra = _extra(target="latency.disk.files-1024.p99")
    run = _file(tmp_path / "run.json", {"get": ([], extra)})
    judged = judge_run(read_run(run))
    assert [one.verdict for one in judged] == [Verdict.INVALID]
    assert exit_code_of(judged, []) == 3
    assert exit_code_of([], []) == 3


@pytest.mark.parametrize("given", [{"limit": float("nan")}, {"target": "latency.nothing"}, {}])
def test_a_limit_that_decides_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit of|no row"):
        note_limit({}, **given)


def test_a_renamed_benchmark_is_missing_on_both_sides(tmp_path: Path) -> None:
    ours = read_run(_file(tmp_path / "run.json", {"get": (FAST, {}), "put_many": (FAST, {})}))
    base = read_run(_file(tmp_path / "base.json", {"get": (FAST, {}), "put": (FAST, {})}))
    assert absent_names(ours, base) == (["put_many"], ["put"])
    assert absent_names(ours, ours) == ([], [])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine_info": {"cpu": {}}}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a file of pytest --benchmark-json"):
        read_run(path)


def test_a_benchmark_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path / "run.json", {"get": (FAST, {})})
    content = json.loads(path.read_text())
    content["benchmarks"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="twice"):
        read_run(path)


@pytest.mark.parametrize(
    ("data", "baseline", "status"),
    [
        (FAST, {"get": (FAST, {})}, 0),
        (FAST, None, 0),
        (SLOW, {"get": (FAST, {})}, 1),
        (FAST[:100], {"get": (FAST, {})}, 3),
        (FAST, {"fetch": (FAST, {})}, 1),
        (FAST, {"get": (FAST, {}), "search": (FAST, {})}, 1),
    ],
    ids=["holds", "no-baseline", "slow", "too-few", "renamed", "gone"],
)
def test_exit_status_of_the_command(
    tmp_path: Path, data: list[float], baseline: dict[str, Any] | None, status: int
) -> None:
    extra = _extra(target="latency.disk.files-1024.p99")
    words = ["bench", str(_file(tmp_path / "run.json", {"get": (data, extra)}))]
    if baseline is not None:
        words += ["--baseline", str(_file(tmp_path / "base.json", baseline))]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status, done.output
    if baseline and "get" not in baseline:
        assert "not in the baseline: get" in done.output
        assert "not in this run: fetch" in done.output


def test_the_table_names_question_and_parameters(tmp_path: Path) -> None:
    name = "suites/bench/test_bench_latency.py::test_bench_search[small]"
    run = _file(tmp_path / "run.json", {name: (FAST, _extra(target="query.latency.flat-2200-0"))})
    done = CliRunner().invoke(main, ["bench", str(run)])
    assert "latency: search[small]" in " ".join(done.output.split())


P99 = {"statistic": "p99", "comparator": "<", "limit": 1e-4}


def _noted(*limits: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for limit in limits:
        note_limit(extra, **limit)
    return extra


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        ([], [P99], ["limit lost: get: time, p99 < 0.0001 s"]),
        ([P99], [P99], []),
        ([P99], [], []),
        ([{**P99, "limit": 1e-5}], [P99], []),
        ([{**P99, "limit": 1e-3}], [P99], ["loosened: get: time, p99 < 0.0001 s, now < 0.001 s"]),
        ([{**P99, "comparator": ">"}], [P99], ["loosened: get: time, p99 < 0.0001 s, now > 0.0"]),
        ([{**P99, "statistic": "p50"}], [P99], ["limit lost: get: time, p99"]),
        ([{**P99, "what": "other"}], [P99], ["limit lost: get: time, p99"]),
        ([P99], [P99, P99], ["limit lost: get: time, p99"]),
        ([P99, {**P99, "what": "other"}], [{**P99, "what": "other"}, P99], []),
    ],
)
def test_a_limit_that_was_lost_or_loosened_is_told(
    tmp_path: Path, now: list[dict[str, Any]], before: list[dict[str, Any]], told: list[str]
) -> None:
    run = read_run(_file(tmp_path / "run.json", {"get": (FAST, _noted(*now))}))
    base = read_run(_file(tmp_path / "base.json", {"get": (FAST, _noted(*before))}))
    found = lost_limits(run, base)
    assert len(found) == len(told)
    assert all(word in line for word, line in zip(told, found, strict=True))


def test_a_benchmark_without_its_limit_fails_the_command(tmp_path: Path) -> None:
    other = {"put": (FAST, _noted(P99))}
    run = _file(tmp_path / "run.json", {"get": (FAST, {}), **other})
    base = _file(tmp_path / "base.json", {"get": (FAST, _noted(P99)), **other})
    assert CliRunner().invoke(main, ["bench", str(run)]).exit_code == 0
    done = CliRunner().invoke(main, ["bench", str(run), "--baseline", str(base)])
    assert done.exit_code == 1
    assert "limit lost: get: time, p99 < 0.0001 s" in done.output


def test_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path / "run.json", {"get": (FAST, {"limits": [{"limit": 1.0}]})})
    with pytest.raises(UsageError, match="did not write"):
        read_run(path)
