"""The soak that a run has beside its samples, as a figure."""

from __future__ import annotations

from pathlib import Path

from harness.errors import EvidenceError
from harness.report.search_figures import Drawn
from harness.soak.decide import judge_soak
from harness.soak.evidence import read_soak
from harness.soak.figure import draw_soak, soak_in_words

__all__ = ["drawn_soak"]


def drawn_soak(run_dir: Path) -> Drawn | None:
    """Resources, kills and latencies of the segments below `soak`; None if there are none."""
    try:
        soak = read_soak(run_dir / "soak")
    except EvidenceError:
        return None
    if not soak.observations:
        return None
    judged = judge_soak(soak)
    return Drawn(
        canvas=lambda: draw_soak(soak, judged),
        caption="Counted hours only. Dark lines are the slopes that are judged, fitted after the "
        "plateau in the longest life of one process; upright lines begin a segment; red ticks are "
        "kills. Anonymous memory is that of the process that is never killed.",
        alternative=soak_in_words(judged),
    )
