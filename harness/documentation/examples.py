"""Executing the blocks of a page as a reader who follows it would: in order, in one folder.

Python blocks of a page are one session: a later one sees the names of an earlier one. Shell blocks
are run by `sh -e`, with the programs of this environment before all others.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from harness.documentation.finding import Finding
from harness.documentation.pages import Block, blocks

__all__ = ["run_page"]

_TIMEOUT_S = 120.0
_OUTPUT_SHOWN = 400
_SETTINGS = "TITANSTORE_"


def run_page(page: Path, root: Path, folder: Path) -> list[Finding]:
    """Execute the blocks of a page in a folder, and judge what can be judged of the others.

    Parameters
    ----------
    folder
        Empty, and the reader's: the current directory while they run.

    Returns
    -------
    list of Finding
        One for each block; of kind "block" if it was run or read, "block not run" if its page says
        why it is not. A block after one that failed is tried all the same.

    Raises
    ------
    PageError
        From `blocks`.

    Notes
    -----
    Python runs in this process, as `__main__`; the working directory and `sys.modules` are put
    back. TITANSTORE_* variables are taken away: an example shows the defaults.
    """
    found: list[Finding] = []
    session = ModuleType("__main__")
    printed: str | None = None  # by the block before, if it was run
    with _workplace(session, folder):
        for block in blocks(page):
            where = f"{page.relative_to(root)}:{block.line}"
            if block.not_run:
                found.append(Finding(kind="block not run", what=f"{where}: {block.not_run}"))
                printed = None
                continue
            if block.language == "text":
                fault = _other_output(block.text, printed)
            else:
                begun = time.monotonic()
                fault, printed = _run(block, session, root)
                if time.monotonic() - begun > _TIMEOUT_S and not fault:
                    fault = f"took more than {_TIMEOUT_S:.0f} s"
            found.append(Finding(kind="block", what=f"{where} ({block.language})", fault=fault))
    return found


@contextlib.contextmanager
def _workplace(session: ModuleType, folder: Path) -> Iterator[None]:
    before = sys.modules["__main__"]
    variables = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    for name in variables:
        del os.environ[name]
    try:
        with contextlib.chdir(folder):
            sys.modules["__main__"] = session
            yield
    finally:
        sys.modules["__main__"] = before
        os.environ.update(variables)


def _run(block: Block, session: ModuleType, root: Path) -> tuple[str, str | None]:
    """What is wrong with a block, and what it printed."""
    match block.language:
        case "python":
            return _python(block, session)
        case "sh":
            return _shell(block, root)
        case "toml":
            try:
                tomllib.loads(block.text)
            except tomllib.TOMLDecodeError as error:
                return str(error), None
            return "", None
    return (
        f"nothing here reads {block.language.upper()}: mark it as not run, and say who does",
        None,
    )


def _python(block: Block, session: ModuleType) -> tuple[str, str]:
    out = io.StringIO()
    text = "\n" * (block.line - 1) + block.text  # a traceback then names the page's own line
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(block.page), "exec"), vars(session))  # noqa: S102 - our own pages
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"line {last.lineno}: {error!r}"[:_OUTPUT_SHOWN], out.getvalue()
    return "", out.getvalue()


def _shell(block: Block, root: Path) -> tuple[str, str]:
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(root),
        "COLUMNS": "100",
    }
    shell = subprocess.Popen(
        ["sh", "-e", "-c", block.text],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    fault, said = "", ""
    try:
        said, _ = shell.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        fault = f"took more than {_TIMEOUT_S:.0f} s, or left a process behind that holds its output"
    finally:  # what it left behind goes too: it would hold the pipe for ever
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()
    if not fault and shell.returncode != block.status:
        seen = said.strip()[-_OUTPUT_SHOWN:]
        fault = f"exit status {shell.returncode}, want {block.status}: {seen}"
    return fault, said


def _other_output(wanted: str, printed: str | None) -> str:
    """Why what a page shows is not what was printed: `...` stands for anything."""
    if printed is None:
        return "it shows the output of no block that runs"
    pattern = ".*?".join(re.escape(part) for part in wanted.strip().split("..."))
    if re.fullmatch(pattern, printed.strip(), re.DOTALL):
        return ""
    return f"printed was: {printed.strip()[:_OUTPUT_SHOWN]}"
