"""Risk: money spent beyond the budget, or a call that may be billed and is not counted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.recorded import load_bodies
from fixtures.titan.wire import Wire
from harness.errors import HarnessError
from harness.record.budget import MODELS, Budget, BudgetSpentError, a_token, picodollars
from harness.record.compile import write_sets
from harness.record.journal import Journal
from harness.record.run import record
from suites.tests.unit.harness.record.service import (
    TEXTS,
    V2,
    Service,
    client_of,
    harness,
    job_of,
    words_of,
)


def test_the_call_that_could_pass_the_budget_is_not_made(
    wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    folder, price = tmp_path / "live", MODELS[V2]
    at_most = Budget(limit=1, price=price).cost_at_most(TEXTS[0])
    code, output = harness(*words_of(wire, texts, folder, usd=(at_most - 1) / 1e12))
    assert (code, service.calls) == (3, 0)
    assert "it was not made" in output
    code, output = harness(*words_of(wire, texts, folder, usd=(at_most + 200_000) / 1e12))
    assert code == 3
    some = service.calls
    assert 1 <= some < 8
    with Journal.locked(folder) as journal:
        assert 0 < journal.spent() <= at_most + 200_000
    assert len(load_bodies(folder)) == some
    code, output = harness(*words_of(wire, texts, folder))  # the same command with more money
    assert (code, service.calls) == (0, 8)


def test_no_budget_is_ever_passed(wire: Wire, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    client = client_of(wire)
    for number, limit in enumerate(rng.integers(1, 3_000_000, 12).tolist()):
        budget = Budget(limit=limit, price=MODELS[V2])
        with Journal.locked(tmp_path / str(number)) as journal:
            try:
                record(job_of(), client, journal, budget)
            except BudgetSpentError:
                assert budget.spent + budget.cost_at_most(TEXTS[len(journal.entries)]) > limit
            assert budget.spent == journal.spent() <= limit
            assert budget.spent == sum(entry.tokens for entry in journal.entries) * MODELS[V2]


def test_a_text_cannot_have_more_tokens_than_is_reckoned() -> None:
    budget = Budget(limit=1, price=1)
    assert budget.cost_at_most("é" * 10) == 22
    assert budget.cost_at_most("x" * 50_000) == 8192


def test_answers_that_never_came_count_as_billed(
    wire: Wire, service: Service, tmp_path: Path
) -> None:
    wire.cut_after = 100  # of each body, then the connection ends
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(tmp_path / "live") as journal:
        with pytest.raises(HarnessError, match="3 calls in a row") as caught:
            record(job_of(), client_of(wire), journal, budget)
        assert caught.value.exit_code == 4
        assert service.calls == 3  # botocore tried none again by itself
        assert budget.spent == journal.spent() == 3 * budget.cost_at_most(TEXTS[0])
    wire.cut_after = None
    with Journal.locked(tmp_path / "live") as journal:
        budget = Budget(limit=picodollars(1), price=MODELS[V2], spent=journal.spent())
        record(job_of(), client_of(wire), journal, budget)
        assert len(write_sets(journal)) == 1
        assert sum(not entry.file for entry in journal.entries) == 3
    assert len(load_bodies(tmp_path / "live")) == 6


def test_an_answer_without_a_vector_is_not_kept(
    wire: Wire, service: Service, tmp_path: Path
) -> None:
    service.change = lambda call, body: b"{}" if call == 2 else body
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(tmp_path / "live") as journal:
        record(job_of(), client_of(wire), journal, budget)
        assert [bool(entry.file) for entry in journal.entries] == [True, False, *[True] * 5]


@pytest.mark.parametrize("told", [0, -(10**9), True, "9", None, 1.0])
def test_an_answer_that_would_fill_the_budget_up_is_a_lost_call(
    told: object, wire: Wire, service: Service, tmp_path: Path
) -> None:
    def lie(call: int, body: bytes) -> bytes:
        return json.dumps({**json.loads(body), "inputTextTokenCount": told}).encode()

    service.change = lie
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(tmp_path / "live") as journal:
        with pytest.raises(HarnessError, match="3 calls in a row"):
            record(job_of(), client_of(wire), journal, budget)
        assert budget.spent == journal.spent() == 3 * budget.cost_at_most(TEXTS[0])


def test_each_kill_in_the_middle_of_a_call_counts_that_call(
    wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    """Else a budget could be passed by killing it often enough."""
    folder = tmp_path / "live"
    child = (
        "import os, signal\n"
        "from harness.record import run\n"
        "ask = run.ask\n"
        "def ask_and_die(*given, **named):\n"
        "    ask(*given, **named)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "run.ask = ask_and_die\n"
        "from harness.record.commands import command\n"
        "command()\n"
    )
    words = [str(word) for word in words_of(wire, texts, folder)]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", child, *words[1:]], capture_output=True, check=False, timeout=120
        )
        assert done.returncode == -signal.SIGKILL
    at_most = Budget(limit=1, price=MODELS[V2]).cost_at_most(TEXTS[0])
    with Journal.locked(folder) as journal:
        assert journal.spent() == 2 * at_most
        assert [entry.file for entry in journal.entries] == ["", ""]
    (folder / "under-way.json").write_text('{"place": 2, "ca')  # killed before the call
    with Journal.locked(folder) as journal:
        assert journal.spent() == 2 * at_most
    code, output = harness(*words)
    assert (code, "2 calls without an answer count as billed" in output) == (0, True), output
    assert not (folder / "under-way.json").exists()


@pytest.mark.parametrize("amount", ["nan", "inf"])
def test_what_is_no_amount_is_wrong_use(
    amount: str, wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    words = words_of(wire, texts, tmp_path / "live")
    place = words.index("--budget-usd") + 1
    for given in (
        [*words[:place], amount, *words[place + 1 :]],
        [*words, "--usd-per-1000-tokens", amount],
    ):
        code, output = harness(*given)
        assert (code, "is not a finite number" in output, service.calls) == (2, True, 0), output


def test_the_price_that_was_looked_up_counts_and_is_told(
    wire: Wire, texts: Path, tmp_path: Path
) -> None:
    words = words_of(wire, texts, tmp_path / "live")
    code, output = harness(*words)
    assert (code, "check https://aws.amazon.com/bedrock/pricing/" in output) == (0, True)
    code, output = harness(*words, "--usd-per-1000-tokens", "0.5")
    assert (code, "at the price given" in output, "from memory" in output) == (0, True, False)
    assert a_token(0.0001) == MODELS["amazon.titan-embed-text-v1"]
    assert a_token(0.00002) == MODELS[V2]
    assert a_token(1e-20) == 1  # never free
