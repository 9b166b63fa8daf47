"""Risk: a miss is waived that nobody accepted, or no longer."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.waivers import Waiver, load_waivers

TODAY = datetime.date(2026, 11, 24)
GATES = ["latency.disk", "quality.bits"]
COMMIT = "c" * 40


def entry(**changed: str | None) -> str:
    fields = {
        "gate": '"latency.disk"',
        "reason": '"slow disk"',
        "owner": '"release manager"',
        "expires": "2026-12-31",
        "commits": f'"{COMMIT}"',
        **changed,
    }
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return "\n".join(["[[waiver]]", *lines])


def load(
    folder: Path, *entries: str, commit: str = COMMIT, root: Path | None = None
) -> list[Waiver]:
    path = folder / "waivers.toml"
    path.write_text("\n".join(entries), encoding="utf-8")
    return load_waivers(path, gates=GATES, commit=commit, root=root or folder, today=TODAY)


def test_no_file_waives_nothing(tmp_path: Path) -> None:
    assert load_waivers(None, gates=GATES, commit=COMMIT, root=tmp_path, today=TODAY) == []
    assert load(tmp_path) == []


def test_a_waiver_says_who_until_when_and_why(tmp_path: Path) -> None:
    assert load(tmp_path, entry()) == [
        Waiver(
            gate="latency.disk",
            reason="slow disk",
            owner="release manager",
            expires="2026-12-31",
            commits=COMMIT,
            state="active",
        )
    ]


@pytest.mark.parametrize(
    ("expires", "state"),
    [
        ("2026-11-23", "expired"),
        ("2026-11-24", "active"),
        ("2026-11-25", "active"),
        ("2026-11-23T23:59:59Z", "expired"),
        ("2026-11-24T00:00:00Z", "active"),
    ],
)
def test_a_waiver_holds_to_the_end_of_its_last_day(
    tmp_path: Path, expires: str, state: str
) -> None:
    (found,) = load(tmp_path, entry(expires=expires))
    assert found.state == state


def test_an_expired_waiver_is_expired_for_other_commits_too(tmp_path: Path) -> None:
    (found,) = load(tmp_path, entry(expires="2020-01-01"), commit="a" * 40)
    assert found.state == "expired"


@pytest.mark.parametrize(
    ("commits", "state"),
    [
        (COMMIT[:7], "active"),
        (COMMIT, "active"),
        (COMMIT[:6], "other commits"),
        (COMMIT + "c", "other commits"),
        ("c", "other commits"),
        ("a" * 40, "other commits"),
        ("main", "other commits"),
    ],
)
def test_a_single_commit_is_named_by_seven_digits_or_more(
    tmp_path: Path, commits: str, state: str
) -> None:
    (found,) = load(tmp_path, entry(commits=f'"{commits}"'))
    assert found.state == state


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository of four commits."""
    root = tmp_path / "repository"

    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    root.mkdir()
    git("init", "--quiet")
    commits = []
    for place in range(4):
        git("commit", "--quiet", "--allow-empty", "-m", str(place))
        commits.append(git("rev-parse", "HEAD"))
    return root, commits


@pytest.mark.parametrize(
    ("commits", "covered"),
    [
        ("1..2", [1, 2]),
        ("1..", [1, 2, 3]),
        ("0..3", [0, 1, 2, 3]),
        ("2..1", []),
        ("..2", []),
        ("..", []),
        ("0...3", []),
        ("--all..3", []),
        ("none..3", []),
    ],
)
def test_a_range_covers_its_ends_and_nothing_outside(
    tmp_path: Path, history: tuple[Path, list[str]], commits: str, covered: list[int]
) -> None:
    root, ids = history
    named = "".join(ids[int(one)] if one.isdigit() else one for one in commits)
    states = [
        load(tmp_path, entry(commits=f'"{named}"'), commit=one, root=root)[0].state for one in ids
    ]
    assert [place for place, state in enumerate(states) if state == "active"] == covered


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (entry(gate='"latency.disc"'), "no gate 'latency.disc'; there are latency.disk"),
        (entry(gate='["latency.disk"]'), "no gate"),
        (entry(owner='""'), "needs a owner"),
        (entry(reason='" "'), "needs a reason"),
        (entry(commits="7"), "needs a commits"),
        (entry(reason=None), "missing or too many: reason"),
        (entry(until="3"), "missing or too many: until"),
        (entry(expires='"2026-12-31"'), "expires is a date like 2027-01-31"),
        (entry(expires="12:00:00"), "expires is a date"),
        ("waiver = 3", "want [[waiver]] tables"),
        ("waiver = [1]", "want [[waiver]] tables"),
        ("[waivers]", "want [[waiver]] tables"),
        ("[[waiver]]\n[[gate]]", "want [[waiver]] tables"),
        ("[[waiver", "waivers.toml"),
    ],
)
def test_a_waiver_that_is_not_whole_stops_the_run(tmp_path: Path, content: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, content)
    assert word in str(caught.value)
    assert "waivers.toml" in str(caught.value)


def test_a_file_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        load_waivers(tmp_path / "none.toml", gates=GATES, commit=COMMIT, root=tmp_path, today=TODAY)
