"""Risk: a runbook that does not work on the day it is needed."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path

import pytest

import harness.procedures.carry_out as carry_out_module
from harness.procedures.carry_out import carry_out
from harness.procedures.drills import DRILLS
from harness.procedures.runbook import RunbookError, is_as_told, pages, parse

ROOT = Path(__file__).parents[3]
PAGES = pages(ROOT / "docs" / "operations")


@pytest.mark.parametrize("name", PAGES)
def test_runbook_does_what_it_says(name: str, tmp_path: Path) -> None:
    steps = parse(PAGES[name].read_text(encoding="utf-8"))
    outcomes = carry_out(steps, tmp_path / "work")
    assert [f"line {one.line}: {one.text}\n{one.fault}" for one in outcomes if one.fault] == []
    assert len(outcomes) == len(steps)


def test_drills_of_pages_are_there() -> None:
    named = {
        step.text for page in PAGES.values() for step in parse(page.read_text()) if step.is_drill
    }
    assert named <= DRILLS.keys()


def test_a_migration_that_ends_before_it_is_killed_is_no_drill(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="was to be killed"):  # no vectors.npy, so nothing moves
        DRILLS["killed-migration"](tmp_path)


# ---------------------------------------------------------------- the executor can fail

PAGE = """
Text.

<!-- drill: store -->

```sh
titanstore info embeddings
#> vectors 20
false
#! 1
cat <<'END' | tr a b
aaa
END
#> bbb
export NAME=kept && cd embeddings
echo $NAME; \\
    ls STORE
#> kept
#> STORE
```

```yaml
not: carried out
```
"""


def faults(page: str, folder: Path) -> list[str]:
    return [one.fault for one in carry_out(parse(page), folder) if one.fault]


def test_a_page_of_every_kind_of_step(tmp_path: Path) -> None:
    assert faults(PAGE, tmp_path / "w") == []
    assert [step.line for step in parse(PAGE)] == [4, 7, 9, 11, 15, 16]


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```sh\nfalse\n```", "exit status 1, the page says 0"),
        ("```sh\ntrue\n#! 3\n```", "exit status 0, the page says 3"),
        ("```sh\necho one; echo two\n#> two\n#> one\n```", "printed something else"),
        ("```sh\necho 12\n#> 1\n```", "printed something else"),
        ("```sh\nno-such-command\n```", "exit status 127"),
        ("```sh\nexit 0\n```", "the shell has ended"),
        ("<!-- drill: unheard-of -->", "no drill 'unheard-of'"),
    ],
)
def test_what_is_not_as_told_is_a_fault_and_ends_the_page(
    page: str, fault: str, tmp_path: Path
) -> None:
    page += "\n```sh\ntouch went-on\n```"
    (found,) = faults(page, tmp_path / "w")
    assert fault in found
    assert not (tmp_path / "w" / "went-on").exists()


def test_a_command_that_reads_its_input_does_not_read_the_next_ones(tmp_path: Path) -> None:
    assert faults("```sh\ncat\necho here\n#> here\n```", tmp_path / "w") == []


def test_what_a_page_leaves_running_is_ended(tmp_path: Path) -> None:
    page = "```sh\nsleep 1000 &\necho $!\n```"
    outcome = carry_out(parse(page), tmp_path / "w")[-1]
    pid = int(outcome.printed)
    with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as ended:
        # readable once it is no more than a zombie: killed, it goes when the kernel gets to it
        assert select.select([ended], [], [], 10)[0]


def test_no_command_and_no_end_are_refused() -> None:
    for page in ("```sh\n#> x\n```", "```sh\ntrue\n", "```sh\ncat <<'END'\n```\n"):
        with pytest.raises(RunbookError):
            parse(page)


def test_what_is_printed_is_compared_line_by_line() -> None:
    assert is_as_told(["a ... c"], "0\na b c\n")
    assert not is_as_told(["a ... c"], "a b\nc\n")
    assert not is_as_told(["a.c"], "abc\n")
    assert is_as_told([], "")


def test_where_mounting_is_not_allowed_the_kernel_lets_no_file_grow_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mount").write_text("#!/bin/sh\nexit 32\n")
    (tmp_path / "bin" / "mount").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(carry_out_module, "isolation", list)
    assert faults(PAGES["disk-full"].read_text(encoding="utf-8"), tmp_path / "w") == []
