"""Risk: what went wrong is known in the folder of a soak, and its verdict does not know it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harness.cli
from harness import environment
from harness.environment import Code
from harness.errors import EvidenceError, UsageError
from harness.gates import Verdict
from harness.soak.checks import Checks
from harness.soak.collect import collect_soak
from harness.soak.decide import Judgement, judge_soak
from harness.soak.driver import Driver
from harness.soak.evidence import read_soak
from harness.soak.facts import Facts, read_facts
from harness.soak.layout import COUNTED, append_line
from harness.soak.ledger import Count, Header, Kind, Ledger
from harness.soak.progress import SoakProgress
from harness.soak.verify import lost_evidence, verify_soak, write_judgement
from suites.tests.soak.small_soak import SEED, SMALL, begin, values_of

WRITER = COUNTED.index("writer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    begin(tmp_path / "soak", tier="real-time", hours=24.0)
    return tmp_path / "soak"


class Idle(Driver):
    """Starts nobody: its evidence is what the ledgers say."""

    def _look_after(self, process: object) -> None:
        pass


def driver(folder: Path) -> Driver:
    facts = read_facts(folder)
    return Idle(folder, facts, SoakProgress(), content_digest=lambda: facts.content_digest)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.soak.driver._TICK_S", 0.01)


def killed_ledger(folder: Path) -> Ledger:
    return Ledger(folder / "killed" / "expected", keys=len(SMALL), seed=SEED)


def judged(folder: Path) -> Judgement:
    return judge_soak(read_soak(folder / "segments"))


def finds_something_wrong(folder: Path) -> None:
    """What a worker does (harness/soak/worker.py, `wrong`)."""
    append_line(folder / "wrong.jsonl", {"who": "writer", "lane": "killed", "what": "this is it"})
    with killed_ledger(folder) as ledger:
        ledger.roles[WRITER][Count.WRONG] += np.uint64(1)


def test_what_a_killed_driver_did_not_write_down_the_next_one_does(folder: Path) -> None:
    driver(folder).run(0.01)
    finds_something_wrong(folder)
    assert lost_evidence(folder, read_facts(folder)) == ["1 wrong answers are in no segment"]
    driver(folder).run(60.0)
    assert judged(folder).wrong == "1 wrong answers: writer: this is it"
    assert lost_evidence(folder, read_facts(folder)) == []
    driver(folder).run(0.01)  # told once, and not at each start
    assert judged(folder).mismatches == 1


def test_what_is_found_while_the_processes_end_is_written_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_all = Driver._end_all
    found: list[bool] = []

    def last_words(self: Driver) -> None:
        if not found:
            finds_something_wrong(folder)
            found.append(True)
        end_all(self)

    monkeypatch.setattr(Driver, "_end_all", last_words)
    driver(folder).run(0.01)
    assert judged(folder).verdict is Verdict.FAIL


@pytest.mark.parametrize(("code", "mismatches"), [("0", 0), ("3", 1)])
def test_a_process_that_fails_while_it_ends_is_wrong(
    folder: Path, code: str, mismatches: int
) -> None:
    made = driver(folder)
    made._processes[0].popen = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    made.run(0.01)
    assert judged(folder).mismatches == mismatches
    assert mismatches == 0 or "the writer ended with status 3" in judged(folder).wrong


def test_operations_of_which_nothing_was_compared_are_not_verified(folder: Path) -> None:
    made = driver(folder)
    with killed_ledger(folder) as ledger:
        row = ledger.roles[WRITER]
        row[Count.DONE] += np.uint64(5)
        made.run(0.01)
        row[Count.DONE] += np.uint64(5)
        row[Count.CHECKED] += np.uint64(1)
    driver(folder)  # what a killed driver did not see is not counted
    (first,) = read_soak(folder / "segments").segments
    assert [one.operations for one in first] == [0, 0]


def changing(facts: Facts, calls: int) -> Callable[[], str]:
    """A checkout that is another one from the n-th look on."""
    seen = [0]

    def look() -> str:
        seen[0] += 1
        return facts.content_digest if seen[0] <= calls else "e" * 32

    return look


@pytest.mark.parametrize("calls", [0, 1])
def test_a_checkout_that_changes_under_a_soak_ends_it(folder: Path, calls: int) -> None:
    facts = read_facts(folder)
    made = Driver(folder, facts, SoakProgress(), content_digest=changing(facts, calls))
    with pytest.raises(UsageError, match="the checkout was changed"):
        made.run(60.0)
    assert read_soak(folder / "segments").faults == ()  # and it goes on when that is back
    assert judged(folder).operations == 0


def test_a_folder_that_changes_the_checkout_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["d" * 32, "e" * 32])
    monkeypatch.setattr(
        environment,
        "code_of",
        lambda _: Code(commit="c" * 40, content_digest=next(digests), dirty=False),
    )
    with pytest.raises(UsageError, match="lies in the checkout"):
        begin(tmp_path / "soak", tier="real-time")


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "the last segment": (
        lambda folder: (folder / "segments" / "segment-0001.jsonl").unlink(),
        "2 segments were begun, 1 are there",
    ),
    "every segment": (
        lambda folder: empty(folder / "segments"),
        "2 segments were begun, 0 are there",
    ),
    "expected values": (
        lambda folder: (folder / "killed" / "expected").unlink(),
        "killed/expected: missing",
    ),
    "another soak.json": (
        lambda folder: edit(folder / "soak.json", '"inject": "leak"', '"inject": ""'),
        "is of another soak.json",
    ),
}


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def edit(path: Path, before: str, after: str) -> None:
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize("is_judged", [False, True])
@pytest.mark.parametrize("harm", HARM)
def test_evidence_that_is_gone_is_missed(tmp_path: Path, harm: str, is_judged: bool) -> None:
    folder = tmp_path / "reports" / "soaks" / "one"
    begin(folder, tier="real-time", hours=24.0, inject="leak")
    driver(folder).run(0.01)
    driver(folder).run(0.01)
    if is_judged:
        write_judgement(folder)
        assert verify_soak(folder) == []
    else:
        assert lost_evidence(folder, read_facts(folder)) == []
    change, words = HARM[harm]
    change(folder)
    facts = read_facts(folder)
    assert any(words in fault for fault in lost_evidence(folder, facts, is_going_on=True))
    if facts.inject:  # the gate leaves it out anyway
        edit(folder / "soak.json", '"inject": "leak"', '"inject": ""')
    (tmp_path / "run").mkdir()
    found, reason = collect_soak(
        tmp_path / "reports",
        tmp_path / "run",
        code=Code(commit="c" * 40, content_digest=facts.content_digest, dirty=False),
        machine=facts.machine,
        config_digest=facts.config_digest,
    )
    assert found == []
    assert reason.startswith("one: ")


def test_a_soak_json_that_makes_no_sense_is_damaged(folder: Path) -> None:
    driver(folder).run(0.01)
    facts = read_facts(folder)
    for space in ({"documents": 0}, {"shelves": 1}, {"documents": 3}):
        with pytest.raises(EvidenceError):
            lost_evidence(folder, dataclasses.replace(facts, space=space))


def test_rows_that_did_not_come_are_wrong(tmp_path: Path) -> None:
    """A store that answers a call for a document with less than was asked for."""
    values = values_of()
    wrong: list[str] = []
    document = SMALL.every_document[0]

    class Short:
        errors: type[Exception] = OSError

        def get_many(self, keys: list[str]) -> list[np.ndarray]:
            return [values.of(number, 1024) for number in range(1, len(keys))]

    with Ledger(tmp_path / "expected", keys=len(SMALL), seed=SEED) as ledger:
        ledger.intend(Kind.UPDATE, {key: 1 + at for at, key in enumerate(document.keys)})
        ledger.settle()
        checks = Checks(Short(), ledger, values, SMALL, wrong.append)  # type: ignore[arg-type]
        checks.document(document)
    assert wrong == [f"22 keys of {document.name} asked for, 21 rows came"]


def test_the_ledger_counts_segments_and_the_evidence_names_its_soak_json(folder: Path) -> None:
    driver(folder).run(0.01)
    with killed_ledger(folder) as ledger:
        assert ledger.word(Header.SEGMENTS) == 1
    header = json.loads((folder / "segments" / "segment-0000.jsonl").read_text().splitlines()[0])
    assert len(header["facts"]) == 64


@pytest.mark.parametrize(
    "words",
    [
        ["--hours", "nan"],
        ["--hours", "inf"],
        ["--minutes", "nan"],
        ["--hours", "0"],
        ["--seed", str(2**64)],
        ["--simulate", "--minutes", "1"],
    ],
)
def test_what_is_no_length_of_time_is_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        harness.cli.main(["soak", "run", "--folder", str(tmp_path / "soak"), *words])
    assert ended.value.code == 2
    assert not (tmp_path / "soak").exists()


@pytest.mark.parametrize("name", ["status", "resume", "verify"])
def test_a_folder_that_holds_no_soak_is_wrong_use(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SystemExit) as ended:
            harness.cli.main(["soak", name, str(other)])
        assert ended.value.code == 2
        assert f"no soak in {other}" in capsys.readouterr().err
    (folder / "soak.json").unlink()  # its segments are still there: damaged evidence
    with pytest.raises(SystemExit) as ended:
        harness.cli.main(["soak", name, str(folder)])
    assert ended.value.code == 1
