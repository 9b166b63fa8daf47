"""Risk: a report that is incomplete, stale, half-written, or different each time."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from harness.pages import page_faults
from harness.report.write import write_report
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_run import build_run, content, passing

FIGURES = {"latency-hot", "latency-disk", "bytes-per-vector", "hit-ratio", "memory", "startup"}
FIGURES |= {"query-debt", "query-load", "recall", "updates"}


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_every_output_is_there_and_nothing_else(rendered: Rendered) -> None:
    names = {str(path.relative_to(rendered.folder)) for path in rendered.files}
    assert names == {
        "report.html",
        "report.pdf",
        "junit.xml",
        "summary.md",
        *(f"figures/{name}.png" for name in FIGURES),
    }
    inputs = {"verdicts.json", "manifest.json"}
    assert {name for name in digests(rendered.folder) if not name.startswith("samples/")} == (
        names | inputs | {"pages.json"}
    )
    vouched = json.loads((rendered.folder / "pages.json").read_text(encoding="utf-8"))
    assert set(vouched["pages"]) == names
    for path in rendered.files:
        assert path.stat().st_size > 500
        assert path.stat().st_mode & 0o044 == 0o044


def test_figures_are_png(rendered: Rendered) -> None:
    for name in FIGURES:
        png = (rendered.folder / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")


def test_equal_runs_give_equal_bytes(rendered: Rendered, tmp_path: Path) -> None:
    again = build_run(tmp_path / "elsewhere")
    write_report(again)
    assert digests(again) == digests(rendered.folder)


def test_missing_and_damaged_samples_become_sentences(tmp_path: Path) -> None:
    run = build_run(tmp_path, passing())
    write_report(run)
    assert page_faults(run) == []
    (run / "figures" / "latency-hot.png").write_bytes(b"another picture")
    assert page_faults(run) == ["figures/latency-hot.png is not the page that was made of this run"]
    (run / "samples" / "latency.hot-0.json.gz").unlink()
    (run / "samples" / "latency.disk-1.json.gz").write_bytes(b"\x1f\x8b damaged")
    files = write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "No figure: this run has no raw samples of latency.hot." in page
    assert "Not drawn, no samples or no room: cold." in page
    assert not (run / "figures" / "latency-hot.png").exists()
    assert run / "figures" / "latency-hot.png" not in files
    assert run / "figures" / "latency-disk.png" in files


@pytest.mark.parametrize("values", [7, "text", None, {"a": 1}, [None, "x", [1]]])
def test_samples_of_another_shape_become_sentences(tmp_path: Path, values: object) -> None:
    run = build_run(tmp_path, passing())
    for path in (run / "samples").iterdir():
        path.write_bytes(gzip.compress(json.dumps({"processes": [{"values": values}]}).encode()))
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    for gate in ("latency.hot", "latency.disk", "startup.time"):
        assert f"No figure: this run has no raw samples of {gate}." in page


def test_samples_outside_the_run_are_not_read(tmp_path: Path) -> None:
    verdicts = passing()
    for gate in verdicts["gates"]:
        for row in gate["rows"]:
            row["measurement"] = row["measurement"] and f"../elsewhere/{row['measurement']}"
    (tmp_path / "elsewhere" / "samples").mkdir(parents=True)
    run = build_run(tmp_path / "run", verdicts)
    assert list((tmp_path / "elsewhere" / "samples").iterdir())
    write_report(run)
    assert "no raw samples of latency.hot" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["verdicts.json", "manifest.json"])
def test_a_run_without_evidence_has_no_report(tmp_path: Path, name: str) -> None:
    run = build_run(tmp_path)
    (run / name).unlink()
    before = digests(run)
    with pytest.raises(FileNotFoundError):
        write_report(run)
    assert digests(run) == before


def test_a_broken_contract_leaves_an_older_report_alone(tmp_path: Path) -> None:
    run = build_run(tmp_path, passing())
    (run / "report.html").write_text("older", encoding="utf-8")
    verdicts = content()
    verdicts["gates"][0]["verdict"] = "FINE"
    (run / "verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
    with pytest.raises(ValueError, match="FINE"):
        write_report(run)
    assert (run / "report.html").read_text(encoding="utf-8") == "older"


def test_a_failed_replacement_leaves_no_temporary_file(tmp_path: Path) -> None:
    run = build_run(tmp_path, passing())
    (run / "report.html").mkdir()  # a directory in the way: replacing it must fail
    with pytest.raises(OSError):
        write_report(run)
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
