"""Risk: slow creep hides behind an anchor that is another machine's, or behind none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import cli
from harness.anchor_files import make_anchor, verify_anchor
from harness.anchors import (
    beside_anchor,
    beside_earlier,
    check_anchor,
    find_anchors,
    read_anchor,
)
from harness.beside import SEALED, lay_beside
from harness.errors import EvidenceError, UsageError
from harness.evidence import read_json, verdicts_of_run, write_json
from harness.prove.proof import Identity
from suites.tests.unit.harness.small_run import ENDED_S, SETTING, judge_again, write_run

MANIFEST = {"machine": {"id": SETTING.machine}, "config_digest": SETTING.config_digest}


def row(**more: Any) -> dict[str, Any]:
    return {
        "id": "speed.limit.0",
        "blocking": True,
        "metric": "time",
        "statistic": "p99",
        "unit": "s",
        "evidence": "emulated",
        "population": {"files": 100},
        "comparator": "<",
        "limit": 1.0,
        "estimate": 0.50,
        "low": 0.49,
        "high": 0.51,
        **more,
    }


def anchored(*rows: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    kept = ("id", "metric", "statistic", "unit", "evidence", "population", "comparator")
    values = ("estimate", "low", "high")
    return {
        "schema_version": 1,
        "label": "v1",
        "run": "a run",
        "profile": "ci",
        "commit": "a" * 40,
        "content_digest": "b" * 32,
        "config_digest": SETTING.config_digest,
        "machine": SETTING.machine,
        "ended": "2027-01-01T00:00:00+00:00",
        "rows": [{name: one[name] for name in (*kept, *values)} for one in rows],
        **more,
    }


def compared(now: Mapping[str, Any], then: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    anchor = anchored(then, **more)
    assert check_anchor(anchor) == ""
    (found,) = beside_anchor(anchor, MANIFEST, [{"rows": [now]}])["rows"]
    return dict(found)


def test_creep_is_worse_and_its_ratio_has_an_interval() -> None:
    found = compared(row(), row(estimate=0.40, low=0.39, high=0.41))
    assert found["verdict"] == "worse"
    assert found["ratio"] == pytest.approx(1.25)
    assert found["low"] == pytest.approx(0.49 / 0.41)
    assert found["high"] == pytest.approx(0.51 / 0.39)


@pytest.mark.parametrize("field", ["low", "estimate", "high"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_an_anchor_with_a_value_of_nothing_has_no_ratio(field: str, value: float) -> None:
    """`harness reliability --full` divided by the estimate 0 of an anchor whose bounds were not."""
    found = compared(row(), row(**{field: value}))
    assert found["ratio"] is None
    assert found["verdict"] in {"better", "worse", "no difference seen"}


@pytest.mark.parametrize(
    ("comparator", "then", "verdict"),
    [
        ("<", 0.40, "worse"),
        ("<", 0.60, "better"),
        ("<", 0.505, "no difference seen"),
        (">=", 0.40, "better"),
        (">=", 0.60, "worse"),
        (">=", 0.505, "no difference seen"),
    ],
)
def test_the_side_of_the_limit_says_what_is_worse(
    comparator: str, then: float, verdict: str
) -> None:
    other = row(comparator=comparator, estimate=then, low=then - 0.01, high=then + 0.01)
    assert compared(row(comparator=comparator), other)["verdict"] == verdict


def test_counts_are_compared_as_they_are() -> None:
    clean = row(comparator="==", limit=0, estimate=0.0, low=0.0, high=0.0)
    spoilt = {**clean, "estimate": 3.0, "low": 3.0, "high": 3.0}
    assert compared(clean, clean)["verdict"] == "no difference seen"
    assert compared(spoilt, clean)["verdict"] == "worse"
    assert compared(clean, spoilt)["verdict"] == "better"
    assert compared(spoilt, clean)["ratio"] is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"machine": "0" * 8}, "measured on machine 00000000, this run on ffffffff"),
        ({"config_digest": "0" * 16}, "another configuration"),
    ],
)
def test_another_machine_or_configuration_is_not_comparable(
    change: dict[str, Any], word: str
) -> None:
    found = compared(row(), row(estimate=0.1, low=0.09, high=0.11), **change)
    assert found["verdict"] == "not comparable"
    assert word in found["reason"]
    assert found["ratio"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("population", {"files": 99}),
        ("evidence", "recorded"),
        ("statistic", "p50"),
        ("metric", "another"),
        ("unit", "B"),
    ],
)
def test_another_population_or_statistic_is_not_comparable(field: str, value: Any) -> None:
    found = compared(row(), row(**{field: value}))
    assert found["verdict"] == "not comparable"
    assert field in found["reason"]


def test_what_one_side_has_not_is_not_comparable() -> None:
    empty = row(estimate=None, low=None, high=None)
    assert compared(empty, row())["reason"] == "this run has no value"
    assert compared(row(), row(id="another"))["reason"] == "the anchor has no value"


def test_advisory_rows_are_left_out() -> None:
    found = beside_anchor(anchored(row()), MANIFEST, [{"rows": [row(blocking=False)]}])
    assert found["rows"] == []


# ---------------------------------------------------------------- kept on the disk


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "a-run")


def test_an_anchor_keeps_the_evidence_and_stands(run: Path, tmp_path: Path) -> None:
    folder = make_anchor(run, "v0.1.0", tmp_path)
    assert folder.name == f"v0.1.0-{SETTING.machine}"
    assert verify_anchor(folder) == []
    assert {path.name for path in (folder / "run").iterdir()} >= {"manifest.json", "samples"}
    anchor = read_anchor(folder)
    assert [anchor] == find_anchors(tmp_path, SETTING.machine)
    assert {one["id"] for one in anchor["rows"]} == {
        f"quality.bits.{kind}" for kind in ("recorded", "emulated", "hostile")
    }


def test_an_anchor_is_never_written_over(run: Path, tmp_path: Path) -> None:
    make_anchor(run, "v1", tmp_path)
    with pytest.raises(UsageError, match="take another label"):
        make_anchor(run, "v1", tmp_path)


@pytest.mark.parametrize("label", ["", "../v1", "a b", ".v1", "x" * 70])
def test_a_label_is_a_name(run: Path, tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="label"):
        make_anchor(run, label, tmp_path)


def test_a_run_that_does_not_stand_is_no_anchor(run: Path, tmp_path: Path) -> None:
    next((run / "samples").iterdir()).unlink()
    with pytest.raises(EvidenceError, match="does not stand"):
        make_anchor(run, "v1", tmp_path)
    assert not (tmp_path / "anchors").exists()


def test_a_run_without_a_value_is_no_anchor(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no row has a value"):
        make_anchor(write_run(tmp_path / "run", []), "v1", tmp_path)


def test_an_edited_anchor_is_reported(run: Path, tmp_path: Path) -> None:
    folder = make_anchor(run, "v1", tmp_path)
    anchor = read_json(folder / "anchor.json")
    anchor["rows"][0]["estimate"] = 7.0
    write_json(folder / "anchor.json", anchor)
    assert verify_anchor(folder) == ["anchor.json, rows: not what its run has"]
    found = CliRunner().invoke(cli.main, ["verify", str(folder)])
    assert found.exit_code == 1


def test_an_edited_sample_of_an_anchor_is_reported(run: Path, tmp_path: Path) -> None:
    folder = make_anchor(run, "v1", tmp_path)
    next((folder / "run" / "samples").iterdir()).unlink()
    assert any("missing" in fault for fault in verify_anchor(folder))


def kept(reports: Path, label: str, machine: str, day: int, **row_: Any) -> Path:
    """An anchor and the parts of its run that it is made of."""
    folder = reports / "anchors" / f"{label}-{machine}"
    (folder / "run").mkdir(parents=True)
    ended = f"2027-01-{day:02d}T00:00:00+00:00"
    anchor = anchored(row(**row_), label=label, machine=machine, ended=ended)
    manifest = {name: anchor[name] for name in ("profile", "commit", "content_digest", "ended")}
    manifest |= {"config_digest": anchor["config_digest"], "machine": {"id": machine}}
    write_json(folder / "anchor.json", anchor)
    write_json(folder / "run" / "manifest.json", {**manifest, "id": anchor["run"]})
    write_json(folder / "run" / "verdicts.json", {"gates": [{"rows": [row(**row_)]}]})
    return folder


def test_the_anchor_of_this_machine_comes_first(tmp_path: Path) -> None:
    for name, machine, day in (("old", "f" * 8, 1), ("new", "f" * 8, 2), ("other", "0" * 8, 3)):
        kept(tmp_path, name, machine, day)
    broken = tmp_path / "anchors" / "broken"
    broken.mkdir()
    (broken / "anchor.json").write_text("{")
    found = {
        machine: [one["label"] for one in find_anchors(tmp_path, machine)]
        for machine in ("f" * 8, "0" * 8, "1" * 8)
    }
    assert found == {
        "f" * 8: ["new", "old", "other"],
        "0" * 8: ["other", "new", "old"],
        "1" * 8: ["other", "new", "old"],
    }
    assert find_anchors(tmp_path / "nothing", "f" * 8) == []


def test_an_anchor_that_is_not_what_its_run_has_is_none(tmp_path: Path) -> None:
    """Else a worse value there hides a worse value here."""
    folder = kept(tmp_path, "v1", SETTING.machine, 1)
    assert len(find_anchors(tmp_path, SETTING.machine)) == 1
    anchor = read_json(folder / "anchor.json")
    anchor["rows"][0]["estimate"] = 0.7
    write_json(folder / "anchor.json", anchor)
    assert find_anchors(tmp_path, SETTING.machine) == []
    (folder / "run" / "verdicts.json").unlink()
    assert find_anchors(tmp_path, SETTING.machine) == []


# ---------------------------------------------------------------- slow creep


def released(number: int, creep: float = 1.01, width: float = 0.02) -> dict[str, Any]:
    """The row of a release, each `creep` times as slow as the one before."""
    value = 0.4 * creep**number
    return row(estimate=value, low=value * (1 - width), high=value * (1 + width))


def crept(now: dict[str, Any], *before: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    anchors = [anchored(one, label=f"v{place}", **more) for place, one in enumerate(before)]
    return list(beside_earlier(anchors, MANIFEST, [{"rows": [now]}])["rows"])


def test_one_percent_a_release_is_seen_after_ten_though_the_last_release_shows_nothing() -> None:
    releases = [released(number) for number in range(10)]
    now = released(10)
    assert compared(now, releases[-1])["verdict"] == "no difference seen"
    (found,) = crept(now, *releases)
    assert found["label"] == "v0"
    assert found["verdict"] == "worse"
    assert found["ratio"] == pytest.approx(1.01**10)
    assert found["low"] > 1


def test_creep_after_an_improvement_is_seen_beside_the_best_release() -> None:
    """Beside the oldest one everything is better."""
    releases = [released(0, width=0.01) | {"estimate": 0.8, "low": 0.79, "high": 0.81}]
    releases += [released(number, width=0.01) for number in range(5)]
    (found,) = crept(released(5, width=0.01), *releases)
    assert found["label"] == "v1"


def test_what_is_within_the_intervals_is_no_creep() -> None:
    assert crept(released(2), released(0), released(1)) == []
    assert crept(released(0), released(3), released(9)) == []


def test_a_share_creeps_downwards() -> None:
    def share(number: int) -> dict[str, Any]:
        return released(number, creep=0.99) | {"comparator": ">="}

    (found,) = crept(share(10), *(share(number) for number in range(10)))
    assert found["label"] == "v0"
    assert found["high"] < 1


def test_counts_creep_too() -> None:
    def lost(count: float) -> dict[str, Any]:
        return row(comparator="==", limit=0, estimate=count, low=count, high=count)

    (found,) = crept(lost(3.0), lost(2.0), lost(0.0), lost(1.0))
    assert found["label"] == "v1"
    assert crept(lost(0.0), lost(0.0)) == []


def test_creep_is_not_told_by_releases_that_are_not_comparable() -> None:
    now, then = released(10), released(0)
    assert crept(now, then)
    assert crept(now, then, machine="0" * 8) == []
    assert crept(now, then, config_digest="0" * 16) == []
    assert crept(now, then | {"population": {"files": 3}}) == []


def test_a_run_is_put_beside_every_release(tmp_path: Path) -> None:
    for number in range(4):
        kept(tmp_path, f"v{number}", SETTING.machine, number + 1)
    run = tmp_path / "run"
    run.mkdir()
    wanted = Identity(
        commit=SETTING.commit, content_digest="", gates_digest="", machine=SETTING.machine
    )
    lay_beside(run, tmp_path, anchor=None, wanted=wanted, now=ENDED_S)
    assert read_json(run / "anchor.json")["label"] == "v3"
    others = [one["label"] for one in read_json(run / "anchors.json")["anchors"]]
    assert others == ["v2", "v1", "v0"]
    verdicts = read_json(write_run(run) / "verdicts.json")
    assert verdicts["anchor"]["earlier"]["labels"] == others
    named = tmp_path / "anchors" / f"v1-{SETTING.machine}"
    lay_beside(run, tmp_path, anchor=named, wanted=wanted, now=ENDED_S)
    assert read_json(run / "anchor.json")["label"] == "v1"
    assert len(read_json(run / "anchors.json")["anchors"]) == 3


def test_earlier_releases_are_sealed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "anchor.json", anchored(row()))
    write_json(run / "anchors.json", {"anchors": [anchored(row(), label="v0")]})
    write_run(run)
    assert verdicts_of_run(run)[1] == []
    write_json(run / "anchors.json", {"anchors": []})
    assert verdicts_of_run(run)[1] == ["anchors.json was changed after the run"]
    (run / "anchors.json").unlink()
    assert verdicts_of_run(run)[1] == ["anchors.json is missing"]


@pytest.mark.parametrize("content", ["", "[]", '{"label": "v1"}'])
def test_an_anchor_that_is_none_is_wrong_use(tmp_path: Path, content: str) -> None:
    (tmp_path / "anchor.json").write_text(content)
    with pytest.raises(UsageError, match="--anchor"):
        read_anchor(tmp_path)


def test_a_run_beside_an_anchor_is_verified_with_it(run: Path, tmp_path: Path) -> None:
    folder = make_anchor(run, "v1", tmp_path)
    later = write_run(tmp_path / "later")
    shutil.copyfile(folder / "anchor.json", later / "anchor.json")
    _, faults = verdicts_of_run(later)
    assert faults == ["anchor.json is not in the manifest"]
    sealed = json.dumps(read_json(later / "manifest.json"))
    from harness.evidence import seal_files

    manifest = {**json.loads(sealed), "sealed": seal_files(later, SEALED)}
    write_json(later / "manifest.json", manifest)
    shown = judge_again(later)["anchor"]
    assert shown["label"] == "v1"
    seen = {one["verdict"] for one in shown["rows"]}
    assert seen == {"no difference seen", "not comparable"}
    content = read_json(later / "anchor.json")
    content["rows"][0]["estimate"] = 7.0
    write_json(later / "anchor.json", content)
    _, faults = verdicts_of_run(later)
    assert faults == ["anchor.json was changed after the run"]
