"""Proofs: somebody who wants a PASS and may edit files does not get one unnoticed."""

from __future__ import annotations

import copy
import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from harness import cli
from harness.errors import UsageError
from harness.evidence import read_json, seal_files, seal_samples, verdicts_of_run, write_json
from harness.gates import Verdict, judge_row
from harness.measurement import Process
from harness.targets import load_targets, parse_targets
from harness.verify import verify_run
from suites.tests.unit.harness.small_run import (
    ENDED_S,
    OFF,
    SETTING,
    clean_bits,
    gate_of,
    measured,
    target_row,
    write_run,
)

BITS = "quality.bits"
EMULATED, RECORDED = (f"quality.bits-{kind}.json.gz" for kind in ("emulated", "recorded"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Everything sealed, as a real run has it."""
    return write_run(tmp_path / "run")


def reseal(run: Path) -> None:
    manifest = read_json(run / "manifest.json")
    sealed = seal_files(run, list(manifest["sealed"]))
    write_json(run / "manifest.json", {**manifest, "samples": seal_samples(run), "sealed": sealed})


def edit_samples(run: Path, change: Callable[[dict[str, Any]], Any], name: str = EMULATED) -> None:
    path = run / "samples" / name
    content = json.loads(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_json(path)
    change(content)
    write_json(path, content)


# ---------------------------------------------------------------- files edited


def _one_sample(run: Path) -> None:
    edit_samples(run, lambda content: content["processes"][0]["values"].append(0.0))


def _one_verdict(run: Path) -> None:
    edit_json(
        run / "verdicts.json",
        lambda verdicts: gate_of(verdicts, "latency.hot").update(verdict="PASS"),
    )


def _one_digest(run: Path) -> None:
    edit_json(
        run / "manifest.json", lambda manifest: manifest["samples"].update({EMULATED: "0" * 64})
    )


def _swap(run: Path) -> None:
    first, second = run / "samples" / EMULATED, run / "samples" / RECORDED
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _drop(run: Path) -> None:
    (run / "samples" / EMULATED).unlink()


def _drop_quietly(run: Path) -> None:
    _drop(run)
    reseal(run)


def _add(run: Path) -> None:
    shutil.copyfile(run / "samples" / EMULATED, run / "samples" / "latency.hot-files-1024.json.gz")


def _earlier(run: Path) -> None:
    """Samples of an hour ago: same commit, same machine, young enough; but of another run."""

    def age(content: dict[str, Any]) -> None:
        content["started"] -= 3_600
        content["ended"] -= 3_600

    edit_samples(run, age)
    reseal(run)


def _commit(run: Path) -> None:
    edit_json(run / "manifest.json", lambda manifest: manifest.update(commit="a" * 40))


def _machine_facts(run: Path) -> None:
    """Nothing that a verdict depends on, but a report shows it."""
    edit_json(run / "manifest.json", lambda manifest: manifest["machine"].update(cores=64))


def _softer_waiver(run: Path) -> None:
    waiver = dict.fromkeys(("gate", "reason", "owner", "commits"), "query.latency")
    edit_json(
        run / "waivers.json",
        lambda content: content["waivers"].append(
            {**waiver, "expires": "2999-01-01", "state": "active"}
        ),
    )


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "one sample": (_one_sample, "were changed after the run"),
    "one verdict": (_one_verdict, "claimed 'PASS'"),
    "one digest": (_one_digest, "were changed after the run"),
    "two files swapped": (_swap, "were changed after the run"),
    "two files swapped, sealed": (
        lambda run: (_swap(run), reseal(run))[0],  # type: ignore[func-returns-value]
        "its raw samples are those of",
    ),
    "a file taken out": (_drop, "are missing"),
    "a file taken out, sealed": (_drop_quietly, "rows[quality.bits.emulated].verdict"),
    "a file added": (_add, "is not in the manifest"),
    "another run's samples": (_earlier, "rows[quality.bits.emulated].verdict"),
    "the commit": (_commit, "run.commit"),
    "facts that are only shown": (_machine_facts, "run.manifest_sha256"),
    "a waiver added": (_softer_waiver, "waivers.json was changed after the run"),
}


@pytest.mark.parametrize("harm", HARM)
def test_each_edit_is_noticed(run: Path, harm: str) -> None:
    assert verify_run(run) == []
    change, word = HARM[harm]
    change(run)
    faults = verify_run(run)
    assert any(word in fault for fault in faults), faults
    assert CliRunner().invoke(cli.main, ["verify", str(run)]).exit_code == 1


def test_samples_of_another_run_are_not_valid(run: Path) -> None:
    _earlier(run)
    rows = {row["id"]: row for row in gate_of(verdicts_of_run(run)[0], BITS)["rows"]}
    assert rows["quality.bits.emulated"]["verdict"] == "INVALID"
    assert "measured before this run began" in rows["quality.bits.emulated"]["reason"]
    assert rows["quality.bits.hostile"]["verdict"] == "PASS"


# ---------------------------------------------------------------- measurements that are none

ROW = target_row()
TIMES = np.linspace(0.4, 0.6, 10).tolist()


def processes(count: int, values: list[float] | None = None) -> list[Process]:
    rng = np.random.default_rng(count)
    return [
        Process(values=values or rng.uniform(0.4, 0.6, 10).tolist(), instruments=OFF)
        for _ in range(count)
    ]


NONE: dict[str, Mapping[str, Any]] = {
    "no process": {"processes": []},
    "one process only": {"processes": processes(1)},
    "one process, five times": {"processes": processes(5, TIMES)},
    "processes without samples": {"processes": [Process(values=[], instruments=OFF)] * 5},
    "one empty process": {"processes": [*processes(4), Process(values=[], instruments=OFF)]},
    "NaN": {"processes": processes(5, [float("nan")] * 10)},
    "an infinite time": {"processes": processes(5, [float("-inf")] * 10)},
    "controls only": {
        "processes": [Process(control=True, values=TIMES, instruments=OFF) for _ in range(5)]
    },
    "instruments unknown": {"processes": [Process(values=TIMES) for _ in range(5)]},
    "old evidence": {"started": ENDED_S - 100_001, "ended": ENDED_S - 100_000},
    "evidence of tomorrow": {"started": ENDED_S + 900, "ended": ENDED_S + 1_000},
    "another unit": {"unit": "B"},
    "another tier": {"evidence": "synthetic"},
    "another machine": {"machine": "0" * 8},
    "a worker that failed": {"failure": "killed by signal 9", "processes": processes(5)},
}


@pytest.mark.parametrize("harm", NONE)
def test_what_is_no_measurement_never_passes(harm: str) -> None:
    assert judge_row(ROW, measured(processes=processes(5)), SETTING).verdict is Verdict.PASS
    found = judge_row(ROW, measured(**{"processes": processes(5), **NONE[harm]}), SETTING)
    assert found.verdict is Verdict.INVALID
    assert found.reason
    assert found.interval is None


def test_a_missing_metric_is_not_run() -> None:
    assert judge_row(ROW, None, SETTING).verdict is Verdict.NOT_RUN


def test_equal_constant_series_are_no_copies() -> None:
    """A clock of 1 ms gives every process the same times; that is coarse, and no fraud."""
    found = judge_row(ROW, measured(processes=processes(5, [0.5] * 10)), SETTING)
    assert found.verdict is Verdict.PASS


# ---------------------------------------------------------------- targets and waivers


def _document() -> dict[str, Any]:
    return copy.deepcopy(dict(load_targets().document))


def test_two_rows_of_one_id_are_refused() -> None:
    document = _document()
    document["gate"][0]["row"].append(document["gate"][0]["row"][0])
    with pytest.raises(UsageError, match="is there twice"):
        parse_targets(document)


def test_a_gate_that_is_gone_is_reported(run: Path) -> None:
    edit_json(run / "targets.json", lambda targets: targets["gate"].pop())
    faults = verify_run(run)
    assert any("gates: claimed" in fault for fault in faults)
    assert any("not what this checkout promises" in fault for fault in faults)


WAIVER = """
[[waiver]]
gate = "{gate}"
reason = "because"
owner = "somebody"
expires = {expires}
commits = "{commits}"
"""


def waived(tmp_path: Path, *waivers: tuple[str, str]) -> str:
    """What quality.bits, one word of which differs, becomes with waivers of these states."""
    from suites.tests.unit.harness.small_run import bits

    raw = [
        {"gate": BITS, "reason": "because", "owner": "somebody", "commits": "c" * 40}
        | {"expires": expires, "state": state}
        for expires, state in waivers
    ]
    taken = [*clean_bits()[:2], bits("quality.bits-hostile", evidence="synthetic", differing=1.0)]
    folder = write_run(tmp_path / "run", taken, waivers=raw)
    return str(gate_of(verdicts_of_run(folder)[0], BITS)["verdict"])


def test_a_waiver_in_force_is_shown_as_one(tmp_path: Path) -> None:
    assert waived(tmp_path, ("2999-01-01", "active")) == "WAIVED"


@pytest.mark.parametrize(
    "state", [("2020-01-01", "active"), ("2020-01-01", "expired"), ("2999-01-01", "other commits")]
)
def test_no_other_waiver_helps(tmp_path: Path, state: tuple[str, str]) -> None:
    assert waived(tmp_path, state) == "FAIL"


def test_a_new_waiver_does_not_hide_an_expired_one(tmp_path: Path) -> None:
    assert waived(tmp_path, ("2999-01-01", "active"), ("2020-01-01", "expired")) == "FAIL"


def test_a_waiver_of_a_gate_that_is_none_ends_the_run(tmp_path: Path) -> None:
    text = WAIVER.format(gate="latency.warm", expires="2999-01-01", commits="c" * 40)
    (tmp_path / "waivers.toml").write_text(text)
    words = ["gate", "--waivers", str(tmp_path / "waivers.toml"), "--reports", str(tmp_path / "r")]
    found = CliRunner().invoke(cli.main, words)
    assert found.exit_code == 2
    assert "no gate 'latency.warm'" in found.stderr
    assert not (tmp_path / "r").exists()
