"""Risk: a page, table or CI file that says something else than compare.json, or nothing at all."""

from __future__ import annotations

import io
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.compare.documents import compute_document
from harness.compare.page import write_pages
from harness.compare.texts import (
    VISIBLE_LINES_MAX,
    render_junit,
    render_summary,
    render_terminal,
)
from harness.compare.view import LOOKS, view_of
from harness.evidence import read_json
from suites.tests.unit.harness.compare.small_compare import (
    calibration,
    document,
    manifest,
    write_folder,
)

SLOW, SAME, TREND = "m.Slow.time_a", "m.Same.time_b(3)", "m.Trend.time_c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    known = calibration([SLOW, SAME, TREND])
    known.rounds[TREND][:] = [value * 30 for value in known.rounds[TREND]]  # type: ignore[index]
    made = write_folder(
        tmp_path_factory.mktemp("compare") / "c",
        {SLOW: 0.06, SAME: 0.0, TREND: 0.0},
        known=known,
        incomparable={"m.<Old>.time_d": "its body & more"},
        head={
            "label": "topic", "commit": "c" * 40, "content_digest": "d" * 32, "dirty": True,
            "environment": "the running interpreter",
        },
    )  # fmt: skip
    write_pages(made)
    return made


def page(folder: Path) -> str:
    return (folder / "compare.html").read_text()


def test_the_page_says_what_the_document_says(folder: Path) -> None:
    text = page(folder)
    assert "REGRESSED</h1>" in text
    for name in (SLOW, SAME, TREND, "m.&lt;Old&gt;.time_d"):
        assert name in text
    assert "its body &amp; more" in text
    assert "content dddd" in text
    assert "not committed" in text
    assert "of machine 0123abcd" in text
    assert "Trend only, and not deciding: m.Trend.time_c." in text
    assert "assumes that they are exchangeable" in text
    for look in LOOKS.values():
        assert look.meaning in text.replace("&gt;", ">")


def test_the_page_stands_alone(folder: Path) -> None:
    text = page(folder)
    assert not re.search(r"<script|<link|src=|url\(http|@import", text)
    assert "<Old>" not in text


def test_each_benchmark_with_rounds_has_its_dots_with_margins(folder: Path) -> None:
    text = page(folder)
    figures = re.findall(r'<svg[^>]*aria-label="([^"]*)"', text)
    dots = [label for label in figures if "as a dot" in label]
    assert len(dots) == 3
    slow = next(label for label in dots if SLOW in label)
    assert "run 1" in slow
    assert "run 2" in slow
    assert text.count(">1.01<") == text.count(">1.05<") == 4  # at a glance, and each benchmark
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)


def test_equal_comparisons_have_equal_pages(folder: Path) -> None:
    before = page(folder)
    write_pages(folder)
    assert page(folder) == before
    assert not list(folder.glob(".*"))


def cases(folder: Path) -> dict[str, ElementTree.Element]:
    root = ElementTree.parse(folder / "junit.xml").getroot()  # noqa: S314 - written here
    found = {case.get("name", ""): case for case in root.iter("testcase")}
    assert root.get("tests") == str(len(found))
    return found


def test_junit_tells_a_slowdown_from_what_is_not_known(folder: Path) -> None:
    found = cases(folder)
    assert found[SLOW].find("failure") is not None
    assert found["decision"].find("failure") is not None
    old = found["m.<Old>.time_d"].find("error")
    assert old is not None
    assert "its body & more" in (old.text or "")
    assert found[SAME].find("failure") is found[SAME].find("error") is None
    assert "trend only" in (found[TREND].findtext("system-out") or "")
    assert "skipped" not in "".join(child.tag for case in found.values() for child in case)


def test_junit_of_what_is_not_calibrated_is_an_error() -> None:
    view = view_of(document({SAME: 0.0}, known=calibration([])))
    assert '<error message="NO REGRESSION' in render_junit(view)
    slow = document({SLOW: 0.06}, known=calibration([]))
    assert slow["decision"]["exit_code"] == 3
    assert '<error message="REGRESSED' in render_junit(view_of(slow))


def test_the_summary_is_short_and_escaped(folder: Path) -> None:
    text = (folder / "summary.md").read_text()
    visible, folded = text.split("<details>", 1)
    assert len(visible.splitlines()) <= VISIBLE_LINES_MAX
    assert visible.startswith("# ✗ REGRESSED")
    assert "<Old>" not in text
    assert "m.Trend.time\\_c" in folded


def test_the_summary_of_many_benchmarks_is_short_too() -> None:
    names = {f"m.B.time_{place}": 0.0 for place in range(30)}
    view = view_of(document(names))
    visible = render_summary(view).split("<details>", 1)[0]
    assert len(visible.splitlines()) <= VISIBLE_LINES_MAX


@pytest.mark.parametrize("width", [60, 80, 130])
def test_the_terminal_has_every_benchmark_and_the_calibration(folder: Path, width: int) -> None:
    out = io.StringIO()
    view = view_of(read_json(folder / "compare.json"))
    Console(file=out, width=width).print(render_terminal(view, width))
    text = out.getvalue()
    squeezed = re.sub(r"\s", "", text)
    assert all(len(line) <= width for line in text.splitlines())
    assert "✗REGRESSED:HEADisslowerthanBASE" in squeezed
    assert "Calibration:ofmachine0123abcd" in squeezed
    assert squeezed.count("NOTCOMPARABLE") >= 2


