"""Risk: files of a run that are missing, changed or another run's still make a PASS."""

from __future__ import annotations

import copy
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EvidenceError, HarnessError
from harness.evidence import (
    check_verdicts,
    read_json,
    seal_samples,
    verdicts_of_run,
    write_json,
    write_verdicts,
)
from harness.measurement import Bound, Process, Rival, write_measurement
from suites.tests.unit.harness.small_run import (
    OFF,
    SETTING,
    bits,
    clean_bits,
    gate_of,
    manifest_of,
    measured,
    write_run,
)

BITS = "quality.bits"
FILE = "quality.bits-emulated.json.gz"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def bits_of(run: Path) -> tuple[str, str, list[str]]:
    """Verdict and reason of quality.bits, and the faults of the evidence."""
    verdicts, faults = verdicts_of_run(run)
    gate = gate_of(verdicts, BITS)
    return gate["verdict"], gate["reason"], faults


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_clean_evidence_passes_and_the_rest_is_not_run(run: Path) -> None:
    assert bits_of(run) == ("PASS", "", [])
    verdicts, _ = verdicts_of_run(run)
    others = {gate["id"]: gate["verdict"] for gate in verdicts["gates"] if gate["id"] != BITS}
    assert len(others) == 16
    assert set(others.values()) == {"NOT RUN"}
    assert verdicts["decision"]["exit_code"] == 3


def test_the_same_files_give_the_same_verdicts(run: Path) -> None:
    assert verdicts_of_run(run) == verdicts_of_run(run)
    assert verdicts_of_run(run)[0] == read_json(run / "verdicts.json")


def test_one_differing_word_is_no_go(tmp_path: Path) -> None:
    taken = [*clean_bits()[:2], bits("quality.bits-hostile", evidence="synthetic", differing=1.0)]
    run = write_run(tmp_path / "run", taken)
    verdicts, _ = verdicts_of_run(run)
    assert gate_of(verdicts, BITS)["verdict"] == "FAIL"
    assert verdicts["decision"]["verdict"] == "NO-GO"
    assert verdicts["decision"]["reasons"] == ["quality.bits: FAIL"]


def _swap(run: Path) -> None:
    """Evidence of another measurement under this one's name."""
    content = (run / "samples" / "quality.bits-hostile.json.gz").read_bytes()
    (run / "samples" / FILE).write_bytes(content)


def _flip(run: Path) -> None:
    path = run / "samples" / FILE
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _rewrite(run: Path) -> None:
    write_measurement(run, bits("quality.bits-emulated", context={"more": 1}))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "deleted": (lambda run: (run / "samples" / FILE).unlink(), "are missing"),
    "flipped": (_flip, "changed after the run"),
    "rewritten": (_rewrite, "changed after the run"),
    "emptied": (lambda run: (run / "samples" / FILE).write_bytes(b""), "changed after"),
    "swapped": (_swap, "changed after the run"),
    "renamed": (
        lambda run: (run / "samples" / FILE).rename(run / "samples" / "other.json.gz"),
        "are missing",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_evidence_is_reported_and_not_valid(run: Path, name: str) -> None:
    damage, word = DAMAGES[name]
    damage(run)
    verdict, reason, faults = bits_of(run)
    assert verdict == "INVALID"
    assert word in reason
    assert any(FILE in fault and word in fault for fault in faults)


def reseal(run: Path) -> None:
    """A manifest that vouches for whatever is there now."""
    edited(run / "manifest.json", lambda manifest: manifest.update(samples=seal_samples(run)))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_swap, "are those of quality.bits-hostile"),
        (_flip, "cannot be read"),
        (lambda run: (run / "samples" / FILE).write_bytes(b""), "cannot be read"),
    ],
    ids=["swapped", "flipped", "emptied"],
)
def test_resealing_does_not_make_damaged_evidence_valid(
    run: Path, damage: Callable[[Path], Any], word: str
) -> None:
    damage(run)
    reseal(run)
    verdict, reason, faults = bits_of(run)
    assert verdict == "INVALID"
    assert word in reason
    assert len(faults) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("commit", "a" * 40),
        ("content_digest", "a" * 32),
        ("config_digest", "a" * 16),
        ("machine", "a" * 8),
        ("evidence", "synthetic"),
        ("unit", "s"),
        ("ended", 1.0),
        ("failure", "it died"),
        ("processes", []),
    ],
)
def test_evidence_of_another_run_is_not_valid_even_resealed(
    run: Path, field: str, value: object
) -> None:
    path = run / "samples" / FILE
    content = json.loads(gzip.decompress(path.read_bytes()))
    content |= {field: value, "started": 0.0}
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    reseal(run)
    verdict, reason, faults = bits_of(run)
    assert (verdict, faults) == ("INVALID", [])
    assert reason


