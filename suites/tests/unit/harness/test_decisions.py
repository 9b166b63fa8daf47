"""Risk: GO over a row, a gate or a waiver that does not allow it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.gates import (
    GateVerdict,
    RowVerdict,
    Verdict,
    decide,
    judge_gate,
    worst,
)
from harness.measurement import Measurement
from harness.targets import Gate
from harness.verdicts import gate_as_json
from suites.tests.unit.harness.small_run import (
    SETTING,
    measured,
    one_gate,
)

# ---------------------------------------------------------------- roll-up


@cache
def rolled_up(*verdicts: Verdict) -> GateVerdict:
    gate = one_gate(None, *({} for _ in verdicts))
    rows = tuple(
        RowVerdict(
            row=row, verdict=verdict, reason="", interval=None, headroom=None, measurement=None
        )
        for row, verdict in zip(gate.rows, verdicts, strict=True)
    )
    return GateVerdict(
        gate=gate,
        blocking=bool(rows),
        verdict=worst([row.verdict for row in rows]),
        reason="",
        rows=rows,
    )


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1))
def test_the_worst_verdict_wins_whatever_the_order(verdicts: list[Verdict]) -> None:
    found = worst(verdicts)
    assert found in verdicts
    assert worst(verdicts[::-1]) is found
    assert (found is Verdict.PASS) is (set(verdicts) == {Verdict.PASS})
    assert worst([*verdicts, Verdict.FAIL]) is Verdict.FAIL


def test_nothing_is_not_a_pass() -> None:
    assert worst([]) is Verdict.NOT_RUN


def judged(gate: Gate, *measurements: Measurement, **more: Any) -> GateVerdict:
    return judge_gate(gate, {one.id: one for one in measurements}, SETTING, **more)


def test_one_row_that_fails_fails_its_gate() -> None:
    gate = one_gate(None, {}, {}, {})
    taken = [measured(f"speed-{place}") for place in range(3)]
    assert judged(gate, *taken).verdict is Verdict.PASS
    taken[1] = measured("speed-1", values=[2.0] * 10)
    assert judged(gate, *taken).verdict is Verdict.FAIL
    assert judged(gate, *taken[:2]).verdict is Verdict.FAIL
    assert judged(gate, taken[0], taken[2]).verdict is Verdict.NOT_RUN


def test_a_row_that_only_shows_changes_nothing() -> None:
    gate = one_gate(None, {}, {"advisory": True}, {"shown_in": ["ci"]})
    found = judged(gate, measured(), measured("speed-1", values=[9.0] * 10))
    assert found.verdict is Verdict.PASS
    blocks = [row["blocking"] for row in gate_as_json(found, "ci")["rows"]]
    assert blocks == [True, False, False]


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ([], "PASS"),
        ([measured("speed-1")], "PASS"),
        ([measured("speed-1", values=[2.0] * 10)], "FAIL"),
        ([measured("speed-1", failure="no such history")], "INVALID"),
    ],
    ids=["not asked for", "good", "bad", "asked for in vain"],
)
def test_an_optional_row_decides_where_it_was_asked_for(
    given: list[Measurement], verdict: str
) -> None:
    gate = one_gate(None, {}, {"optional": True})
    assert judged(gate, measured(), *given).verdict == verdict


def test_an_optional_row_cannot_be_deleted_out_of_its_gate() -> None:
    gate = one_gate(None, {}, {"optional": True})
    found = judged(gate, measured(), damaged={"speed-1": "its raw samples are missing"})
    assert (found.verdict, found.reason) == ("INVALID", "its raw samples are missing")


WAIVED, EXPIRED = {"waived": {"speed.limit": "known"}}, {"expired": {"speed.limit": "old"}}


def test_a_waiver_turns_a_miss_into_one_that_is_shown_as_waived() -> None:
    slow = measured(values=[2.0] * 10)
    found = judged(one_gate(), slow, **WAIVED)
    assert (found.verdict, found.reason) == ("WAIVED", "FAIL, waived: known")
    assert found.rows[0].verdict is Verdict.FAIL
    assert judged(one_gate(), measured(), **WAIVED).verdict is Verdict.PASS


def test_an_expired_waiver_is_a_fail_even_of_a_gate_that_would_pass() -> None:
    """SPEC section 3: expired = FAIL. Its owner renews it or takes it out."""
    found = judged(one_gate(), measured(), **EXPIRED)
    assert found.verdict is Verdict.FAIL
    assert found.reason == "its waiver has expired: old; without it the gate would pass"
    assert found.rows[0].verdict is Verdict.PASS
    assert decide([found], "ci", strict=False).verdict == "NO-GO"


@pytest.mark.parametrize("taken", [[], [measured(values=[2.0] * 10)]], ids=["not run", "missed"])
def test_an_expired_waiver_is_a_fail_even_beside_one_in_force(taken: list[Measurement]) -> None:
    found = judged(one_gate(), *taken, **WAIVED, **EXPIRED)
    assert (found.verdict, found.reason) == ("FAIL", "its waiver has expired: old")


def test_a_waiver_of_another_gate_changes_nothing() -> None:
    found = judged(one_gate(), waived={"other.gate": "known"}, expired={"other.gate": "old"})
    assert found.verdict is Verdict.NOT_RUN


# ---------------------------------------------------------------- GO, NO-GO, HOLD

SETTLED = {Verdict.PASS, Verdict.WAIVED}
LOST = {Verdict.FAIL, Verdict.INFEASIBLE}


@given(st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=6))
def test_go_exactly_when_every_blocking_gate_passes_or_is_waived(verdicts: list[Verdict]) -> None:
    found = decide([rolled_up(verdict) for verdict in verdicts], "release", strict=False)
    if set(verdicts) <= SETTLED:
        assert (found.verdict, found.exit_code, found.reasons) == ("GO", 0, ())
    elif set(verdicts) & LOST:
        assert (found.verdict, found.exit_code) == ("NO-GO", 1)
        assert len(found.reasons) == sum(verdict in LOST for verdict in verdicts)
    else:
        assert (found.verdict, found.exit_code) == ("HOLD", 3)
        assert found.reasons
    assert found.label == found.verdict


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_gate_that_only_shows_never_decides(verdict: Verdict) -> None:
    shown = replace(rolled_up(verdict), blocking=False)
    assert decide([shown, rolled_up(Verdict.PASS)], "ci", strict=False).verdict == "GO"


@pytest.mark.parametrize("gates_", [[], [replace(rolled_up(Verdict.PASS), blocking=False)]])
def test_no_gate_that_blocks_is_no_go_ahead(gates_: list[GateVerdict]) -> None:
    found = decide(gates_, "ci", strict=False)
    assert (found.verdict, found.exit_code) == ("HOLD", 3)
    assert found.reasons == ("no gate blocks in this profile",)


@pytest.mark.parametrize(
    ("verdict", "strict", "status"),
    [
        (Verdict.PASS, False, 0),
        (Verdict.PASS, True, 0),
        (Verdict.FAIL, False, 1),
        (Verdict.FAIL, True, 1),
        (Verdict.NOT_RUN, False, 3),
        (Verdict.NOT_RUN, True, 1),
        (Verdict.INVALID, True, 1),
    ],
)
def test_exit_statuses_and_strict(verdict: Verdict, strict: bool, status: int) -> None:
    found = decide([rolled_up(verdict)], "ci", strict=strict)
    assert found.exit_code == status
    if verdict in {Verdict.NOT_RUN, Verdict.INVALID}:
        assert found.verdict == "HOLD"


@pytest.mark.parametrize(
    ("verdict", "word"),
    [(Verdict.PASS, "PASS"), (Verdict.FAIL, "FAIL"), (Verdict.INVALID, "HOLD")],
)
def test_ci_never_says_go(verdict: Verdict, word: str) -> None:
    found = decide([rolled_up(verdict)], "ci", strict=False)
    assert found.label == f"CI {word}, not a release verdict"


def test_an_unknown_profile_holds() -> None:
    gate = one_gate()
    found = judge_gate(gate, {"speed-0": measured()}, replace(SETTING, profile="weekly"))
    assert not found.blocking
    assert decide([found], "weekly", strict=False).verdict == "HOLD"


@given(st.data())
def test_making_one_row_worse_never_makes_a_decision_better(data: st.DataObject) -> None:
    order = list(Verdict)
    rank = {"NO-GO": 0, "HOLD": 1, "GO": 2}
    verdicts = data.draw(st.lists(st.sampled_from(order), min_size=1, max_size=5))
    place = data.draw(st.integers(0, len(verdicts) - 1))
    worse = list(verdicts)
    worse[place] = order[data.draw(st.integers(0, order.index(verdicts[place])))]
    # a waived gate stays settled; only what is not waived is compared
    before, after = (
        decide([rolled_up(one) for one in found], "ci", strict=False).verdict
        for found in (verdicts, worse)
    )
    assert rank[after] <= rank[before]
