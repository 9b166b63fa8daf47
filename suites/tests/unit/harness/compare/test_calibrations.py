"""Risk: rounds of another machine, body or data make a benchmark seem calibrated."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compare import calibrations
from harness.compare.calibrations import (
    Calibration,
    Session,
    calibration_of,
    load_calibration,
    record_compare,
    set_aside,
    usual_calibrations,
)
from harness.compare.decide import RULE
from harness.compare.rounds import METHOD
from suites.tests.unit.harness.compare.small_compare import made_round

A, B = "m.A.time_a", "m.B.time_b"
BODIES = {A: "1", B: "2"}


def add_session(
    folder: Path, rounds: int, *, machine: str = "m1", data: str = "d", **bodies: str
) -> None:
    known = {**BODIES, **{f"m.{name.upper()}.time_{name}": body for name, body in bodies.items()}}
    number = len(list(folder.rglob("*.jsonl")))
    session = Session.begin(folder, machine, f"s{number}", {"bodies": known, "data": data})
    rng = np.random.default_rng(1)
    for place in range(rounds):
        session.add(made_round({A: 0.0, B: 0.1}, rng, 1, 100 * number + place))


def counts(folder: Path, machine: str = "m1", data: str = "d") -> dict[str, int]:
    found = load_calibration(folder, machine, BODIES, data)
    return {name: len(values) for name, values in found.rounds.items()}


def test_sessions_add_up(tmp_path: Path) -> None:
    assert counts(tmp_path) == {}
    add_session(tmp_path, 3)
    add_session(tmp_path, 2)
    assert counts(tmp_path) == {A: 5, B: 5}
    found = load_calibration(tmp_path, "m1", BODIES, "d")
    assert found.newest == 1_101.0
    assert np.median(found.rounds[B]) == pytest.approx(np.log(1.1), abs=0.02)


def test_only_the_same_machine_and_data_count(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    assert counts(tmp_path, machine="m2") == {}
    assert counts(tmp_path, data="other") == {}


def test_only_the_same_body_counts(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    add_session(tmp_path, 4, b="changed")
    assert counts(tmp_path) == {A: 7, B: 3}


def test_only_rounds_made_as_today_count(tmp_path: Path) -> None:
    for method, count in ((METHOD, 3), ({**METHOD, "samples": 5}, 0), ({}, 0), (None, 0)):
        header = {"bodies": BODIES, "data": "d", "method": method}
        session = Session.begin(tmp_path / str(count), "m1", f"s{method}", header)
        for place in range(3):
            session.add(made_round({A: 0.0}, np.random.default_rng(1), 1, place))
        assert counts(tmp_path / str(count)).get(A, 0) == count


def test_sessions_from_before_the_method_was_noted_do_not_count(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    (path,) = tmp_path.rglob("*.jsonl")
    header, *lines = path.read_text().splitlines()
    older = {name: one for name, one in json.loads(header).items() if name != "method"}
    path.write_text("\n".join([json.dumps(older), *lines]) + "\n")
    assert counts(tmp_path) == {}


def test_comparisons_that_another_rule_decided_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"when": 1.0, "run": "r", "bodies": BODIES, "data": "d"}
    record_compare(tmp_path, "m1", **given, verdicts={A: "NO REGRESSION"})
    assert load_calibration(tmp_path, "m1", BODIES, "d").real == {A: (0, 1)}
    monkeypatch.setattr(calibrations, "RULE", dataclasses.replace(RULE, margin=0.02))
    assert load_calibration(tmp_path, "m1", BODIES, "d").real == {}


def test_what_is_set_aside_is_kept_and_counts_no_more(tmp_path: Path) -> None:
    assert set_aside(tmp_path, "m1", "now") is None
    add_session(tmp_path, 3)
    kept = set_aside(tmp_path, "m1", "now")
    assert kept is not None
    assert len(list(kept.rglob("*.jsonl"))) == 1
    assert counts(tmp_path) == {}


def test_the_age_is_that_of_the_rounds_that_count(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    add_session(tmp_path, 2, a="changed", b="changed")
    found = load_calibration(tmp_path, "m1", BODIES, "d")
    assert (found.oldest, found.newest) == (1_000.0, 1_002.0)


def test_a_torn_round_is_not_counted_and_the_session_goes_on(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    (path,) = tmp_path.rglob("*.jsonl")
    text = path.read_text()
    path.write_text(text[: len(text) - 40])
    assert counts(tmp_path) == {A: 2, B: 2}
    Session(path=path).add(made_round({A: 0.0, B: 0.0}, np.random.default_rng(2), 1, 9))
    assert counts(tmp_path) == {A: 3, B: 3}


def test_real_comparisons_count_for_the_same_body(tmp_path: Path) -> None:
    for verdict, bodies in (("NO REGRESSION", BODIES), ("REGRESSED", BODIES), ("REGRESSED", {})):
        record_compare(
            tmp_path, "m1", when=1.0, run="r", bodies=bodies, data="d", verdicts={A: verdict}
        )
    assert load_calibration(tmp_path, "m1", BODIES, "d").real == {A: (1, 2)}
    assert load_calibration(tmp_path, "m1", BODIES, "e").real == {}


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    add_session(tmp_path, 3)
    found = load_calibration(tmp_path, "m1", BODIES, "d")
    assert calibration_of(found.as_json()) == calibration_of(
        calibration_of(found.as_json()).as_json()
    )
    assert calibration_of(found.as_json()).rounds == dict(found.rounds)
    with pytest.raises(ValueError, match="version"):
        calibration_of({**found.as_json(), "schema_version": 9})
    assert Calibration(machine="m", newest=None).standing(A).state == "uncalibrated"


def test_the_usual_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert usual_calibrations() == tmp_path / "titanstore-harness" / "calibrations"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert usual_calibrations().is_relative_to(Path.home() / ".local" / "state")
