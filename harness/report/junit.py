"""`junit.xml`: one test case a row, for the test tab of a CI service.

What could not be judged is an <error>, never <skipped>: many services paint skipped tests green.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from harness.report.model import Gate, Report, Row
from harness.report.verdict import SETTLED

__all__ = ["render_junit"]

_FAILURES = frozenset({"FAIL", "INFEASIBLE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A test case before it is XML; `outcome` is "failure", "error", or "" for one that passes."""

    name: str
    verdict: str
    outcome: str
    message: str
    blocking: bool


def render_junit(report: Report) -> str:
    """Render the cases, grouped in one suite a gate.

    A row fails only if it and its gate block; an advisory row passes, with its verdict as a
    property and in its output. A gate whose own verdict no row of it explains (it has no rows,
    or they say something better) and a report that contradicts itself are cases of their own.
    """
    root = ElementTree.Element("testsuites", name=f"harness gate: {report.headline}")
    if report.alarms:
        alarms = [
            _Case(name=alarm, verdict="alarm", outcome="error", message=alarm, blocking=True)
            for alarm in report.alarms
        ]
        _add_suite(root, "report", alarms)
    for gate in report.gates:
        _add_suite(root, gate.id, _cases(gate))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in root)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _cases(gate: Gate) -> list[_Case]:
    cases = [_row_case(gate, row) for row in gate.rows]
    explained = gate.verdict in SETTLED or any(case.outcome for case in cases)
    if not cases or (gate.blocking and not explained):
        cases.append(
            _Case(
                name=f"{gate.id} as a whole",
                verdict=gate.verdict,
                outcome=_outcome(gate.verdict) if gate.blocking else "",
                message=f"{gate.verdict}: {gate.reason or gate.look.meaning}",
                blocking=gate.blocking,
            )
        )
    return cases


def _row_case(gate: Gate, row: Row) -> _Case:
    blocking = gate.blocking and row.blocking
    waived = gate.verdict == "WAIVED" and row.verdict != "PASS"
    interval = f" ({row.interval_text})" if row.interval_text else ""
    bound = f", best possible {row.bound_text}" if row.bound is not None else ""
    why = f". {row.reason}" if row.reason else ""
    text = f"{row.verdict}: {row.value_text}{interval}, limit {row.limit_text}{bound}{why}"
    return _Case(
        name=row.label if row.label == row.id else f"{row.label} [{row.id}]",
        verdict="WAIVED" if waived else row.verdict,
        outcome=_outcome(row.verdict) if blocking and not waived else "",
        message=f"WAIVED, measured {text}" if waived and row.verdict != "WAIVED" else text,
        blocking=blocking,
    )


def _outcome(verdict: str) -> str:
    if verdict in SETTLED:
        return ""
    return "failure" if verdict in _FAILURES else "error"


def _add_suite(root: ElementTree.Element, name: str, cases: list[_Case]) -> None:
    outcomes = [case.outcome for case in cases]
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(outcomes.count("failure")),
        errors=str(outcomes.count("error")),
        skipped="0",
    )
    for case in cases:
        element = ElementTree.SubElement(suite, "testcase", classname=name, name=case.name)
        properties = ElementTree.SubElement(element, "properties")
        for key, value in (("verdict", case.verdict), ("blocking", str(case.blocking).lower())):
            ElementTree.SubElement(properties, "property", name=key, value=value)
        if case.outcome:
            problem = ElementTree.SubElement(
                element, case.outcome, message=case.message, type=case.verdict
            )
            problem.text = case.message
        else:
            advisory = "" if case.blocking else "advisory, does not decide. "
            ElementTree.SubElement(element, "system-out").text = advisory + case.message
