"""Risk: kills that the model does not survive, and faults that a soak does not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import EvidenceError
from harness.gates import Verdict
from harness.soak.decide import judge_growth, judge_soak
from harness.soak.evidence import read_soak
from harness.soak.page import write_page
from harness.soak.progress import SoakProgress
from harness.soak.simulate import simulate
from harness.soak.verify import verify_soak
from suites.tests.soak.small_soak import begin


def lived(folder: Path, *, stall_s: float = 60.0, **facts: object) -> Path:
    made = begin(folder, **facts)
    simulate(folder, made, SoakProgress(), stall_s=stall_s)
    return folder / "segments"


def test_every_kill_is_recovered_and_nothing_is_lost(tmp_path: Path) -> None:
    """Killed again and again in the middle of a call, with another configuration each time."""
    soak = read_soak(lived(tmp_path / "a", hours=0.2, kills_every_s=12.0))
    judged = judge_soak(soak)
    assert judged.mismatches == 0, judged.wrong
    assert judged.kills >= 15
    assert judged.recovered == judged.kills
    assert judged.hours == pytest.approx(0.2, abs=0.003)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "0.2 of 24 h counted" in judged.unfinished
    assert soak.headers[0].tier == "simulated"


def test_what_was_said_of_a_soak_follows_from_its_segments(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    lived(folder, hours=0.02)
    with pytest.raises(EvidenceError, match=r"judgement\.json is missing"):
        verify_soak(folder)
    page, judged = write_page(folder)
    assert verify_soak(folder) == []
    assert f"{judged.verdict}: 0.0 of 24 h counted" in page.read_text()
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


def test_a_leak_of_40_kb_an_hour_turns_it_red(tmp_path: Path) -> None:
    """Real memory of a real process through 10 hours of an injected clock."""
    segments = lived(
        tmp_path / "a", hours=10.0, inject="leak", rate_share=0.125, kills_every_s=7_200.0
    )
    growth = judge_growth(read_soak(segments))
    assert growth["anonymous"].verdict is Verdict.FAIL, growth["anonymous"]
    assert growth["descriptors"].verdict is Verdict.PASS
    assert judge_soak(read_soak(segments)).verdict is Verdict.FAIL
