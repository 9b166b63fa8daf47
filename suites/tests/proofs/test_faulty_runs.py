"""Proofs: what is wrong while a run measures ends it, or turns its verdict away from PASS."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness import environment
from harness import run as run_module
from harness.environment import Code
from harness.evidence import read_json, verdicts_of_run
from harness.measures import quality
from harness.run import Options, run_gates
from harness.verify import verify_run
from suites.tests.proofs.small_runs import BITS, TINY, Stages, gate_of, gate_with, small_run

pytestmark = [pytest.mark.xdist_group("proofs"), pytest.mark.usefixtures("resting_tree")]


# ---------------------------------------------------------------- 4: an empty answer


def test_an_empty_answer_ends_the_run_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = gate_with(monkeypatch, tmp_path / "reports", sizes=TINY, empty_body=True)
    assert found.exit_code == 4
    assert "answered without a vector" in found.stderr
    assert list((tmp_path / "reports").iterdir()) == []
    assert "PASS" not in found.stdout


# ---------------------------------------------------------------- 5: an instrument that was on


WAIVERS = """
[[waiver]]
gate = "quality.search"
reason = "search comes with a later part"
owner = "release manager"
expires = 2999-12-31
commits = "{commit}"

[[waiver]]
gate = "query.latency"
reason = "it was to be measured by then"
owner = "search"
expires = 2020-01-31
commits = "{commit}"
"""


@pytest.fixture(scope="module")
def odd_run(resting_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Workers trace their allocations; one waiver is in force, one has run out."""
    assert resting_tree == environment.project_root()
    folder = tmp_path_factory.mktemp("odd")
    commit = environment.code_of(environment.project_root()).commit
    (folder / "waivers.toml").write_text(WAIVERS.format(commit=commit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "MEASURES", {BITS: lambda context: [quality._hostile(context)]})
        return small_run(
            folder / "reports",
            waivers=folder / "waivers.toml",
            after_build=lambda _: patch.setenv("PYTHONTRACEMALLOC", "1"),
        )


def test_tracemalloc_left_on_makes_a_run_invalid(odd_run: Path) -> None:
    rows = gate_of(read_json(odd_run / "verdicts.json"), BITS)["rows"]
    (hostile,) = [row for row in rows if row["id"] == "quality.bits.hostile"]
    assert hostile["verdict"] == "INVALID"
    assert hostile["reason"] == "tracemalloc was on, off wanted"


# ---------------------------------------------------------------- 7: waivers


def test_a_waiver_in_force_is_shown_and_an_expired_one_fails(odd_run: Path) -> None:
    verdicts = read_json(odd_run / "verdicts.json")
    waived, expired = (gate_of(verdicts, name) for name in ("quality.search", "query.latency"))
    assert waived["verdict"] == "WAIVED"
    assert waived["reason"] == "NOT RUN, waived: search comes with a later part"
    assert expired["verdict"] == "FAIL"
    assert "its waiver has expired" in expired["reason"]
    assert verdicts["decision"]["verdict"] == "NO-GO"
    assert verdicts["decision"]["reasons"] == ["query.latency: FAIL"]
    assert [one["state"] for one in verdicts["waivers"]] == ["active", "expired"]
    for page in ("report.html", "summary.md"):
        text = (odd_run / page).read_text(encoding="utf-8")
        assert "search comes with a later part" in text
    assert verify_run(odd_run) == []


def test_a_waiver_revived_afterwards_is_reported(odd_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(odd_run, tmp_path / odd_run.name))
    path = run / "waivers.json"
    path.write_text(path.read_text().replace('"expired"', '"active"'), encoding="utf-8")
    assert any("had run out" in fault for fault in verify_run(run))
    assert gate_of(verdicts_of_run(run)[0], "query.latency")["verdict"] == "FAIL"


# ---------------------------------------------------------------- the tree moves under the run


def test_a_tree_that_changes_during_the_run_makes_it_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Code] = []

    def moving(root: Path) -> Code:
        assert root == environment.project_root()
        seen.append(Code(commit="c" * 40, content_digest=str(len(seen)) * 32, dirty=True))
        return seen[-1]

    monkeypatch.setattr(environment, "code_of", moving)
    monkeypatch.setattr(run_module, "MEASURES", {BITS: lambda context: [quality._hostile(context)]})
    options = Options(
        profile="ci",
        reports=tmp_path,
        command=["harness", "gate"],
        only=(BITS,),
        sizes=replace(TINY, hostile_vectors=40),
    )
    run = run_gates(options, Stages())
    rows = gate_of(verdicts_of_run(run)[0], BITS)["rows"]
    (hostile,) = [row for row in rows if row["id"] == "quality.bits.hostile"]
    assert len(seen) == 2
    assert hostile["verdict"] == "INVALID"
    assert "another content digest" in hostile["reason"]
