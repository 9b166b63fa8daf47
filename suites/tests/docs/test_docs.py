"""Risk: a page that promises what the code has not, hides what it has, or cannot be followed."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path

import click
import pytest

import harness.cli
import titanstore
import titanstore.cli
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.gates import EXIT_CODES, Verdict
from harness.run import MEASURES
from harness.targets import load_targets
from harness.waivers import load_waivers
from titanstore.events import logger
from titanstore.metrics import Counters

ROOT = Path(__file__).resolve().parents[3]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
GUIDES += sorted(ROOT.glob("docs/**/*.md"))
PAGES = [*GUIDES, ROOT / "src/titanstore/FORMAT.md"]
PAGES += sorted(ROOT.glob("reports/decisions/*.md"))
LANGUAGES = {"python", "sh", "toml", "yaml"}
COMMANDS: dict[str, click.Command] = {
    "titanstore": titanstore.cli.main,
    "harness": harness.cli.main,
}
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))


# ---------------------------------------------------------------- reading Markdown


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of a language, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start()) + 2, found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Inline code, without that of fenced blocks."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(page))]


def anchors(page: Path) -> set[str]:
    """Names of the headings as links write them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def section(page: Path, heading: str) -> str:
    """Text from a heading of level 2 to the next one."""
    parts = re.split(r"^## (.+)$", prose(page), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in found, f"{page.name} has no section {heading!r}"
    return found[heading]


def table(page: Path, heading: str) -> dict[str, list[str]]:
    """Rows of a section's tables by each code span of their first cell."""
    rows: dict[str, list[str]] = {}
    for line in section(page, heading).splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            for name in re.findall(r"`([^`]+)`", cells[0]):
                assert name not in rows, f"{page.name}: {name} comes twice"
                rows[name] = cells[1:]
    return rows


def reference(name: str) -> Path:
    return ROOT / "docs" / "reference" / f"{name}.md"


# ---------------------------------------------------------------- examples and links

EXAMPLES = [(page, line, code) for page in GUIDES for line, code in blocks(page, "python")]


@pytest.mark.parametrize(
    ("page", "line", "code"), EXAMPLES, ids=[f"{page.stem}-{line}" for page, line, _ in EXAMPLES]
)
def test_example_runs(
    page: Path, line: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "example.py"
    script.write_text("\n" * (line - 1) + code, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    # an example that sets up logging must not do so for all tests that follow
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    level = logger.level
    runpy.run_path(str(script), run_name="__main__")
    logger.setLevel(level)


def test_readme_shows_the_store() -> None:
    assert blocks(ROOT / "README.md", "python")


@each_guide
def test_every_block_says_what_it_is(page: Path) -> None:
    """A block of another name would escape the checks of this file."""
    text = page.read_text(encoding="utf-8")
    assert {found[1] for found in FENCE.finditer(text)} <= LANGUAGES
    assert text.count("```") == 2 * len(FENCE.findall(text))


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert not broken


@each_guide
def test_every_path_named_is_there(page: Path) -> None:
    """Inline code that begins with a folder of the project; `<name>` stands for any."""
    top = ("src/", "harness/", "suites/", "fixtures/", "docs/", "reports/decisions", ".ci/")
    named = {span for span in spans(page) if span.startswith(top) and "<" not in span}
    assert not {path for path in named if not (ROOT / path).exists()}


# ---------------------------------------------------------------- the store's reference pages


def test_settings_page_is_the_settings() -> None:
    rows = table(reference("settings"), "All settings")
    defaults = titanstore.StoreConfig()
    code = {field.name: repr(getattr(defaults, field.name)) for field in fields(defaults)}
    assert {name: cells[1].strip("`").replace('"', "'") for name, cells in rows.items()} == code
    assert all(len(cells) == 4 and cells[2] and cells[3] for cells in rows.values())


def test_example_of_settings_loads(tmp_path: Path) -> None:
    found = blocks(reference("settings"), "toml")
    assert found
    for _, text in found:
        (tmp_path / "store.toml").write_text(text)
        given = tomllib.loads(text)["titanstore"]
        config = titanstore.load_config(file=tmp_path / "store.toml", environment={})
        assert {name: getattr(config, name) for name in given} == given


def error_classes() -> dict[str, type[titanstore.StoreError]]:
    public = {name: getattr(titanstore, name) for name in titanstore.__all__}
    return {
        name: value
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, titanstore.StoreError)
    }


def test_errors_page_is_the_error_tree() -> None:
    rows = table(reference("errors"), "Classes")
    assert rows.keys() == error_classes().keys()
    for name, found in error_classes().items():
        builtin = [base.__name__ for base in found.__bases__ if base.__module__ == "builtins"]
        told = [] if found is titanstore.StoreError else builtin
        assert re.findall(r"`(\w+)`", rows[name][0]) == told, name


def test_errors_page_is_the_kinds() -> None:
    rows = table(reference("errors"), "Kinds")
    assert rows.keys() == {str(kind) for kind in titanstore.ErrorKind}
    classes = {name for cells in rows.values() for name in re.findall(r"`(\w+)`", cells[0])}
    assert classes == error_classes().keys() - {"StoreError"}
    assert all(len(cells) == 3 and cells[1] for cells in rows.values())


def test_metrics_page_is_the_counters_and_sizes() -> None:
    page = reference("metrics")
    counters = {field.name for field in fields(Counters)}
    assert table(page, "Counters").keys() == counters
    sizes = {field.name for field in fields(titanstore.StoreStats)}
    sizes |= {
        name for name, value in vars(titanstore.StoreStats).items() if isinstance(value, property)
    }
    assert table(page, "StoreStats").keys() == sizes


def test_index_is_the_public_face() -> None:
    page = ROOT / "docs" / "index.md"
    assert table(page, "Public names").keys() == set(titanstore.__all__)
    methods = {
        name
        for name in dir(titanstore.EmbeddingStore)
        if not name.startswith("_") and callable(getattr(titanstore.EmbeddingStore, name))
    }
    assert table(page, "What a store can do").keys() == methods


def test_version_is_one() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert versions[0] == titanstore.__version__ == project


# ---------------------------------------------------------------- commands


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what one types."""
    yield name, command
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from commands(f"{name} {word}", inner)


def names_of(command: click.Command) -> set[str]:
    """Options by their long names, arguments in capitals."""
    return {
        param.opts[0] if isinstance(param, click.Option) else str(param.name).upper()
        for param in command.params
    }


def valued(command: click.Command) -> set[str]:
    """Options that take a value."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {name for param in options if not param.is_flag for name in param.opts}


ALL = {name: found for top, root in COMMANDS.items() for name, found in commands(top, root)}


def test_commands_page_is_the_commands() -> None:
    page = reference("commands")
    headings = set(re.findall(r"^## ((?:harness|titanstore)\b.*)$", prose(page), re.MULTILINE))
    groups = {name for name, found in ALL.items() if isinstance(found, click.Group)}
    assert headings >= ALL.keys() - groups
    assert headings <= ALL.keys()
    documented = {name: table(page, name) for name in headings}
    for name, command in ALL.items():
        assert documented.get(name, {}).keys() == names_of(command), name
        for param in command.params:
            if isinstance(param.type, click.Choice):
                told = re.findall(r"`([^`]+)`", documented[name][param.opts[0]][0])
                assert told == list(param.type.choices), (name, param.name)


def test_commands_page_is_the_exit_statuses() -> None:
    rows = table(reference("commands"), "Exit status of harness gate")
    faults = {error.exit_code for error in (HarnessError, UsageError, EvidenceError)}
    signals = {harness.cli._INTERRUPTED, harness.cli._TERMINATED}
    assert {int(status) for status in rows} == {*EXIT_CODES.values(), *faults, *signals}
    assert rows["0"] == ["GO"]
    assert rows["3"] == ["HOLD"]


@each_guide
def test_every_command_line_exists(page: Path) -> None:
    lines = [line for _, block in blocks(page, "sh") for line in block.splitlines()]
    unknown = []
    for line in [*lines, *spans(page)]:
        words = line.partition(" # ")[0].removeprefix(".venv/bin/").split()
        if not words or words[0] not in COMMANDS or not re.fullmatch(r"[\w.-]+", words[0]):
            continue
        name = words.pop(0)
        while words and isinstance(ALL[name], click.Group):
            if words[0] in valued(ALL[name]):
                words = words[2:]
                continue
            if words[0].startswith("-"):
                break
            name = f"{name} {words.pop(0)}"
            if name not in ALL:
                break
        options = {word for word in words if word.startswith("--")}
        if name not in ALL or options - names_of(ALL[name]):
            unknown.append(line)
    assert not unknown


def test_every_make_target_exists_and_is_told() -> None:
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named: dict[str, set[str]] = {}
    for page in GUIDES:
        code = [*spans(page), *(block for _, block in blocks(page, "sh"))]
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
    ((_, text),) = blocks(reference("waivers"), "toml")
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
