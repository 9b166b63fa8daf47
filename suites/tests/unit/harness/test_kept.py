"""Risk: parts of two builds in one folder, two at work in it, or no newest result for a moment."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.kept import alone_in, name_of, point_latest, recording_digests, shown_page


def test_a_name_is_of_all_facts_but_the_commit_s_name() -> None:
    facts = {"commit": "a", "content_digest": "b", "machine": {"id": "c"}}
    assert name_of(facts) == name_of({**dict(reversed(facts.items())), "commit": "d"})
    assert name_of(facts) != name_of({**facts, "machine": {"id": "d"}})


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with (
        alone_in(tmp_path, "scale"),
        pytest.raises(UsageError, match="another `harness scale`"),
        alone_in(tmp_path, "scale"),
    ):
        pass
    with alone_in(tmp_path, "scale"):
        pass


def test_results_that_end_at_once_leave_a_newest_one_at_any_moment(tmp_path: Path) -> None:
    """The link was removed and made again: the second one to make it ended with an error."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    point_latest(folders[0])
    failures: list[BaseException] = []

    def work(folder: Path) -> None:
        try:
            for _ in range(1_000):
                point_latest(folder)
                assert (tmp_path / "latest").resolve() in folders
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "latest"}


def test_a_page_is_named_by_the_link_that_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    point_latest(tmp_path / "b")
    assert shown_page(tmp_path / "a" / "x.html") == "a/x.html"
    assert shown_page(tmp_path / "b" / "x.html") == "latest/x.html"


def test_damaged_recordings_are_wrong_use(tmp_path: Path) -> None:
    assert recording_digests(None) == {}
    with pytest.raises(UsageError, match="recorded vectors"):
        recording_digests(tmp_path / "absent")
