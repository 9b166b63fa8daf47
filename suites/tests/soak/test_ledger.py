"""Risk: the expected values are wrong after a kill, or a reader expects the impossible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.errors import EvidenceError
from harness.soak.checks import Checks
from harness.soak.ledger import Header, Kind, Ledger, Phase, VersionState
from harness.soak.life import Life
from harness.soak.values import ABSENT
from harness.subjects.reference import ReferenceSubject
from suites.tests.soak.small_soak import SEED, SMALL, values_of

KEYS = len(SMALL)


class Killed(BaseException):
    """Stands for the SIGKILL: what was stored into the mapped file before it stays."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "expected"


def opened(path: Path) -> Ledger:
    return Ledger(path, keys=KEYS, seed=SEED)


def kill_at(ledger: Ledger, moment: str, times: int = 1) -> None:
    left = [times]

    def pause(now: str) -> None:
        left[0] -= now == moment
        if now == moment and not left[0]:
            raise Killed

    ledger.pause = pause


def test_what_was_settled_is_there_after_everybody_died(path: Path) -> None:
    ledger = opened(path)
    ledger.intend(Kind.PUT, {3: 7, 5: 8})
    ledger.settle()
    again = opened(path)  # without a close: as after a kill
    assert again.stamp(3) == 7
    assert again.stamps()[5] == 8
    assert again.phase is Phase.IDLE
    assert again.word(Header.OPERATION) == 1


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_kill_while_intending_leaves_the_old(path: Path, times: int) -> None:
    ledger = opened(path)
    ledger.intend(Kind.PUT, {1: 11, 2: 12, 3: 13})
    ledger.settle()
    kill_at(ledger, "intending", times)
    with pytest.raises(Killed):
        ledger.intend(Kind.UPDATE, {1: 21, 2: 22, 3: ABSENT})
    again = opened(path)
    assert again.phase is Phase.INTENDING
    again.undo()
    assert [again.stamp(key) for key in (1, 2, 3)] == [11, 12, 13]
    assert not again.under_way()


@pytest.mark.parametrize("times", [1, 2])
def test_a_kill_while_settling_is_gone_on_with(path: Path, times: int) -> None:
    ledger = opened(path)
    ledger.intend(Kind.UPDATE, {1: 21, 2: 22})
    kill_at(ledger, "settling", times)
    with pytest.raises(Killed):
        ledger.settle()
    again = opened(path)
    assert again.phase is Phase.SETTLING
    again.settle()
    assert [again.stamp(key) for key in (1, 2)] == [21, 22]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_kill_while_undoing_is_gone_on_with(path: Path, times: int) -> None:
    ledger = opened(path)
    ledger.intend(Kind.UPDATE, {1: 21, 2: 22, 3: 23})
    kill_at(ledger, "undoing", times)
    with pytest.raises(Killed):
        ledger.undo()
    again = opened(path)
    again.undo()
    assert [again.stamp(key) for key in (1, 2, 3)] == [ABSENT] * 3
    assert not again.under_way()


def test_a_reader_may_meet_what_was_under_way_and_nothing_older(path: Path) -> None:
    ledger = opened(path)
    for stamp in (1, 2):
        ledger.intend(Kind.PUT, {0: stamp})
        ledger.settle()
    before = ledger.before(0)
    assert ledger.allowed(0, before) == [2]
    ledger.intend(Kind.PUT, {0: 3})
    assert ledger.allowed(0, before) == [2, 3]
    ledger.settle()
    assert ledger.allowed(0, before) == [2, 3]  # it may have read before the write
    assert ledger.allowed(0, ledger.before(0)) == [3]  # who begins now may not


def test_a_read_beside_too_many_writes_is_not_judged(path: Path) -> None:
    ledger = opened(path)
    before = ledger.before(0)
    for stamp in range(1, 15):
        ledger.intend(Kind.PUT, {0: stamp})
        ledger.settle()
    assert ledger.allowed(0, before) is not None
    ledger.intend(Kind.PUT, {0: 99})
    assert ledger.allowed(0, before) is None