def test_evidence_that_nobody_vouches_for_does_not_count(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", clean_bits()[:2])
    write_measurement(run, clean_bits()[2])
    verdict, _, faults = bits_of(run)
    assert verdict == "NOT RUN"
    assert faults == ["samples/quality.bits-hostile.json.gz is not in the manifest"]


def test_an_optional_row_cannot_be_made_to_vanish(tmp_path: Path) -> None:
    def hits(name: str, value: float) -> Any:
        processes = [Process(values=[value] * 1000, instruments=OFF)] * 5
        return measured(f"hit_ratio.hot-{name}", unit="1", processes=processes)

    run = write_run(tmp_path / "run", [hits("editing", 1.0), hits("git", 0.0)])
    assert gate_of(verdicts_of_run(run)[0], "hit_ratio.hot")["verdict"] == "FAIL"
    (run / "samples" / "hit_ratio.hot-git.json.gz").unlink()
    assert gate_of(verdicts_of_run(run)[0], "hit_ratio.hot")["verdict"] == "INVALID"


@pytest.mark.parametrize("name", ["manifest.json", "targets.json", "waivers.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b"\xff", b'{"samples": 3}'])
def test_files_without_which_nothing_can_be_said(
    run: Path, name: str, content: bytes | None
) -> None:
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    with pytest.raises(EvidenceError) as caught:
        verdicts_of_run(run)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "field",
    ["profile", "commit", "content_digest", "config_digest", "machine", "ended_s", "samples"],
)
def test_a_manifest_without_a_field_says_nothing(run: Path, field: str) -> None:
    edited(run / "manifest.json", lambda manifest: manifest.pop(field))
    with pytest.raises(EvidenceError, match="damaged"):
        verdicts_of_run(run)


@pytest.mark.parametrize("ended", [math.nan, math.inf, -math.inf, 1e12])
def test_a_manifest_of_no_time_makes_everything_stale(run: Path, ended: float) -> None:
    edited(run / "manifest.json", lambda manifest: manifest.update(ended_s=ended))
    assert bits_of(run)[0] == "INVALID"


def test_a_manifest_of_an_unknown_profile_holds(run: Path) -> None:
    edited(run / "manifest.json", lambda manifest: manifest.update(profile="weekly"))
    verdicts, _ = verdicts_of_run(run)
    assert verdicts["decision"]["verdict"] == "HOLD"
    assert check_verdicts(verdicts)


WAIVER = {
    "gate": BITS,
    "reason": "known",
    "owner": "release manager",
    "expires": "2027-02-01",
    "commits": SETTING.commit,
    "state": "active",
}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "WAIVED"),
        ({"state": "expired"}, "FAIL"),
        ({"state": "other commits"}, "NOT RUN"),
        ({"gate": "latency.hot"}, "NOT RUN"),
    ],
)
def test_waivers_work_by_their_state(tmp_path: Path, changed: dict[str, str], verdict: str) -> None:
    run = write_run(tmp_path / "run", [], waivers=[{**WAIVER, **changed}])
    verdicts, faults = verdicts_of_run(run)
    assert gate_of(verdicts, BITS)["verdict"] == verdict
    assert verdicts["waivers"] == [{**WAIVER, **changed}]
    assert faults == []


def test_a_waiver_that_had_run_out_is_not_revived_by_its_state(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [], waivers=[{**WAIVER, "expires": "2027-01-14"}])
    verdicts, faults = verdicts_of_run(run)
    assert gate_of(verdicts, BITS)["verdict"] == "FAIL"
    assert faults == ["waivers.json: that of quality.bits had run out when the run began"]


