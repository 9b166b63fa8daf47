"""Risk: something is taken out of the documentation and the gate goes on saying PASS."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import titanstore
from harness.documentation import links
from harness.documentation.checks import check
from harness.documentation.finding import Finding, guarded, same_names, tally
from harness.environment import project_root

Break = Callable[[Path], None]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The project's pages, to break."""
    root = project_root()
    shutil.copytree(root / "docs", tmp_path / "docs")
    shutil.copytree(root / "reports" / "decisions", tmp_path / "reports" / "decisions")
    (tmp_path / "src" / "titanstore").mkdir(parents=True)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "src/titanstore/FORMAT.md"):
        shutil.copy(root / name, tmp_path / name)
    return tmp_path


def without(page: str, text: str, put: str = "") -> Break:
    def change(root: Path) -> None:
        path = root / page
        content = path.read_text(encoding="utf-8")
        assert text in content
        path.write_text(content.replace(text, put, 1), encoding="utf-8")

    return change


# what is broken, the check that must see it, and what it says
BROKEN: dict[str, tuple[str, Break, str]] = {
    "a name": ("names", without("docs/index.md", "| `Maintenance` |", "| |"), "Maintenance"),
    "a method": ("names", without("docs/index.md", "`untag`", ""), "untag"),
    "a name too many": ("names", without("docs/index.md", "| `Hit` |", "| `Hit`, `Hat` |"), "Hat"),
    "a member of a client": (
        "names",
        without("docs/reference/clients.md", "| `move` |", "| |"),
        "move",
    ),
    "a table": ("names", without("docs/index.md", "## Public names", "## Names"), "no section"),
    "a module of the API": (
        "docstrings",
        without("docs/reference/api.rst", ".. automodule:: titanstore\n", ""),
        "titanstore",
    ),
    "a setting": ("settings", without("docs/reference/settings.md", "| `bloom` |", "| |"), "bloom"),
    "a default": (
        "settings",
        without("docs/reference/settings.md", "| bytes | `1300000` |", "| bytes | `1310000` |"),
        "its default is 1300000, told is 1310000",
    ),
    "an error": (
        "errors",
        without("docs/reference/errors.md", "| `BusyError` |", "| |"),
        "BusyError",
    ),
    "a kind": (
        "errors",
        without("docs/reference/errors.md", "| `disk-full` |", "| |"),
        "disk-full",
    ),
    "a counter": (
        "metrics",
        without("docs/reference/metrics.md", "| `demotions` |", "| |"),
        "demotions",
    ),
    "a size": (
        "metrics",
        without("docs/reference/metrics.md", "| `dead_bytes` |", "| |"),
        "dead_bytes",
    ),
    "a command": (
        "commands",
        without("docs/reference/commands.md", "## harness doctor", "## x"),
        "doctor",
    ),
    "an option": (
        "commands",
        without("docs/reference/commands.md", "| `--keep` |", "| |"),
        "--keep",
    ),
    "a value of an option": (
        "commands",
        without("docs/reference/commands.md", "`ci`, `nightly`, `release`", "`ci`, `release`"),
        "its values are ci, nightly, release",
    ),
    "a line of a shell": (
        "command lines",
        without("README.md", "`harness doctor`", "`harness docter`"),
        "no command harness docter",
    ),
    "an option of a line": (
        "command lines",
        without("README.md", "`harness soak run --hours 24`", "`harness soak run --ours 24`"),
        "no option --ours",
    ),
    "a file of a link": (
        "links",
        without("README.md", "(docs/index.md)", "(docs/no.md)"),
        "no such file",
    ),
    "a heading of a link": (
        "links",
        without("README.md", "lossless.md#what-nobody-can-save", "lossless.md#nothing"),
        "no such heading",
    ),
    "a named file": (
        "paths",
        without("README.md", "`harness/verdicts.schema.json`", "`harness/gone.json`"),
        "no such file",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_taken_away_is_missed(what: str, copied: Path) -> None:
    name, breaks, told = BROKEN[what]
    before = {(one.kind, one.what, one.fault) for one in check(name, copied)}
    breaks(copied)
    new = [one for one in check(name, copied) if (one.kind, one.what, one.fault) not in before]
    faults = [one for one in new if one.fault]
    assert faults
    assert any(told in f"{one.what}: {one.fault}" for one in faults), faults


def test_a_name_without_a_docstring_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titanstore, "__all__", [*titanstore.__all__, "silent"])
    monkeypatch.setattr(titanstore, "silent", lambda: None, raising=False)
    root = project_root()
    found = [*check("names", root), *check("docstrings", root)]
    assert [(one.kind, one.what) for one in found if one.fault] == [
        ("name", "silent"),
        ("docstring", "titanstore.silent"),
    ]


@pytest.mark.parametrize(
    ("target", "is_good"),
    [
        ("https://docs.python.org/3/", True),
        ("https://localhost/", False),
        ("http://docs.python.org/3/", False),
        ("https:///nowhere", False),
        ("ftp://a.b/c", False),
    ],
)
def test_a_link_out_of_the_project_is_checked_by_its_form(
    target: str, is_good: bool, copied: Path
) -> None:
    with (copied / "README.md").open("a") as file:
        file.write(f"\n[out]({target})\n")
    (found,) = [one for one in links.check_links(copied) if one.what == f"README.md: {target}"]
    assert (found.fault == "") is is_good


def test_names_are_compared_both_ways() -> None:
    page = Path("page.md")
    found = {one.what: one.fault for one in same_names("n", page, ["a", "b"], ["b", "c"])}
    assert found == {
        "a": "page.md tells it, and it is not there",
        "b": "",
        "c": "page.md does not tell it",
    }


def test_a_page_that_is_not_there_is_a_fault_and_no_end() -> None:
    def check_nothing() -> list[Finding]:
        return [Finding(kind="n", what=Path("no such page").read_text(), fault="")]

    (found,) = guarded("n", check_nothing)
    assert "no such page" in found.fault


def test_faults_are_counted_by_kind() -> None:
    found = [
        Finding(kind="a", what="x", fault="wrong"),
        Finding(kind="a", what="y"),
        Finding(kind="b", what="z"),
    ]
    assert tally(found) == {
        "a": {"checked": 2, "faults": 1},
        "b": {"checked": 1, "faults": 0},
    }
