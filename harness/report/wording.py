"""The sentences of a report, derived from its verdicts: none says more than the data does."""

from __future__ import annotations

from harness.report.context import number
from harness.report.model import Gate, Report, Row
from harness.report.quantity import format_quantity, format_share
from harness.report.verdict import SETTLED

__all__ = ["HOW_DECIDED", "asides", "gate_fix", "not_tested", "repeat_commands", "what_changes_it"]

_ASIDES_MAX = 4  # open rows named on page one beside the one shown
_TIER_WORDS = {
    "emulated": "emulated stand-ins for Titan's answers",
    "synthetic": "synthetic data",
    "simulated": "a simulated clock",
}

HOW_DECIDED = (
    "A row passes only if its confidence bound, not its point estimate, is on the good side of "
    "the limit: one-sided 95 %, bootstrapped over fresh processes, then over blocks within them. "
    "The interval shown has such a bound at each end.",
    "The bound on the wrong side and the other on the good side: INCONCLUSIVE. Both on the wrong "
    "side: FAIL. A proven bound of the data that excludes the limit: INFEASIBLE.",
    "Too few samples or processes, instruments left on, an evidence tier the row does not accept, "
    "stale evidence, another commit or machine, NaN: INVALID. No measurement: NOT RUN.",
    "A gate takes the worst verdict of its blocking rows. GO needs every blocking gate PASS or "
    "WAIVED; one FAIL or unwaived INFEASIBLE is NO-GO; anything else is HOLD. Worst wins: there "
    "are no scores and no averages.",
    "Headroom is the part of the limit that is left, negative when it was missed. MB = 10^6 bytes.",
)


def what_changes_it(report: Report) -> list[str]:
    """What would turn the decision: one sentence per open gate, or the thinnest margin of a GO."""
    open_gates = [gate for gate in report.blocking if gate.verdict not in SETTLED]
    if open_gates:
        return [f"{gate.id}: {gate_fix(gate)}" for gate in open_gates]
    if report.verdict != "GO" and report.proof is not None and report.proof.fault:
        return [report.proof.sentence]
    if report.verdict != "GO":
        return ["Remove the reasons given; no blocking gate stands in the way."]
    sentences = []
    rows = [row for gate in report.blocking for row in gate.rows if row.blocking]
    close = [row for row in rows if row.verdict == "PASS" and row.headroom is not None]
    # A limit of zero defects leaves no headroom by nature; it is not a thin margin.
    close = [row for row in close if row.comparator != "==" and row.limit]
    if close:
        row = min(close, key=lambda row: row.headroom or 0.0)
        sentences.append(
            f"The thinnest margin is {row.gate}, {row.label}: {row.value_text} against "
            f"{row.limit_text}, headroom {row.headroom_text}."
        )
    sentences += [
        f"The waiver of {waiver.gate} ends on {waiver.expires}; then it counts as FAIL."
        for waiver in report.waivers
        if waiver.state == "active"
    ]
    return sentences or ["Any blocking gate that fails."]


def gate_fix(gate: Gate) -> str:
    """What has to happen before this gate passes."""
    row = gate.lead
    if row is None or row.verdict in SETTLED:
        return gate.reason or f"the gate is {gate.verdict}; its rows do not say why."
    return f"{row.label}: {_row_fix(row)}"


def _row_fix(row: Row) -> str:
    if row.verdict == "FAIL" and row.estimate is not None:
        over = format_share(abs(row.headroom)).lstrip("+") if row.headroom is not None else ""
        distance = f", off by {over} of the limit" if over and row.headroom else ""
        return f"bring {row.value_text} to {row.limit_text}{distance}."
    if row.verdict == "INFEASIBLE":
        best = f"the best this data allows is {row.bound_text}" if row.bound is not None else ""
        why = row.bound_reason or row.reason
        parts = [part for part in (best, why) if part]
        return "; ".join(parts) + ". Code cannot fix this: change the claim, or waive it."
    if row.verdict == "INCONCLUSIVE":
        return (
            f"the interval {row.interval_text} straddles {row.limit_text}; more samples, a "
            "quieter machine or a better value would decide it."
        )
    if row.verdict == "NOT RUN":
        return f"measure it ({row.reason.rstrip('.') or 'no measurement in this run'})."
    if row.verdict == "INVALID":
        return f"measure it again ({row.reason.rstrip('.') or 'the evidence does not count'})."
    return row.reason or "no reason was recorded."


