"""Risk: an answer paid for and lost, a secret or a text told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.answers import EmulatedTitan, RecordedTitan
from fixtures.titan.digits import check_answer
from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import load_bodies, load_recorded
from fixtures.titan.requests import TitanError
from fixtures.titan.wire import Wire
from harness.environment import machine, machine_id
from harness.errors import HarnessError, UsageError
from harness.record.budget import MODELS, Budget, picodollars
from harness.record.compile import compare_repeats, write_sets
from harness.record.journal import Journal
from harness.record.run import record
from harness.recordings import age_of, recorded_folder
from suites.tests.unit.harness.record.service import (
    SECRET,
    TEXTS,
    V2,
    Service,
    client_of,
    harness,
    job_of,
    words_of,
)


def test_what_is_recorded_is_what_was_sent(
    wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    code, output = harness(*words_of(wire, texts, folder))
    assert code == 0, output
    assert "8 answers" in output
    assert "asked twice: 2; the same bytes: 2, the same bits: 2; largest distance 0" in output
    bodies = load_bodies(folder)
    assert [body.body for body in bodies] == service.sent[:6]
    assert all(body.is_as_sent for body in bodies)
    (found,) = load_recorded(folder)
    assert (found.name, found.serving, found.model) == ("v2_token_mean", Serving.TEXT_V2, V2)
    for row, tokens, body in zip(found.vectors, found.token_count, service.sent, strict=False):
        assert row.tobytes() == check_answer(body, 1024).tobytes()
        assert tokens == json.loads(body)["inputTextTokenCount"]
    replayed = RecordedTitan(bodies).answer(V2, json.dumps({"inputText": TEXTS[3]}).encode())
    assert replayed.body == service.sent[3]
    (entry,) = json.loads((folder / "provenance.json").read_text())
    assert entry["tier"] == "elsewhere"  # a server of ours is not Bedrock
    assert "127.0.0.1" in entry["sources"][0]
    assert entry["machine"] == [machine_id(machine())]
    assert "us-west-2" in entry["sources"][0]
    assert time.time() - 300 < entry["recorded_s"][0] <= entry["recorded_s"][1] <= time.time()
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    code, output = harness(*words_of(wire, texts, folder))
    assert (code, service.calls) == (0, 8)  # nothing is asked, or paid for, again


@pytest.mark.parametrize(("model", "name"), [(V2, ""), ("amazon.titan-embed-text-v1", "v1_chunks")])
def test_sets_have_the_names_that_the_targets_know(
    model: str, name: str, wire: Wire, service: Service, tmp_path: Path
) -> None:
    if model == V2:  # as it was served in 2024, told by its grid
        from fixtures.titan.answers import EmulatorOptions

        service.titan = EmulatedTitan(EmulatorOptions(text_v2=Serving.TEXT_V2_2024))
        name = "v2_scaled_bf16"
    with Journal.locked(tmp_path / "live") as journal:
        budget = Budget(limit=picodollars(1), price=MODELS[model])
        record(job_of(3, model=model), client_of(wire), journal, budget)
        write_sets(journal)
    (found,) = load_recorded(tmp_path / "live")
    assert found.name == name


# ---------------------------------------------------------------- trouble


def refuse(code: str, calls: Callable[[int], bool]) -> Callable[[int], None]:
    def trouble(call: int) -> None:
        if calls(call):
            raise TitanError(code, "said with a private line number 0 in it")

    return trouble


def test_throttling_is_waited_out_longer_each_time(
    wire: Wire, service: Service, tmp_path: Path
) -> None:
    service.trouble = refuse("ThrottlingException", lambda call: call in (2, 3, 4))
    waits: list[float] = []
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(tmp_path / "live") as journal:
        record(job_of(), client_of(wire), journal, budget, sleep=waits.append)
        assert len(journal.entries) == 6
        assert budget.spent == sum(entry.tokens for entry in journal.entries) * MODELS[V2]
    assert waits == [0.5, 1.0, 2.0]
    service.trouble = refuse("ThrottlingException", lambda call: True)
    with Journal.locked(tmp_path / "other") as journal:
        with pytest.raises(HarnessError, match="8 times"):
            record(job_of(), client_of(wire), journal, budget, sleep=waits.append)
        assert journal.spent() == 0


@pytest.mark.parametrize(
    ("code", "status"),
    [("AccessDeniedException", 2), ("ResourceNotFoundException", 2), ("ValidationException", 4)],
)
def test_a_refusal_is_told_by_its_code_alone(
    code: str, status: int, wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    service.trouble = refuse(code, lambda call: call == 3)
    found, output = harness(*words_of(wire, texts, tmp_path / "live"))
    assert (found, code in output) == (status, True)
    assert len(load_bodies(tmp_path / "live")) == 2  # what was paid for can be used


def test_without_credentials_it_says_what_is_missing(
    wire: Wire, service: Service, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(wire, texts, tmp_path / "live")
    without_region = [word for word in words if word not in ("--region", "us-west-2")]
    code, output = harness(*without_region)
    assert (code, "AWS_REGION" in output) == (2, True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    code, output = harness(*words)
    assert (code, "no AWS credentials" in output, "AWS_PROFILE" in output) == (2, True, True)
    monkeypatch.setenv("AWS_PROFILE", "absent")
    code, output = harness(*words)
    assert (code, "AWS is not set up" in output) == (2, True)
    assert service.calls == 0
    assert not (tmp_path / "live").exists()


def test_without_live_or_a_budget_nothing_is_called(
    wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    words = words_of(wire, texts, tmp_path / "live")
    code, output = harness(*[word for word in words if word != "--live"])
    assert (code, "say --live" in output) == (2, True)
    assert harness("record", "--live", "--model", V2)[0] == 2
    assert harness(*words_of(wire, texts, tmp_path / "live", usd=0))[0] == 2
    assert harness("record", "--live", "--model", "anthropic.claude", "--budget-usd", 1)[0] == 2
    assert service.calls == 0


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_it_goes_on_and_pays_for_nothing_twice(
    kind: signal.Signals, wire: Wire, service: Service, texts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    child = (
        "import os, signal, sys\n"
        "from harness.record.journal import Journal\n"
        "keep = Journal.keep\n"
        "def keep_and_die(self, body, **told):\n"
        "    found = keep(self, body, **told)\n"
        f"    if len(self.entries) == 3: os.kill(os.getpid(), {int(kind)})\n"
        "    return found\n"
        "Journal.keep = keep_and_die\n"
        "from harness.record.commands import command\n"
        "command()\n"
    )
    words = [str(word) for word in words_of(wire, texts, folder)]
    done = subprocess.run(
        [sys.executable, "-c", child, *words[1:]],
        capture_output=True,
        check=False,
        timeout=120,
        text=True,
    )
    if kind is signal.SIGINT:
        assert done.returncode == 130
        assert "the same command goes on" in done.stderr
        assert "3 answers" in done.stdout
        assert len(load_bodies(folder)) == 3
    else:
        assert done.returncode == -kind
    assert service.calls == 3
    code, output = harness(*words)
    assert code == 0, output
    assert service.calls == 8
    assert len(load_bodies(folder)) == 6


def test_a_torn_line_of_the_journal_is_cut_and_asked_again(wire: Wire, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(folder) as journal:
        record(job_of(3), client_of(wire), journal, budget)
    data = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(data[:-20])
    with Journal.locked(folder) as journal:
        assert len(journal.entries) == 2
        assert record(job_of(3), client_of(wire), journal, budget) == 1
        write_sets(journal)
    assert len(load_bodies(folder)) == 3
    (folder / "journal.jsonl").write_bytes(b"{}\n" + data)
    with pytest.raises(UsageError, match="damaged"), Journal.locked(folder):
        pass


def test_one_folder_has_one_recorder_and_its_bodies_are_not_edited(
    wire: Wire, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(folder) as journal:
        record(job_of(2), client_of(wire), journal, budget)
        with pytest.raises(UsageError, match="another process"), Journal.locked(folder):
            pass
        body = folder / "bodies" / journal.entries[0].file
        body.write_bytes(body.read_bytes().replace(b"1", b"2"))
        with pytest.raises(UsageError, match="not what Titan sent"):
            write_sets(journal)
        body.unlink()
        with pytest.raises(UsageError, match="cannot be read"):
            write_sets(journal)
    other = tmp_path / "other"
    other.mkdir()
    (other / "provenance.json").write_text("[]")
    with pytest.raises(UsageError, match="did not make"), Journal.locked(other):
        pass


def test_answers_that_drift_are_told_in_units_of_the_last_place(
    wire: Wire, service: Service, tmp_path: Path
) -> None:
    def drift(call: int, body: bytes) -> bytes:
        fields = json.loads(body)
        if call == 5:  # the first that is asked again: one value, by three places
            value = np.array(fields["embedding"][7:8], np.float32)
            value.view(np.uint32)[0] += 3
            fields["embedding"][7] = fields["embeddingsByType"]["float"][7] = float(value[0])
        return json.dumps(fields).encode() + (b" " if call == 6 else b"")  # other bytes alone

    service.change = drift
    budget = Budget(limit=picodollars(1), price=MODELS[V2])
    with Journal.locked(tmp_path / "live") as journal:
        record(job_of(4, again=3), client_of(wire), journal, budget)
        found = compare_repeats(journal)
    assert (found.asked, found.same_bytes, found.same_bits, found.ulps_max) == (3, 1, 2, 3)


# ---------------------------------------------------------------- --titan


def as_bedrocks(folder: Path) -> None:
    """What the journal would say if Bedrock had answered: its own host."""
    journal = folder / "journal.jsonl"
    host = '"host": "bedrock-runtime.us-west-2.amazonaws.com"'
    journal.write_text(journal.read_text().replace('"host": "127.0.0.1"', host))
    with Journal.locked(folder) as found:
        write_sets(found)


def test_titan_says_which_folder_and_whose(
    wire: Wire, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "live"
    with pytest.raises(UsageError, match=r"no live recordings .* harness record --live"):
        recorded_folder("live", folder)
    harness(*words_of(wire, texts, folder))
    with pytest.raises(UsageError, match="Bedrock itself did not give"):
        recorded_folder("live", folder)
    as_bedrocks(folder)
    assert recorded_folder("live", folder) == folder
    assert recorded_folder("recorded", folder) == folder
    assert recorded_folder("emulated", None) is None
    assert age_of(folder).endswith(", 0.0 days ago")
    with pytest.raises(UsageError, match="leave --recorded out"):
        recorded_folder("emulated", folder)
    provenance = folder / "provenance.json"
    (entry,) = json.loads(provenance.read_text())
    for broken, told in (
        ([{**entry, "machine": ["elsewhere"]}], "recorded on machine elsewhere"),
        ([{**entry, "tier": "recorded"}], "does not hold recordings"),
        ([], "does not hold recordings"),
        ({"a": 1}, "cannot be used"),
        ([{"tier": "live"}], "cannot be used"),
    ):
        provenance.write_text(json.dumps(broken))
        with pytest.raises(UsageError, match=told):
            recorded_folder("live", folder)


@pytest.mark.parametrize(
    "command", [["gate"], ["memory"], ["soak", "run"], ["hotpaths"], ["limits"], ["rivals"]]
)
def test_live_without_recordings_is_wrong_use(command: list[str], tmp_path: Path) -> None:
    code, output = harness(*command, "--titan=live", "--recorded", tmp_path)
    assert (code, "no live recordings" in output) == (2, True)
    code, output = harness(*command, "--titan=emulated", "--recorded", tmp_path)
    assert (code, "leave --recorded out" in output) == (2, True)
