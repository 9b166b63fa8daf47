"""Risk: a figure misleads, cannot be read aloud, or takes the page down with it."""

from __future__ import annotations

from pathlib import Path

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from harness.report.figures import build_figures
from harness.report.model import read_report
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import HOSTILE, build_run, passing

_PHONE_PX, _LETTER_PX_MIN = 347, 8.5  # 375 px of screen less the page's margins


def test_ten_figures_each_drawn_and_described(rendered: Rendered) -> None:
    assert len(rendered.figures) == 10
    for figure in rendered.figures:
        assert not figure.missing
        assert len(figure.alternative) > 60
        assert len(figure.caption) > 60
        fromstring(figure.svg)


def test_captions_name_the_numbers_of_quantity(rendered: Rendered) -> None:
    words = {figure.name: figure.alternative for figure in rendered.figures}
    assert "limit 1 µs" in words["latency-hot"]
    assert "5000 samples" in words["latency-hot"]
    assert "this store 2164 B" in words["bytes-per-vector"]
    assert "entropy bound 2035 B" in words["bytes-per-vector"]
    assert "this store 94.1 %" in words["hit-ratio"]
    assert "file clean 1.00 MB" in words["memory"]
    assert "p99 0.44 ms after 600 updates" in words["query-debt"]
    assert "one caller: kept up to 800/s" in words["query-load"]
    assert "four callers: kept up to 200/s" in words["query-load"]
    assert "lance: recall 99.3 %, p99 3.60 ms" in words["recall"]
    assert "1 000 updates add +20.0 µs (−10.0 µs to +50.0 µs)" in words["updates"]


def test_control_processes_are_not_drawn_as_the_store(rendered: Rendered) -> None:
    words = {figure.name: figure.alternative for figure in rendered.figures}
    assert "of 20" in words["startup"]  # five treatment processes of four, the sixth is a control


def test_letters_are_big_enough_on_a_phone(rendered: Rendered) -> None:
    for figure in rendered.figures:
        root = fromstring(figure.svg)
        shrink = _PHONE_PX / float(root.attrib["viewBox"].split()[2])
        sizes = [
            float(declaration.split("px")[0].rpartition(" ")[2])
            for element in root.iter("text")
            for declaration in element.attrib["style"].split(";")
            if "px" in declaration
        ]
        assert sizes
        assert min(sizes) * shrink >= _LETTER_PX_MIN, figure.name


def test_colours_follow_the_theme(rendered: Rendered) -> None:
    for figure in rendered.figures:
        assert "var(--ink" in figure.svg
        assert "#000000" not in figure.svg
        assert "#ffffff" not in figure.svg.replace("var(--card, #ffffff)", "")


def test_ids_do_not_collide_between_figures(rendered: Rendered) -> None:
    seen: set[str] = set()
    for figure in rendered.figures:
        ids = {e.attrib["id"] for e in fromstring(figure.svg).iter() if "id" in e.attrib}
        assert not ids & seen
        seen |= ids


def test_hostile_labels_are_drawn_as_text(tmp_path: Path) -> None:
    verdicts = passing()
    for gate in verdicts["gates"]:
        for row in gate["rows"]:
            row["label"] = f"_{HOSTILE}"
    run = build_run(tmp_path, verdicts)
    figures = {figure.name: figure for figure in build_figures(read_report(run), run)}
    svg = figures["latency-hot"].svg
    assert "&lt;script&gt;" in svg
    assert "<script" not in svg


def test_contexts_of_another_shape_take_only_their_figure(tmp_path: Path) -> None:
    verdicts = passing()
    for gate in verdicts["gates"]:
        for row in gate["rows"]:
            if gate["id"] == "compression.saving":
                row["context"] = {"bytes_per_vector": "many", "rivals": [1, 2]}
    run = build_run(tmp_path, verdicts)
    figures = {figure.name: figure for figure in build_figures(read_report(run), run)}
    assert figures["bytes-per-vector"].missing.startswith("No figure: this run has no bytes_per")
    assert figures["memory"].missing
    assert not figures["latency-hot"].missing


def test_rows_that_share_their_samples_are_drawn_once(tmp_path: Path) -> None:
    verdicts = passing()
    for gate in verdicts["gates"]:
        for row in gate["rows"]:
            if gate["id"] == "latency.disk":
                row["measurement"] = "samples/latency.disk-0.json.gz"
    run = build_run(tmp_path, verdicts)
    figures = {figure.name: figure for figure in build_figures(read_report(run), run)}
    assert figures["latency-disk"].alternative.count("samples") == 1
