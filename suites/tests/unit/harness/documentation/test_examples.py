"""Risk: an example that fails counts as one that ran, or runs where its reader would not be."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

import pytest

from harness.documentation.examples import run_page
from harness.documentation.finding import PageError
from harness.documentation.pages import blocks


def faults(text: str, folder: Path) -> list[str]:
    """What is wrong with each block of a page."""
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    return [one.fault for one in run_page(page, folder, work)]


def test_blocks_are_run_in_order_in_one_folder_and_one_session(tmp_path: Path) -> None:
    page = """# A page
```python
import pathlib
made = pathlib.Path("a file")
made.write_text("some")
```
```sh
test "$(cat 'a file')" = some
mv 'a file' another
```
```python
assert not made.exists() and pathlib.Path("another").exists() and __name__ == "__main__"
```
"""
    before = Path.cwd(), sys.modules["__main__"]
    assert faults(page, tmp_path) == ["", "", ""]
    assert (Path.cwd(), sys.modules["__main__"]) == before
    assert not Path("another").exists()


def test_a_block_that_leaves_a_process_behind_does_not_hang_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.documentation.examples._TIMEOUT_S", 0.5)
    page = "```sh\nsleep 1000 & echo $! > pid\n```\n```sh\ntrue\n```\n"
    (left, after) = faults(page, tmp_path)
    assert "left a process behind" in left
    assert after == ""
    pid = int((tmp_path / "work" / "pid").read_text())
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as ended:
        # readable once it is no more than a zombie: killed, it goes when the kernel gets to it
        assert select.select([ended], [], [], 10)[0]


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```python\nx = 1\nassert x == 2\n```\n", "line 3: AssertionError()"),
        ("```python\nraise SystemExit(0)\n```\n", "SystemExit"),
        ("```python\nx = (\n```\n", "SyntaxError"),
        ("```sh\nfalse\ntrue\n```\n", "exit status 1, want 0"),
        ("```sh\nno-such-program\n```\n", "exit status 127"),
        ("```sh\necho why; exit 3\n```\n", "exit status 3, want 0: why"),
        ("<!-- exit status 3 -->\n```sh\ntrue\n```\n", "exit status 0, want 3"),
        ("```toml\na = \n```\n", "Invalid value"),
        ("```yaml\na: 1\n```\n", "nothing here reads YAML"),
        ("```text\nsomething\n```\n", "the output of no block"),
    ],
)
def test_a_block_that_fails_is_a_fault(block: str, told: str, tmp_path: Path) -> None:
    (fault,) = faults(block, tmp_path)
    assert told in fault


def test_an_exit_status_may_be_meant(tmp_path: Path) -> None:
    assert faults("<!-- exit status 3 -->\n```sh\nexit 3\n```\n", tmp_path) == [""]


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ("1 of 20", True),
        ("1 of ...", True),
        ("... of 20", True),
        ("1 of 2", False),
        ("1 of 20 and more", False),
        ("1 .f 20", False),  # a dot is a dot
    ],
)
@pytest.mark.parametrize(
    "block", ['```python\nprint(1, "of", 20)\n```\n', "```sh\necho 1 of 20\n```\n"]
)
def test_output_that_is_shown_is_compared(
    block: str, shown: str, is_right: bool, tmp_path: Path
) -> None:
    first, second = faults(f"{block}\nIt prints:\n\n```text\n{shown}\n```\n", tmp_path)
    assert first == ""
    assert (second == "") is is_right


def test_a_block_that_is_not_run_says_why_and_is_counted_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: hours -->\n```sh\ntouch made\n```\n")
    (found,) = run_page(page, tmp_path, tmp_path)
    assert (found.kind, found.what, found.fault) == ("block not run", "page.md:3: hours", "")
    assert not (tmp_path / "made").exists()


def test_settings_of_the_caller_do_not_reach_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITANSTORE_POLICY", "lru")
    python = 'import os; assert "TITANSTORE_POLICY" not in os.environ'
    page = f'```python\n{python}\n```\n```sh\ntest -z "$TITANSTORE_POLICY"\n```\n'
    assert faults(page, tmp_path) == ["", ""]
    assert os.environ["TITANSTORE_POLICY"] == "lru"


def test_the_programs_are_those_of_this_environment(tmp_path: Path) -> None:
    place = Path(sys.executable).parent
    assert faults(f'```sh\ntest "$(command -v python)" = {place}/python\n```\n', tmp_path) == [""]


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("```python\nx = 1\n", "not closed"),
        ("```ruby\nx = 1\n```\n", "'ruby'"),
        ("```\nx = 1\n```\n", "a block of ''"),
        ("<!-- not ran: hours -->\n```sh\ntrue\n```\n", "'not ran: hours' means nothing"),
        ("<!-- exit status 1 -->\n```python\nx = 1\n```\n", "means nothing"),
    ],
)
def test_a_page_that_could_hide_a_block_is_refused(page: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(page)
    with pytest.raises(PageError, match=told):
        blocks(file)
