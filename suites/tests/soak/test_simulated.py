"""Risk: kills that the model does not survive, and faults that a soak does not notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import EvidenceError
from harness.gates import Verdict
from harness.soak.decide import judge_soak
from harness.soak.driver import worker_environment
from harness.soak.evidence import read_soak
from harness.soak.facts import Facts
from harness.soak.lane import _Lane
from harness.soak.layout import RESIDENT_LANE, Lane, Tail
from harness.soak.ledger import Header, Ledger
from harness.soak.page import write_page
from harness.soak.progress import SoakProgress
from harness.soak.simulate import simulate
from harness.soak.slopes import BUDGETS, judge_slope, slope_of
from harness.soak.verify import verify_soak
from harness.subjects.reference import ReferenceSubject
from suites.tests.soak.small_soak import SEED, SMALL, begin


def lived(folder: Path, *, stall_s: float = 60.0, **facts: object) -> Path:
    made = begin(folder, **facts)
    simulate(folder, made, SoakProgress(), stall_s=stall_s)
    return folder / "segments"


def test_every_kill_is_recovered_and_nothing_is_lost(tmp_path: Path) -> None:
    """Killed again and again in the middle of a call, with another configuration each time."""
    soak = read_soak(lived(tmp_path / "a", hours=0.2, kills_every_s=12.0))
    with Ledger(tmp_path / "a" / "killed" / "expected", keys=len(SMALL), seed=SEED) as ledger:
        fates = [ledger.word(Header.FATE_OLD), ledger.word(Header.FATE_NEW)]
    assert min(fates) > 0, fates  # kills fall on both sides of what makes a change durable
    judged = judge_soak(soak)
    assert judged.mismatches == 0, judged.wrong
    assert judged.kills >= 15
    assert judged.recovered == judged.kills
    assert judged.hours == pytest.approx(0.2, abs=0.003)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "0.2 of 24 h counted" in judged.unfinished
    assert soak.headers[0].tier == "simulated"


def test_an_error_that_no_store_should_raise_is_a_wrong_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ValueError out of a search was taken for a fault of the harness, and no FAIL."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("an unforeseen case")

    monkeypatch.setattr(ReferenceSubject, "search", broken)
    made = begin(tmp_path / "a", hours=0.2)
    _Lane(job_of(made, tmp_path / "a", mix="resident", rate=0.8)).live()
    lines = list(Tail(tmp_path / "a" / RESIDENT_LANE / "samples.jsonl", from_start=True).lines())
    assert lines[-1]["wrong"] == 1
    assert "raised ValueError('an unforeseen case')" in (tmp_path / "a/wrong.jsonl").read_text()


def test_one_seed_has_one_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same operations and kills, and each kill at the same place: the models are equal."""
    found = []
    for number in (1, 2):
        monkeypatch.setenv("PYTHONHASHSEED", str(number))  # whatever the caller's
        folder = tmp_path / str(number)
        soak = read_soak(lived(folder, hours=0.06, kills_every_s=10.0))
        course = [
            (one.time_s, one.operations, one.kills, one.recovered)
            for segment in soak.segments
            for one in segment
        ]
        rows = Ledger(folder / "killed" / "expected", keys=len(SMALL), seed=SEED)
        found.append((course, rows.stamps().tolist(), rows.versions(), rows.word(Header.FATE_NEW)))
        rows.close()
    assert sum(kills for _, _, kills, _ in found[0][0]) >= 4
    assert found[0] == found[1]


def test_what_was_said_of_a_soak_follows_from_its_segments(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    lived(folder, hours=0.02)
    with pytest.raises(EvidenceError, match=r"judgement\.json is missing"):
        verify_soak(folder)
    page, judged = write_page(folder)
    assert verify_soak(folder) == []
    assert f"{judged.verdict}: 0.0 of 24 h counted" in page.read_text()
    assert "<td>10.0 kB</td>" in page.read_text()  # a budget has its unit
    path = folder / "segments" / "segment-0000.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"operations": 2', b'"operations": 9', 1))
    assert any("changed since it was judged" in fault for fault in verify_soak(folder))
    assert any("operations: said" in fault for fault in verify_soak(folder))


@pytest.mark.parametrize(
    ("inject", "words"),
    [
        ("lost-update", "wanted the vector of stamp"),
        ("bitflip", "CorruptionError"),
        ("stall", "no operation ended for"),
    ],
)
def test_each_fault_turns_it_red(tmp_path: Path, inject: str, words: str) -> None:
    segments = lived(tmp_path / "a", hours=0.5, inject=inject, stall_s=6.0)
    judged = judge_soak(read_soak(segments))
    assert judged.verdict is Verdict.FAIL
    assert words in judged.wrong


def job_of(made: Facts, folder: Path, *, mix: str, rate: float, inject: str = "") -> dict[str, Any]:
    """What a lane is told whose process is never killed."""
    return {
        "folder": str(folder),
        "lane": RESIDENT_LANE,
        "mix": mix,
        "parent": os.getpid(),
        "rate": rate,
        "hours": made.hours,
        "seed": made.seed,
        "space": dict(made.space),
        "settings": dict(made.settings),
        "sample_s": made.sample_s,
        "inject": inject,
    }


def lone(folder: Path, inject: str) -> subprocess.Popen[bytes]:
    """The process that is never killed, through 7 hours of reads: 85 looks at its memory."""
    made = begin(folder, hours=7.0)
    job = job_of(made, folder, mix="reads", rate=0.1, inject=inject)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.soak.lane"],
        stdin=subprocess.PIPE,
        env=worker_environment(),
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(json.dumps(job).encode())
    process.stdin = None
    return process


def test_a_leak_of_40_kb_an_hour_turns_it_red_and_nothing_else_does(tmp_path: Path) -> None:
    """Real memory of a real process, an injected clock; the same without a leak stays quiet."""
    found = {}
    processes = {inject: lone(tmp_path / (inject or "none"), inject) for inject in ("", "leak")}
    for inject, process in processes.items():
        assert process.wait(timeout=150) == 0
        lines = Tail(
            Lane(tmp_path / (inject or "none"), RESIDENT_LANE).samples, from_start=True
        ).lines()
        seen = [(line["time_s"], line["resources"]) for line in lines if "resources" in line]
        times = [float(time_s) for time_s, _ in seen]
        sizes = [float(resources["anonymous"]) for _, resources in seen]
        found[inject] = judge_slope(slope_of(times, sizes), BUDGETS["anonymous"])
    assert found == {"": Verdict.PASS, "leak": Verdict.FAIL}
