"""Risk: `asv publish` does not see a comparison, sees other numbers, or mixes it with asv's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.results import Results, iter_results

from harness.compare.asv_results import asv_results_folder, write_asv_results
from harness.environment import project_root
from harness.evidence import read_json
from suites.tests.unit.harness.compare.small_compare import LOOPS, made_rounds, write_folder
from suites.tests.unit.harness.compare.tiny import commit, git, make_repository

PLAIN, ONE, THREE = (
    "counted.Work.time_work",
    "counted.Same.time_same(1)",
    "counted.Same.time_same(3)",
)
SHIFTS = {PLAIN: 0.06, ONE: 0.0, THREE: 0.0}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))  # where asv looks for its machine file
    make_repository(tmp_path / "repo")
    commit(tmp_path / "repo", {"new.txt": "x"})
    return tmp_path / "repo"


def written(
    root: Path, *, dirty: bool = False, shifts: dict[str, float] | None = None, **more: Any
) -> Path:
    side = {"content_digest": "b" * 32, "environment": "the running interpreter"}
    base = {"label": "a", "commit": git(root, "rev-parse", "HEAD~1"), "dirty": False, **side}
    head = {"label": "b", "commit": git(root, "rev-parse", "HEAD"), "dirty": dirty, **side}
    folder = root / "out" / f"compare-{len(list((root / 'out').glob('*')))}"
    write_folder(folder, shifts or SHIFTS, base=base, head=head, **more)
    results = root / "results"
    write_asv_results(folder, root, results)
    return results


def test_asv_reads_both_sides_back(root: Path) -> None:
    results = written(root)
    found = {one.commit_hash: one for one in iter_results(str(results))}
    base, head = (git(root, "rev-parse", word) for word in ("HEAD~1", "HEAD"))
    assert found.keys() == {base, head}
    known = read_json(results / "benchmarks.json")
    times = {}
    for name, side in ((base, 0), (head, 1)):
        assert isinstance(found[name], Results)
        assert found[name].date == 1000 * int(git(root, "log", "-1", "--format=%at", name))
        assert found[name].params["sampling"] == "compare"
        (times[side],) = found[name].get_result_value(PLAIN, known[PLAIN]["params"])
        both = found[name].get_result_value(
            "counted.Same.time_same", known["counted.Same.time_same"]["params"]
        )
        assert both == pytest.approx([6e-3 / LOOPS] * 2, rel=0.02)
    assert times[1] / times[0] == pytest.approx(1.06, rel=0.01)
    (samples,) = found[base].get_result_samples(PLAIN, [])
    rounds = [one for one in made_rounds(SHIFTS) if PLAIN in one.samples]
    wanted = [np.quantile(one.samples[PLAIN][0], 0.25) * 1e-9 / LOOPS for one in rounds]
    assert samples == pytest.approx(wanted)
    (stats,) = found[base].get_result_stats(PLAIN, [])
    assert stats["ci_99_a"] < times[0] < stats["ci_99_b"]


def test_what_is_not_comparable_is_not_drawn(root: Path) -> None:
    results = written(root, incomparable={PLAIN: "its body was edited", ONE: "head: KeyError"})
    for one in iter_results(str(results)):
        assert set(one.get_all_result_keys()) == {"counted.Same.time_same"}
        first, second = one.get_result_value("counted.Same.time_same", [["1", "3"]])
        assert not first > 0  # asv has NaN for a parameter without a value
        assert second > 0


def test_a_comparison_without_rounds_draws_nothing(root: Path) -> None:
    results = written(root, incomparable=dict.fromkeys(SHIFTS, "its body was edited"))
    assert not list(results.rglob("*.json"))


def test_a_machine_that_became_another_one_draws_nothing(root: Path) -> None:
    results = written(root, machine={"id": "0123abcd", "id_after": "ffffffff"})
    assert not list(results.rglob("*.json"))


def test_a_later_comparison_keeps_what_it_did_not_measure(root: Path) -> None:
    written(root)
    results = written(root, shifts={PLAIN: 0.5})
    head = git(root, "rev-parse", "HEAD")
    (found,) = (one for one in iter_results(str(results)) if one.commit_hash == head)
    assert set(found.get_all_result_keys()) == {PLAIN, "counted.Same.time_same"}
    assert found.get_result_value(PLAIN, [])[0] == pytest.approx(1.5 * 6e-3 / LOOPS, rel=0.02)


def test_an_uncommitted_state_is_left_out(root: Path) -> None:
    results = written(root, dirty=True)
    assert [one.commit_hash for one in iter_results(str(results))] == [
        git(root, "rev-parse", "HEAD~1")
    ]


def test_asvs_own_benchmarks_stay_known(root: Path) -> None:
    results = root / "results"
    results.mkdir()
    path = Path(Benchmarks.get_benchmark_file_path(str(results)))
    path.write_text(json.dumps({"other.time_x": {"name": "other.time_x"}, "version": 2}))
    written(root)
    assert {"other.time_x", PLAIN} <= read_json(path).keys()


def test_publish_draws_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asv.commands.publish import Publish

    results = written(root)
    monkeypatch.chdir(root)
    (root / "asv.conf.json").write_text("{}")
    conf = Config.from_json(
        {
            "repo": ".",
            "project": "tiny",
            "branches": ["main"],
            "results_dir": str(results),
            "html_dir": str(root / "html"),
            "benchmark_dir": "suites/timings",
        }
    )
    Publish.run(conf, pull=False)
    graphs = list((root / "html" / "graphs").rglob(f"{PLAIN}.json"))
    assert graphs
    assert all("sampling-compare" in str(path) for path in graphs if "summary" not in path.parts)
    points = json.loads(graphs[0].read_text())
    assert len(points) >= 2


def test_the_projects_own_results_folder() -> None:
    root = project_root()
    assert asv_results_folder(root) == root / ".asv" / "results"
    assert asv_results_folder(root / "docs") is None