def test_a_rollback_makes_two_versions_or_none(path: Path) -> None:
    ledger = opened(path)
    ledger.intend(Kind.PUT, {0: 1})
    ledger.settle()
    ledger.intend(Kind.SNAPSHOT, {})
    ledger.settle()
    ledger.intend(Kind.PUT, {0: 2})
    ledger.settle()
    ledger.intend(Kind.ROLLBACK, {0: 1}, 1)
    assert ledger.versions(VersionState.EXPECTED) == [2, 3]
    ledger.undo([1])
    assert (ledger.versions(), ledger.stamp(0)) == ([1], 2)
    ledger.intend(Kind.ROLLBACK, {0: 1}, 1)
    ledger.settle()
    assert ledger.versions() == [1, 2, 3]
    assert [int(ledger.version_stamps(number)[0]) for number in (1, 2, 3)] == [1, 2, 1]


def test_versions_that_may_go_are_kept_as_the_store_has_them(path: Path) -> None:
    ledger = opened(path)
    for _ in range(3):
        ledger.intend(Kind.SNAPSHOT, {})
        ledger.settle()
    ledger.intend(Kind.MAINTAIN, {}, 1)
    ledger.undo([2, 3])
    assert ledger.versions() == [2, 3]


def test_a_file_that_is_another_ledger_is_refused(path: Path) -> None:
    opened(path).close()
    with pytest.raises(EvidenceError, match="not a ledger of"):
        Ledger(path, keys=KEYS, seed=SEED + 1)
    with pytest.raises(EvidenceError, match="not a ledger of"):
        Ledger(path, keys=KEYS + 1, seed=SEED)


class Small:
    """One real store with its ledger and a life on it."""

    def __init__(self, folder: Path) -> None:
        self.wrong: list[str] = []
        self.ledger = opened(folder / "expected")
        self.values = values_of()
        self.subject = ReferenceSubject(
            folder / "store", {"durability": "power_cut_may_lose_store"}
        )
        self.life = Life(
            self.subject,
            self.ledger,
            self.values,
            SMALL,
            mix="writer",
            seed=SEED,
            versions_max=64,
            wrong=self.wrong.append,
        )

    def checks(self) -> Checks:
        return Checks(self.subject, self.ledger, self.values, SMALL, self.wrong.append)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path)
    made.life.begin()
    yield made
    made.subject.close()


def test_a_life_without_a_kill_has_nothing_wrong(small: Small) -> None:
    for _ in range(120):
        small.life.go_on()
    small.life.verify()
    assert small.wrong == []
    assert small.life.checks.checked > KEYS


def test_a_change_that_was_done_in_part_is_wrong(small: Small) -> None:
    """A store that is killed between two halves of a transaction; ours has no such place."""
    first, second = SMALL.loose[0], SMALL.loose[1]
    small.ledger.intend(Kind.PUT, {first: 900, second: 901})
    vector = small.values.of(900, SMALL.dimension(first))
    small.subject.put_many([SMALL.names[first]], vector[None])
    small.life.recover()
    assert any("in part: 1 of 2 are new" in words for words in small.wrong)


def test_a_lost_write_is_wrong_and_named(small: Small) -> None:
    key = SMALL.loose[0]
    for stamp in (900, 901):
        small.ledger.intend(Kind.PUT, {key: stamp})
        if stamp == 900:
            vector = small.values.of(stamp, SMALL.dimension(key))
            small.subject.put_many([SMALL.names[key]], vector[None])
        small.ledger.settle()
    small.ledger.header[Header.NEXT_STAMP] = 902
    small.checks().read(key)
    assert small.wrong == [
        f"{SMALL.names[key]!r} came back as the vector of stamp 900; wanted the vector of stamp 901"
    ]


def test_another_keys_vector_and_an_absent_one_are_wrong(small: Small) -> None:
    first, second = SMALL.every_document[0].keys[:2]
    name = SMALL.names[first]
    vector = small.subject.get(SMALL.names[second])
    small.checks().judge(first, vector, small.ledger.before(first))
    small.checks().judge(first, None, small.ledger.before(first))
    assert len(small.wrong) == 2
    assert all(words.startswith(repr(name)) for words in small.wrong)


def test_a_search_that_misses_the_nearest_is_wrong(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = small.subject.search
    checks = small.checks()
    for turn in range(6):
        checks.search(np.random.default_rng(turn))
    assert small.wrong == []
    monkeypatch.setattr(small.subject, "search", lambda q, k, m: honest(q, k + 1, m)[1:])
    checks.search(np.random.default_rng(0))
    assert "missed" in small.wrong[0]
    small.wrong.clear()
    monkeypatch.setattr(
        small.subject, "search", lambda q, k, m: [(n, d + 1e-12) for n, d in honest(q, k, m)]
    )
    checks.search(np.random.default_rng(0))
    assert "its distance is" in small.wrong[0]
