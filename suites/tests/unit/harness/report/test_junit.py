"""Risk: a CI service paints something green that did not pass, or loses a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from harness.report.junit import render_junit
from harness.report.model import read_report
from suites.tests.unit.harness.report.conftest import Rendered
from suites.tests.unit.harness.report.synthetic_rows import gate, row
from suites.tests.unit.harness.report.synthetic_run import build_run, content, passing


def parse(tmp_path: Path, verdicts: dict[str, Any]) -> ElementTree.Element:
    root: ElementTree.Element = fromstring(render_junit(read_report(build_run(tmp_path, verdicts))))
    return root


def case_of(root: ElementTree.Element, suite: str, name: str = "") -> ElementTree.Element:
    cases = root.findall(f"./testsuite[@name='{suite}']/testcase")
    return next(case for case in cases if name in case.attrib["name"])


def test_the_file_parses_and_counts(rendered: Rendered) -> None:
    root = fromstring((rendered.folder / "junit.xml").read_bytes())
    rows = sum(max(1, len(found.rows)) for found in rendered.report.gates)
    assert int(root.attrib["tests"]) == len(root.findall(".//testcase")) == rows == 25
    assert int(root.attrib["failures"]) == len(root.findall(".//failure")) == 2
    assert int(root.attrib["errors"]) == len(root.findall(".//error")) == 5
    assert not root.findall(".//skipped")
    for suite in root:
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


def test_each_verdict_has_its_outcome(rendered: Rendered) -> None:
    root = fromstring((rendered.folder / "junit.xml").read_bytes())
    expected = {
        "hit_ratio.hot": "failure",
        "quality.search": "failure",
        "update.latency": "error",
        "query.latency": "error",
        "sharing.zero_copy": "error",
        "memory.steady": "error",
        "latency.disk": "system-out",
        "quality.bits": "system-out",
    }
    for suite, outcome in expected.items():
        assert case_of(root, suite).find(outcome) is not None, suite
    assert "WAIVED: 112 µs" in (case_of(root, "latency.disk").findtext("system-out") or "")


def test_an_advisory_row_never_fails_and_says_what_it_is(rendered: Rendered) -> None:
    root = fromstring((rendered.folder / "junit.xml").read_bytes())
    case = case_of(root, "compression.saving", "as served today")
    assert case.find("failure") is None
    assert case.find("error") is None
    found = {p.attrib["name"]: p.attrib["value"] for p in case.findall("./properties/property")}
    assert found == {"verdict": "INFEASIBLE", "blocking": "false"}
    assert (case.findtext("system-out") or "").startswith("advisory, does not decide. INFEASIBLE")


def test_an_advisory_row_of_a_blocking_gate_never_fails(tmp_path: Path) -> None:
    verdicts = passing()
    verdicts["gates"].append(
        gate("query.latency", "PASS", "", row("large", "FAIL", blocking=False, estimate=1.0))
    )
    assert not parse(tmp_path, verdicts).findall(".//failure")


def test_rows_of_a_waived_gate_pass_with_a_word(tmp_path: Path) -> None:
    verdicts = passing()
    failing = row("slow", "FAIL", estimate=2.0, limit=1.0)
    verdicts["gates"].append(gate("query.latency", "WAIVED", "", failing))
    case = case_of(parse(tmp_path, verdicts), "query.latency")
    assert case.find("failure") is None
    assert (case.findtext("system-out") or "").startswith("WAIVED, measured FAIL: 2.00 s")


def test_a_gate_worse_than_its_rows_is_a_case_of_its_own(tmp_path: Path) -> None:
    verdicts = passing()
    fine = row("fine", "PASS", estimate=0.5, limit=1.0)
    verdicts["gates"].append(gate("query.latency", "INVALID", "", fine, reason="another commit"))
    root = parse(tmp_path, verdicts)
    case = case_of(root, "query.latency", "as a whole")
    problem = case.find("error")
    assert problem is not None
    assert problem.attrib["message"] == "INVALID: another commit"


def test_a_contradiction_is_an_error(tmp_path: Path) -> None:
    verdicts = content()
    verdicts["decision"] |= {"verdict": "GO", "exit_code": 0}
    root = parse(tmp_path, verdicts)
    assert case_of(root, "report").find("error") is not None


def test_a_run_that_passes_is_green(tmp_path: Path) -> None:
    root = parse(tmp_path, passing())
    assert root.attrib["failures"] == root.attrib["errors"] == "0"
