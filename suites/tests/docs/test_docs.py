"""Risk: a page that promises what the code has not, hides what it has, or cannot be followed."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import pytest

import harness.cli
import titanstore
from harness.documentation.checks import CHECKS, check
from harness.documentation.examples import run_page
from harness.documentation.pages import blocks, guides, section, spans, table
from harness.documentation.pages import reference as reference_of
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.gates import EXIT_CODES, Verdict
from harness.run import MEASURES
from harness.targets import load_targets
from harness.waivers import load_waivers
from titanstore.config import FALLBACK
from titanstore.events import logger
from titanstore.settings.known import SETTINGS, written

ROOT = Path(__file__).resolve().parents[3]
GUIDES = guides(ROOT)


def reference(name: str) -> Path:
    return reference_of(ROOT, name)


# ---------------------------------------------------------------- what `docs.complete` measures


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_is_undocumented_and_nothing_told_is_missing(name: str) -> None:
    found = check(name, ROOT)
    assert found, "nothing was looked at"
    assert [f"{one.kind} {one.what}: {one.fault}" for one in found if one.fault] == []


@pytest.mark.parametrize(
    "page",
    [page for page in GUIDES if blocks(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an example that sets up logging must not do so for all tests that follow
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logger, "level", logger.level)
    found = run_page(page, ROOT, tmp_path)
    assert [f"{one.what}: {one.fault}" for one in found if one.fault] == []


def test_readme_shows_the_store() -> None:
    assert [block for block in blocks(ROOT / "README.md", "python") if block.runs]


# ---------------------------------------------------------------- the store's reference pages


def test_settings_page_has_units_and_ranges() -> None:
    rows = table(reference("settings"), "All settings")
    told = {name: (cells[0], cells[2].replace("`", "")) for name, cells in rows.items()}
    assert told == {each.name: (each.unit, each.range) for each in SETTINGS}


def test_settings_page_has_a_switch_for_each_part() -> None:
    text = section(reference("settings"), "Parts and their switches")
    switches = dict(re.findall(r"^\|[^|]+\| `(\w+) = ([^`]+)`", text, re.MULTILINE))
    wanted = {each.name: written(each.off) for each in SETTINGS if each.off is not None}
    del wanted["shadow"]  # told in the row of `rollout_percent`
    assert switches == {**wanted, "segment_reads": '"pread"'}
    fallen = section(reference("settings"), "Fallback")
    assert FALLBACK.keys() <= set(re.findall(r"`(\w+)`", fallen))


def test_example_of_settings_loads(tmp_path: Path) -> None:
    found = blocks(reference("settings"), "toml")
    assert found
    for text in (block.text for block in found):
        (tmp_path / "store.toml").write_text(text)
        given = tomllib.loads(text)["titanstore"]
        config = titanstore.load_config(file=tmp_path / "store.toml", environment={})
        assert {name: getattr(config, name) for name in given} == given


def test_every_page_has_a_place_in_the_navigation_of_the_site() -> None:
    """One that has none is a warning of Sphinx, and `make docs` fails at it."""
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    pages = {path for pattern in conf["include_patterns"] for path in ROOT.glob(pattern)}
    listed = {
        path
        for globs in conf["_SECTIONS"].values()
        for pattern in globs
        for suffix in (".md", ".rst")
        for path in ROOT.glob(pattern + suffix)
    }
    assert pages - listed == {ROOT / f"{conf['root_doc']}.md"}


def test_version_is_one() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert versions[0] == titanstore.__version__ == project


# ---------------------------------------------------------------- commands


def test_commands_page_is_the_exit_statuses() -> None:
    rows = table(reference("commands"), "Exit status of harness gate")
    faults = {error.exit_code for error in (HarnessError, UsageError, EvidenceError)}
    signals = {harness.cli._INTERRUPTED, harness.cli._TERMINATED}
    assert {int(status) for status in rows} == {*EXIT_CODES.values(), *faults, *signals}
    assert rows["0"] == ["GO"]
    assert rows["3"] == ["HOLD"]


def test_every_make_target_exists_and_is_told() -> None:
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named: dict[str, set[str]] = {}
    for page in GUIDES:
        code = [*spans(page), *(block.text for block in blocks(page, "sh"))]
        pattern = r"(?:^|\s)make ([a-z]+)(?=\s|$)"
        named[page.name] = {word for text in code for word in re.findall(pattern, text)}
    assert set().union(*named.values()) <= there
    assert named["README.md"] == there


# ---------------------------------------------------------------- gates, verdicts, waivers


def test_verdicts_page_is_the_verdicts_and_gates() -> None:
    page = ROOT / "docs" / "explanation" / "verdicts.md"
    assert list(table(page, "Verdicts")) == [str(verdict) for verdict in Verdict]
    gates = load_targets().gates
    told = {name: cells[0] for name, cells in table(page, "Gates").items()}
    measured = {*MEASURES, "soak.day"}  # which a run finds, and does not make
    assert told == {gate.id: "measured" if gate.id in measured else "NOT RUN" for gate in gates}
    tiers = {tier for gate in gates for row in gate.rows for tier in row.accepts}
    assert table(page, "Evidence tiers").keys() == tiers | {"simulated"}


def test_readme_lists_what_is_measured() -> None:
    page = ROOT / "README.md"
    assert table(page, "What is measured today").keys() == MEASURES.keys()


def test_example_of_a_waiver_loads(tmp_path: Path) -> None:
    (text,) = (block.text for block in blocks(reference("waivers"), "toml"))
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    (raw,) = tomllib.loads(text)["waiver"]
    assert table(reference("waivers"), "Fields").keys() == raw.keys()
    gates = [gate.id for gate in load_targets().gates]
    (found,) = load_waivers(path, gates=gates, commit="0" * 40, root=ROOT, today=date(2026, 1, 1))
    assert found.gate == raw["gate"]


def test_states_of_waivers_are_told(tmp_path: Path) -> None:
    """Each row of the page is a state that a waiver takes on some day and commit."""
    path = tmp_path / "waivers.toml"
    lines = ['gate = "g"', 'reason = "r"', 'owner = "o"', "expires = 2027-01-31"]
    path.write_text("\n".join(["[[waiver]]", *lines, f'commits = "{"a" * 40}"']))
    seen = []
    for commit, today in (
        ("a" * 40, date(2027, 1, 31)),
        ("a" * 40, date(2027, 2, 1)),
        ("b" * 40, date(2027, 1, 1)),
    ):
        (found,) = load_waivers(path, gates=["g"], commit=commit, root=ROOT, today=today)
        seen.append(found.state)
    assert seen == list(table(reference("waivers"), "States"))


# ---------------------------------------------------------------- the whole project


def test_no_file_names_a_registry_or_a_workplace() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the project's cannot be told")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], capture_output=True, check=True)
    names = sorted({name for name in listed.stdout.decode().split("\0") if name})
    assert "README.md" in names
    registry = r"pypi\.org|pythonhosted\.org|index-url|anaconda\.org|conda\.io|registry\.npmjs"
    foreign = re.compile(rf"{registry}|(?<![\w.{{}}/])/work/".encode())
    found = [
        f"{name}: {foreign_text[0].decode()}"
        for name in names
        if (ROOT / name).is_file() and (ROOT / name) != Path(__file__).resolve()
        if (foreign_text := foreign.search((ROOT / name).read_bytes()))
    ]
    assert not found
