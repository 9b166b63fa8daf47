"""Risk: a sentence that says more than the data, or leaves out what was not tested."""

from __future__ import annotations

from pathlib import Path

from harness.report.model import read_report
from harness.report.wording import asides, gate_fix, not_tested, what_changes_it
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import build_run, passing


def test_one_sentence_per_open_gate(rendered: Rendered) -> None:
    sentences = what_changes_it(rendered.report)
    unsettled = [g for g in rendered.report.blocking if g.verdict not in ("PASS", "WAIVED")]
    assert len(sentences) == len(unsettled) == 7
    for sentence, gate in zip(sentences, unsettled, strict=True):
        assert sentence.startswith(f"{gate.id}: ")


def test_each_verdict_has_its_remedy(rendered: Rendered) -> None:
    fixes = {gate.id: gate_fix(gate) for gate in rendered.report.gates}
    assert "bring 94.1 % to ≥ 95 %" in fixes["hit_ratio.hot"]
    assert "Code cannot fix this" in fixes["quality.search"]
    assert "straddles < 3 MB" in fixes["memory.steady"]
    assert "measure it (no suite of this build measures it)." in fixes["soak.day"]
    assert "measure it again (tracemalloc was on" in fixes["update.latency"]


def test_what_was_not_tested_is_complete(rendered: Rendered) -> None:
    text = "\n".join(not_tested(rendered.report))
    for gate in rendered.report.gates:
        for row in gate.rows:
            if row.verdict in ("NOT RUN", "INVALID"):
                assert f"{gate.id}, {row.label}" in text
        if not gate.rows:
            assert f"{gate.id}: no rows at all" in text
    assert "synthetic data" in text
    assert "No call to live Bedrock" in text


def test_a_live_row_takes_the_sentence_on_live_away(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["gates"][0]["rows"][0]["evidence"] = "live"
    assert "No call to live" not in "\n".join(
        not_tested(read_report(build_run(tmp_path, verdicts)))
    )


def test_open_rows_stand_beside_their_gate(rendered: Rendered) -> None:
    saving = next(gate for gate in rendered.report.gates if gate.id == "compression.saving")
    assert asides(saving)[0].endswith("INFEASIBLE (advisory), bound 19.4 %")
