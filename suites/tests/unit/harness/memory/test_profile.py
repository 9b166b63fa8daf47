"""Risk: a profile misses a leak, loses what was done, or shows figures that nobody measured."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import harness.cli
from harness.errors import EvidenceError, UsageError
from harness.gates import Verdict
from harness.memory import profile as profile_module
from harness.memory.commands import memory
from harness.memory.figures import draw_timeline
from harness.memory.page import write_memory_page
from harness.memory.profile import MemoryOptions, Profile, profile_memory
from harness.memory.recordings import summary_of
from harness.progress import Progress

LEAK = 60_000  # bytes every 1 000 operations


class Told(Progress):
    """What a profile said of itself."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, steps: int) -> None:
        self.stages.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)


def small(reports: Path) -> MemoryOptions:
    return MemoryOptions(
        reports=reports,
        recorded=None,
        operations=24_000,
        traced_operations=1_000,
        processes=1,
        files=20,
        sizes=(2_000, 2_500),
        budgets=(150_000, 400_000),
        sessions=("files-1024",),
        leak_bytes=LEAK,
        interval_s=0.004,  # also on a fast machine, a dozen looks in each twelfth of the session
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A small profile of a session that leaks."""
    return profile_memory(small(tmp_path_factory.mktemp("profile")), Progress())


def test_a_leak_is_noticed_and_nothing_else_grows(made: Profile) -> None:
    page, code, findings = write_memory_page(made.folder)
    verdicts = {one.name: one.verdict for one in findings}
    assert verdicts["files-1024: growth of anonymous"] is Verdict.FAIL
    for name in ("shared memory", "descriptors", "threads"):
        assert verdicts[f"files-1024: growth of {name}"] is Verdict.PASS
    assert code == 1
    assert f"{LEAK} bytes every 1 000 operations" in page.read_text()


def test_the_leak_is_in_what_was_added_and_the_account_names_the_rest(made: Profile) -> None:
    part = made.parts["session files-1024"]
    added = part["processes"][0]["added"] - part["controls"][0]["added"]
    assert added > 4 * LEAK + 500_000
    assert not part["processes"][0]["instruments"]
    kept = json.loads((made.folder / "memory.json").read_text())
    assert kept["parts"] == made.parts


def test_call_sites_and_allocations_are_the_stores(made: Profile) -> None:
    modules = made.parts["traced files-1024"]["by_module"]
    assert modules["titanstore.tiers.hot"] > 0
    recorded = made.parts["memray files-1024"]
    assert any(site["site"].startswith("titanstore.") for site in recorded["sites"])
    assert 100_000 < recorded["held"] < 20_000_000
    assert recorded["held"] == sum(recorded["by_module"].values())


def test_memrays_pages_need_no_network(made: Profile) -> None:
    class Loads(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag in ("script", "link", "img", "iframe"):
                self.found += [v or "" for name, v in attrs if name in ("src", "href")]

    for name in made.parts["memray files-1024"]["files"]:
        reader = Loads()
        reader.feed((made.folder / name).read_text())
        assert not [found for found in reader.found if "//" in found]


def test_the_page_shows_each_part_and_fetches_nothing(made: Profile) -> None:
    page, _, findings = write_memory_page(made.folder)
    text = page.read_text()
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert text.count("<svg") == 3
    for finding in findings:
        assert finding.name in text
    for heading in ("Whose the bytes are", "Call sites that grew", "Which figure comes from where"):
        assert heading in text
    for link in made.parts["memray files-1024"]["files"]:
        assert f'href="{link}"' in text
        assert (made.folder / link).is_file()
    assert not list(made.folder.glob("work"))


def test_what_is_done_is_kept_and_what_is_missing_is_made(
    made: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.folder / "parts" / "traced-files-1024.json").unlink()
    told = Told()
    again = profile_memory(small(made.folder.parents[1]), told)
    assert again.folder == made.folder
    assert told.stages == ["call sites files-1024, under tracemalloc"]
    assert len(told.notes) == len(made.parts) - 1
    assert again.parts["session files-1024"] == made.parts["session files-1024"]


def test_a_part_that_fails_leaves_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile_module, "run_worker", interrupt)
    with pytest.raises(KeyboardInterrupt):
        profile_memory(small(tmp_path), Progress())
    (folder,) = (path for path in (tmp_path / "memory").iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_wrong_use_is_said_before_anything_is_made(tmp_path: Path) -> None:
    for words in (["--sizes", "many"], ["--sizes", "2000"], ["--sizes", "10,5000"]):
        with pytest.raises(SystemExit) as ended:
            harness.cli.main(["memory", "--reports", str(tmp_path), *words])
        assert ended.value.code == 2
    assert not list(tmp_path.iterdir())
    (tmp_path / "memory").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be kept"):
        profile_memory(small(tmp_path), Progress())


def test_a_profile_under_an_instrument_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "debug")
    with pytest.raises(UsageError, match="debug_malloc is on"):
        profile_memory(small(tmp_path), Progress())
    assert not list(tmp_path.iterdir())


def test_parts_of_other_recordings_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dataclasses.replace(small(tmp_path), recorded=tmp_path)
    monkeypatch.setattr(profile_module._Maker, "plan", lambda _: [])
    names = set()
    for digest in "ab":
        recorded = SimpleNamespace(name="v2_scaled_bf16", digest=digest)
        monkeypatch.setattr("harness.kept.load_recorded", lambda _, one=recorded: [one])
        names.add(profile_memory(options, Progress()).folder.name)
    assert len(names) == 2


def test_damaged_recordings_are_refused(tmp_path: Path) -> None:
    options = MemoryOptions(reports=tmp_path, recorded=tmp_path)
    with pytest.raises(UsageError, match="recorded vectors"):
        profile_memory(options, Progress())


def test_a_damaged_profile_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{")
    with pytest.raises(EvidenceError):
        write_memory_page(tmp_path)
    assert not (tmp_path / "memory.html").exists()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recording.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(Exception, match="no recording of memray"):
        summary_of(tmp_path / "recording.bin")


def test_help_says_what_comes_out() -> None:
    told = CliRunner().invoke(memory, ["--help"]).output
    assert "Exit status" in told
    assert "memory.html" in told


def test_the_figure_begins_before_the_store_was_opened(
    made: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began at the first look from outside once, when the tiers may be full."""
    begun = []

    def draw(name: str, timeline: Any, before: Any, limit: float) -> Any:
        begun.append(before)
        return draw_timeline(name, timeline, before, limit)

    monkeypatch.setattr("harness.memory.page.draw_timeline", draw)
    write_memory_page(made.folder)
    (process,) = made.parts["session files-1024"]["processes"]
    total, added = process["facts"]["process_total"], process["facts"]["by_type"]
    assert begun == [{name: total[name] - added[name] for name in total}]