def test_strict_is_kept_with_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", strict=True)
    assert verdicts_of_run(run)[0]["decision"] | {"reasons": []} == {
        "verdict": "HOLD",
        "label": "CI HOLD, not a release verdict",
        "exit_code": 1,
        "reasons": [],
    }


# ---------------------------------------------------------------- verdicts.schema.json


@pytest.fixture
def verdicts(tmp_path: Path) -> dict[str, Any]:
    rich = bits(
        "quality.bits-emulated",
        bound=Bound(value=0.0, reason="counted"),
        beside=[Rival(subject="silent", processes=())],
        context={"paths": {"hot": 3}},
        population={"vectors": 3},
    )
    run = write_run(tmp_path / "run", [rich, *clean_bits()[::2]], waivers=[WAIVER])
    return verdicts_of_run(run)[0]


def test_what_is_computed_keeps_to_the_schema(verdicts: dict[str, Any]) -> None:
    assert check_verdicts(verdicts) == ""


def _row(verdicts: dict[str, Any]) -> dict[str, Any]:
    """The row that has everything."""
    found: dict[str, Any] = gate_of(verdicts, BITS)["rows"][1]
    return found


BREACHES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another version": lambda v: v.update(schema_version=2),
    "unknown field": lambda v: v.update(score=0.9),
    "no gates": lambda v: v.update(gates=[]),
    "unknown verdict": lambda v: _row(v).update(verdict="OK"),
    "a row is waived": lambda v: _row(v).update(verdict="WAIVED"),
    "a pass without a number": lambda v: _row(v).update(estimate=None),
    "a pass without samples": lambda v: _row(v).update(samples=0),
    "a pass without a file": lambda v: _row(v).update(measurement=""),
    "a pass without a tier": lambda v: _row(v).update(evidence=""),
    "a gate passes without a row that does": lambda v: [
        row.update(verdict="FAIL") for row in gate_of(v, BITS)["rows"]
    ],
    "a number beside NOT RUN": lambda v: v["gates"][1]["rows"][0].update(estimate=0.0),
    "NOT RUN without a reason": lambda v: v["gates"][1]["rows"][0].update(reason=""),
    "a file elsewhere": lambda v: _row(v).update(measurement="../samples/x.json.gz"),
    "a number as text": lambda v: _row(v).update(low="0"),
    "a limit is missing": lambda v: _row(v).pop("limit"),
    "GO with exit status 3": lambda v: v["decision"].update(verdict="GO"),
    "GO over a reason": lambda v: v["decision"].update(verdict="GO", exit_code=0),
    "HOLD with exit status 0": lambda v: v["decision"].update(exit_code=0),
    "HOLD without a reason": lambda v: v["decision"].update(reasons=[]),
    "a waiver without an owner": lambda v: v["waivers"][0].update(owner=""),
    "a waiver of no state": lambda v: v["waivers"][0].update(state="maybe"),
    "an unknown profile": lambda v: v["run"].update(profile="weekly"),
    "dirty is not known": lambda v: v["run"].update(dirty=None),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_document_that_breaks_the_schema_is_never_written(
    tmp_path: Path, verdicts: dict[str, Any], name: str
) -> None:
    broken = copy.deepcopy(verdicts)
    BREACHES[name](broken)
    assert check_verdicts(broken)
    target = tmp_path / "other"
    target.mkdir()
    with pytest.raises(HarnessError, match="schema"):
        write_verdicts(target, broken)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("content", [None, [], "GO", {}])
def test_what_is_no_document_breaks_the_schema(content: Any) -> None:
    assert check_verdicts(content)


def test_the_report_reads_what_the_schema_allows(run: Path) -> None:
    from harness.report.model import read_report

    report = read_report(run)
    assert report.alarms == ()
    assert (report.verdict, report.exit_code) == ("HOLD", 3)


# ---------------------------------------------------------------- files


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    assert read_json(path) == {"a": 1}
    write_json(path, {"a": "µ"})
    assert read_json(path) == {"a": "µ"}
    assert [one.name for one in tmp_path.iterdir()] == ["manifest.json"]


def test_a_run_without_samples_vouches_for_nothing(tmp_path: Path) -> None:
    assert seal_samples(tmp_path) == {}
    run = write_run(tmp_path / "run", [])
    assert manifest_of(run)["samples"] == {}
    assert bits_of(run)[0] == "NOT RUN"