def not_tested(report: Report) -> list[str]:
    """What a reader might think was covered, and was not."""
    rows = [row for gate in report.gates for row in gate.rows]
    sentences = [sentence for gate in report.gates for sentence in _not_measured(gate)]
    sentences += [
        f"{gate.id}: no rows at all ({gate.reason.rstrip('.') or gate.verdict})."
        for gate in report.gates
        if not gate.rows
    ]
    for tier, meaning in _TIER_WORDS.items():
        where = sorted(
            {row.gate for row in rows if row.evidence == tier and row.estimate is not None}
        )
        if where:
            sentences.append(f"Seen only on {meaning} ({tier}) in some rows: {', '.join(where)}.")
    if report.reliability is None:
        sentences.append("Crashes, disk trouble and hostile input: no counts beside this run.")
    if not any(row.evidence == "live" for row in rows):
        sentences.append("No call to live Bedrock: nothing here was measured on live answers.")
    shown = [gate.id for gate in report.advisory]
    if shown:
        profile = report.run.get("profile", "this")
        sentences.append(f"Shown but not deciding in the {profile} profile: {', '.join(shown)}.")
    sentences.append("Other machines, kernels and file systems: every number is this machine's.")
    return sentences


def _not_measured(gate: Gate) -> list[str]:
    """One sentence a row that has no value that counts; one for all of them if they are alike."""
    told = {row.label: _why_not(row) for row in gate.rows if row.verdict in ("NOT RUN", "INVALID")}
    if len(told) == len(gate.rows) > 1 and len(set(told.values())) == 1:
        return [f"{gate.id}, all {len(told)} rows: {next(iter(told.values()))}."]
    return [f"{gate.id}, {label}: {why}." for label, why in told.items()]


def _why_not(row: Row) -> str:
    reason = f" ({row.reason.rstrip('.')})" if row.reason else ""
    return f"{'NOT RUN' if row.verdict == 'NOT RUN' else 'not valid'}{reason}"


def asides(gate: Gate) -> list[str]:
    """Facts that belong beside a gate on page one: other open rows, totals that would mislead."""
    notes = []
    lead = gate.lead
    open_rows = [row for row in gate.rows if row is not lead and row.verdict not in SETTLED]
    if gate.verdict == "NOT RUN":  # which the tally of rows says already
        open_rows = [row for row in open_rows if row.verdict != "NOT RUN"]
    for row in open_rows[:_ASIDES_MAX]:
        kind = "" if row.blocking else " (advisory)"
        bound = f", bound {row.bound_text}" if row.bound is not None else ""
        notes.append(f"{row.label}: {row.verdict}{kind}{bound}")
    if len(open_rows) > _ASIDES_MAX:
        notes.append(f"{len(open_rows) - _ASIDES_MAX} more rows that do not pass, further down")
    notes += [
        f"{row.label}: {row.value_text}, {row.limit_text} wanted"
        for row in gate.rows
        if row.id.startswith("space.search.") and row.estimate is not None
    ]
    if lead is None:
        return notes
    notes += [
        f"{words}: {format_quantity(value, unit)}"
        for words, value, unit in (
            ("whole process", number(lead.context, "process_total_bytes"), "B"),
            ("space with search on", number(lead.context, "space_with_search"), "1"),
            ("entropy bound", number(lead.context, "entropy_bound_bytes"), "B"),
            ("error rate, 95 % upper bound", number(lead.context, "error_rate_high"), "1"),
            ("misses per document visit", number(lead.context, "misses_per_visit"), "count"),
            ("one call, p99", number(lead.context, "single_call", "p99"), "s"),
            ("kill points", number(lead.context, "kill_points"), "count"),
            ("keys lost", number(lead.context, "keys_lost"), "count"),
            ("this machine's own floor, p99", number(lead.context, "floor_p99_s"), "s"),
            ("p99 from due to answered", number(lead.context, "latency_p99_s"), "s"),
            ("kept up with, at most", number(lead.context, "knee_rate"), "1/s"),
            (
                "times faster than LanceDB's flat search",
                number(lead.context, "times_faster_than_lancedb-flat"),
                "count",
            ),
        )
        if value is not None
    ]
    return notes


def repeat_commands(report: Report) -> list[tuple[str, str]]:
    """(what it does, command): how to make the run again and how to check this one."""
    command = report.run.get("command") or report.manifest.get("command") or ""
    if isinstance(command, list):
        command = " ".join(str(word) for word in command)
    run_id = report.run.get("id", "RUN")
    return [
        ("Measure again, at the same commit and configuration", str(command) or "not recorded"),
        ("Recompute every verdict of this run from its raw samples", f"harness verify {run_id}"),
        ("Build this page again from the same run", f"harness report {run_id}"),
    ]