def test_an_old_calibration_says_so() -> None:
    known = calibration([SAME])
    text = dict(view_of(document({SAME: 0.0}, known=known)).facts)["Calibration"]
    assert "days old; old, make a new one" in text
    view = view_of(document({SAME: 0.0}, known=calibration([])))
    fresh = view_of({**view.document, "calibration": {"newest": None, "machine": "x"}})
    assert "none for this machine" in dict(fresh.facts)["Calibration"]


def test_time_that_was_up_and_equal_code_are_told() -> None:
    view = view_of(document({SAME: 0.0}, is_complete=False, is_aa=True))
    assert any("Time was up" in note for note in view.notes)
    assert any("A/A comparison" in note for note in view.notes)


def test_an_inconclusive_benchmark_tells_what_would_have_shown() -> None:
    shown = document({SAME: 0.0})
    shown["benchmarks"][0]["verdict"] = "INCONCLUSIVE"
    shown["benchmarks"][0]["first"] |= {"verdict": "INCONCLUSIVE", "smallest_effect": 1.123}
    assert view_of(shown).lines[0].effect_text == "a slowdown by 12.3% would have shown"


def test_a_benchmark_that_failed_after_some_rounds_has_no_dots(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "c", {SAME: 0.0}, incomparable={SAME: "it was edited"})
    write_pages(folder)
    assert "as a dot" not in page(folder)
    assert "it was edited" in page(folder)


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [
        (document({SAME: 0.0}), None),
        (document({SLOW: 0.06}), "failure"),
        (document({SAME: 0.0}, known=calibration([])), "error"),
        (document({SAME: 0.0}, stand_in="BASE has no benchmarks"), "error"),
        (document({SAME: 0.0}, incomparable={SAME: "its body differs"}), "error"),
        (compute_document(manifest([]), [], [], calibration([])), "error"),
    ],
    ids=["passes", "slower", "uncalibrated", "stand-in", "changed", "nothing"],
)
def test_junit_is_green_only_with_exit_status_0(shown: dict[str, Any], outcome: str | None) -> None:
    root = ElementTree.fromstring(render_junit(view_of(shown)))  # noqa: S314 - written here
    failures, errors = int(root.get("failures", 0)), int(root.get("errors", 0))
    assert bool(failures + errors) is bool(shown["decision"]["exit_code"])
    assert bool(failures) is (shown["decision"]["exit_code"] == 1)
    (decision,) = (case for case in root.iter("testcase") if case.get("name") == "decision")
    assert [child.tag for child in decision] == [outcome or "system-out"]


def test_junit_of_benchmarks_that_are_trend_only_is_an_error() -> None:
    known = calibration([TREND])
    known.rounds[TREND][:] = [value * 30 for value in known.rounds[TREND]]  # type: ignore[index]
    shown = document({TREND: 0.0}, known=known)
    assert shown["decision"]["reasons"] == ["no benchmark decides"]
    assert "no benchmark decides" in render_junit(view_of(shown))
    assert 'errors="1"' in render_junit(view_of(shown))


def test_junit_of_a_slowdown_that_holm_holds_down_is_an_error() -> None:
    shown = document({SLOW: 0.06})
    shown["benchmarks"][0]["p_holm"] = 0.02
    shown["decision"] = {"verdict": "INCONCLUSIVE", "exit_code": 3, "reasons": ["among so many"]}
    text = render_junit(view_of(shown))
    assert 'failures="0"' in text
    assert 'errors="2"' in text


def test_the_summary_says_why_at_once() -> None:
    why = "HEAD: titanstore cannot be imported: KeyError: " + 1_000 * "x"
    shown = document({}, incomparable={f"m.B.time_{place}": why for place in range(30)})
    visible = render_summary(view_of(shown)).split("<details>", 1)[0]
    assert "HEAD: titanstore cannot be imported" in visible.replace("\\", "")
    assert len(visible.splitlines()) <= VISIBLE_LINES_MAX


def test_what_did_not_recur_is_shown_with_the_run_that_disagrees(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "c", {SLOW: 0.06}, {SLOW: 0.0})
    (line,) = view_of(read_json(folder / "compare.json")).lines
    assert line.second is not None
    assert line.ratio_text == f"{line.second['ratio']:.3f}" != f"{line.first['ratio']:.3f}"  # type: ignore[index]


def test_the_age_of_a_calibration_is_that_of_its_oldest_round() -> None:
    shown = document({SAME: 0.0})
    ended = datetime.fromisoformat(shown["run"]["ended"]).timestamp()
    shown["calibration"] |= {"newest": ended - 3_600.0, "oldest": ended - 90 * 86_400.0}
    told = dict(view_of(shown).facts)["Calibration"]
    assert "its oldest round 90 days old, its newest 1.0 hours; old, make a new one" in told
    shown["calibration"] |= {"oldest": ended - 7_200.0}
    assert "2.0 hours old; 1 calibrated" in dict(view_of(shown).facts)["Calibration"]


@pytest.mark.parametrize("width", [40, 80, 130])
def test_a_long_list_of_benchmarks_is_a_few_lines_each(width: int) -> None:
    names = [f"codec.DecodeMany.time_decode_at_once_{place}('v2-2024')" for place in range(30)]
    view = view_of(document({}, incomparable=dict.fromkeys(names, "HEAD: KeyError")))
    out = io.StringIO()
    Console(file=out, width=width).print(render_terminal(view, width))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= 30 * {40: 12, 80: 4, 130: 2}[width]
