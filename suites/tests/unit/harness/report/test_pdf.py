"""Risk: the paper is not a PDF, lacks a figure, or carries the moment it was rendered."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from harness.report.model import read_report
from harness.report.pdf import render_pdf
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import build_run, content


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def test_it_is_a_pdf_with_every_figure(rendered: Rendered) -> None:
    pdf = (rendered.folder / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert 3 <= pages(pdf) <= 12
    widths = re.findall(rb"/Subtype /Image\b", pdf)
    assert len(widths) >= len(rendered.figures)


def test_it_is_dated_with_the_run(rendered: Rendered) -> None:
    pdf = (rendered.folder / "report.pdf").read_bytes()
    assert b"20261124203519" in pdf


def test_missing_figures_and_an_undated_run_are_still_a_pdf(tmp_path: Path) -> None:
    verdicts = content()
    del verdicts["run"]["started"], verdicts["run"]["ended"]
    run = build_run(tmp_path, verdicts)
    (run / "manifest.json").write_text("{}", encoding="utf-8")
    report = read_report(run)
    first = render_pdf(report, ())
    assert first.startswith(b"%PDF-")
    assert first == render_pdf(report, ())


def test_a_hundred_rows_do_not_break_a_page(rendered: Rendered) -> None:
    report = replace(rendered.report, gates=rendered.report.gates * 8)
    assert pages(render_pdf(report, ())) > 4
