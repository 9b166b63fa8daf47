"""`summary.md`: the job summary of a CI run. At most 20 lines are visible, the rest is folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.report import facts, wording
from harness.report.model import Gate, Report

__all__ = ["VISIBLE_LINES_MAX", "render_summary"]

VISIBLE_LINES_MAX = 20
_ALARMS_MAX, _CLAIM_MAX = 2, 80
_ROWS_MAX = VISIBLE_LINES_MAX - 11  # title, sentence, table head, commit and the gaps between
_MARKUP = re.compile(r"([\\`*_\[\]#|~$:]|^[-+]|(?<=^\d)[.)])")


def render_summary(report: Report) -> str:
    """Render GitHub-flavoured Markdown; every text of the run is escaped.

    Visible: decision, alarms, the worst blocking gates, the code that was judged. Folded: all
    gates, what would change the decision, waivers, what was not tested, how to repeat.
    """
    visible = [
        f"# {report.look.sign} {_plain(report.headline)}",
        "",
        " ".join(
            part
            for part in (
                f"{_plain(report.subline)}." if report.subline else "",
                f"{report.verdict}: {report.look.meaning}. {facts.tally_line(report)}",
            )
            if part
        ),
        "",
    ]
    alarms = _alarms(report)
    room = _ROWS_MAX - len(alarms)
    visible += [*alarms, *_table(report.blocking[:room])]
    hidden = len(report.blocking) - room
    if hidden > 0:
        visible += ["", f"{hidden} more blocking gate{'s' if hidden > 1 else ''} below."]
    named = dict(facts.identity(report))
    visible += ["", f"Commit {_plain(named['Commit'])}; {_plain(named['Machine'])}.", ""]
    folded = ["<details>", "<summary>All gates, reasons, what was not tested</summary>", ""]
    return "\n".join([*visible, *folded, *_folded(report), "</details>", ""])


def _alarms(report: Report) -> list[str]:
    lines = [f"- ⚠ **{_plain(alarm)}**" for alarm in report.alarms[:_ALARMS_MAX]]
    rest = len(report.alarms) - _ALARMS_MAX
    if rest > 0:
        lines[-1] += f" (and {rest} more)"
    return [*lines, ""] if lines else []


def _table(gates: Sequence[Gate]) -> list[str]:
    if not gates:
        return ["No gate."]
    lines = ["| verdict | gate | measured | limit | headroom | evidence |", f"|{' --- |' * 6}"]
    for gate in gates:
        row = gate.lead
        if row is None:
            cells = ["not measured", "no rows", "n/a", "none"]
        else:
            interval = f" ({row.interval_text})" if row.interval_text else ""
            bound = f"; best possible {row.bound_text}" if row.bound is not None else ""
            cells = [
                f"{row.value_text}{interval}{bound}",
                row.limit_text,
                row.headroom_text,
                row.evidence or "none",
            ]
        claim = gate.claim if len(gate.claim) <= _CLAIM_MAX else f"{gate.claim[: _CLAIM_MAX - 1]}…"
        verdict = f"{gate.look.sign} {gate.verdict}"
        name = f"**{_plain(gate.id)}** {_plain(claim)}"
        lines.append("| " + " | ".join([_plain(verdict), name, *map(_plain, cells)]) + " |")
    return lines


def _folded(report: Report) -> list[str]:
    lines = ["## What would change it", "", *_bullets(wording.what_changes_it(report))]
    if report.reasons:
        lines += ["## Reasons given", "", *_bullets(report.reasons)]
    lines += ["## Alarms", "", *_bullets(report.alarms)] if report.alarms else []
    lines += ["## Blocking gates", "", *_table(report.blocking), ""]
    if report.advisory:
        lines += ["## Shown, not deciding", "", *_table(report.advisory), ""]
    notes = [f"{gate.id}: {note}" for gate in report.gates for note in wording.asides(gate)]
    if notes:
        lines += ["## Beside the gates", "", *_bullets(notes)]
    if report.waivers:
        lines += ["## Waivers", ""]
        lines += _bullets(
            f"{w.gate}: {w.reason or 'no reason given'} ({w.state or 'state unknown'}, "
            f"{w.owner or 'nobody'}, until {w.expires or 'unknown'})"
            for w in report.waivers
        )
    beside = [shown.sentence for shown in (report.proof, report.anchor) if shown is not None]
    lines += ["## Proof and last release", "", *_bullets(beside)] if beside else []
    if report.reliability is not None:
        shown = (report.reliability.sentence, report.reliability.line, *report.reliability.faults)
        lines += ["## Reliability", "", *_bullets(shown)]
    lines += ["## Not tested", "", *_bullets(wording.not_tested(report))]
    lines += ["## What was judged", ""]
    lines += _bullets(f"{name}: {text}" for name, text in facts.identity(report))
    lines += ["## How to repeat it", ""]
    lines += _bullets(f"{what}: {command}" for what, command in wording.repeat_commands(report))
    return lines


def _bullets(sentences: Iterable[str]) -> list[str]:
    return [*(f"- {_plain(sentence)}" for sentence in sentences), ""]


def _plain(text: str) -> str:
    """A text that means itself in Markdown: no tag, no table cell, no emphasis, no link."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", text)
