"""`titanstore top`: on a terminal, in a pipe, for programs; and what it says when it cannot."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from titanstore import EmbeddingStore, StoreConfig
from titanstore.cli import main
from titanstore.monitor.live import Window
from titanstore.monitor.reading import take_reading

FAST = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)
TITANSTORE = [sys.executable, "-c", "from titanstore.cli import main; main()"]


def fill(store: EmbeddingStore) -> None:
    store.put_many(["a", "b"], np.ones((2, 64), np.float32), "doc")
    store.snapshot()
    for _ in range(300):
        store.get("a")
    store.search(np.ones(64, np.float32))


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_one_page_where_nobody_looks(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        fill(store)
        pages = [run("top", tmp_path), run("top", tmp_path, "--once")]
    for shown in pages:
        assert shown.exit_code == 0
        assert all(len(line) <= 80 for line in shown.output.splitlines())
        assert "since each opened the store" in shown.output
        assert re.search(rf"^{os.getpid()} .* writes ", shown.output, re.MULTILINE)
        assert re.search(r"^search +1 ", shown.output, re.MULTILINE) or "search" in shown.output


def test_an_object_for_programs(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        fill(store)
        done = run("top", tmp_path, "--json")
        stats = store.stats()
    assert done.exit_code == 0
    shown = json.loads(done.output)
    assert shown["store"]["vectors"] == 2
    assert shown["store"]["versions"] == 1
    assert shown["store"]["catalog_bytes"] == stats.catalog_bytes
    (process,) = shown["processes"]
    assert process["pid"] == os.getpid()
    assert process["values"]["searches"] == stats.counters["searches"] == 1
    search = process["latencies"]["search"]
    assert (search["sampled"], search["timed"]) == (1, 1)
    assert search["below_ns"] == [[round(search["p50_s"] * 1e9), 1]]
    assert process["memory"]["anonymous"] > 1_000_000


@pytest.mark.parametrize("options", [[], ["--once"], ["--json"]])
def test_what_cannot_be_looked_at(tmp_path: Path, options: list[str]) -> None:
    shown = run("top", tmp_path / "absent", *options)
    assert (shown.exit_code, "[no-store]" in shown.output) == (2, True)
    assert not (tmp_path / "absent").exists()
    EmbeddingStore.open(tmp_path / "s", FAST).close()
    (tmp_path / "s" / "GENERATION").unlink()
    shown = run("top", tmp_path / "s", *options)
    assert (shown.exit_code, "[not-a-store]" in shown.output) == (1, True)
    assert run("top", tmp_path / "s", "--interval", "0").exit_code == 2


def test_the_window_moves_along(tmp_path: Path) -> None:
    times = iter([0.0, 4.0, 8.0, 12.0, 16.0])
    window = Window(10.0)
    with EmbeddingStore.open(tmp_path, FAST) as store:
        spans, puts = [], []
        for _ in range(5):
            store.put("a", np.ones(8, np.float32))
            view = window.add(take_reading(tmp_path, FAST, lambda: next(times)))
            (work,) = view.work.values()
            assert work is not None
            spans.append(view.span)
            puts.append(work.latencies["put"].timed)
    assert spans == ["since each opened the store", *(f"in the last {n} s" for n in (4, 8, 12, 12))]
    assert puts == [1, 1, 2, 3, 3]


class Terminal:
    """`titanstore top` in a pseudo-terminal of so many columns."""

    def __init__(self, path: Path, columns: int, *options: str) -> None:
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")
        }
        self.process = subprocess.Popen(
            [*TITANSTORE, "top", str(path), "--interval", "0.2", *options],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, self.seen[-3_000:]
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 65_536).decode(errors="replace")
                except OSError as error:  # its last writer is gone
                    raise AssertionError(self.seen[-3_000:]) from error

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=60)
        os.close(self.master)
        return status


@pytest.mark.parametrize("columns", [80, 50])
def test_it_repaints_while_another_process_works(tmp_path: Path, columns: int) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        fill(store)
        terminal = Terminal(tmp_path, columns)
        try:
            terminal.wait_for(r"in the last \d+ s")
            begun = len(terminal.seen)
            store.put("c", np.ones(64, np.float32))
            store.put_many([f"more {n}" for n in range(1_000)], np.ones((1_000, 64), np.float32))
            terminal.wait_for(r"vectors +1 003")
            pages = terminal.seen[begun:].replace("\x1b[H", "\r\n")  # each from the upper corner
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", pages)
            assert max(map(len, text.split("\r\n"))) <= columns
        finally:
            status = terminal.end()
    assert status == 0  # Ctrl-C is how one leaves it


def test_a_store_that_goes_away_ends_it_with_an_error(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path / "s", FAST) as store:
        fill(store)
    terminal = Terminal(tmp_path / "s", 80)
    terminal.wait_for("vectors")
    (tmp_path / "s").rename(tmp_path / "moved")
    terminal.wait_for(r"\[no-store\]")
    assert terminal.process.wait(timeout=60) == 2
    os.close(terminal.master)


def test_without_rich_it_says_what_to_do(tmp_path: Path) -> None:
    """The library and the pages of --once need none; nothing imports it before it is wanted."""
    EmbeddingStore.open(tmp_path, FAST).close()
    code = """
import sys
sys.modules["rich"] = sys.modules["rich.console"] = None
from titanstore.cli import main
from titanstore.monitor import live
import titanstore.cli
titanstore.cli.is_terminal = lambda: True
main()
"""
    for options, status in (([], 2), (["--once"], 0), (["--json"], 0)):
        done = subprocess.run(
            [sys.executable, "-c", code, "top", str(tmp_path), *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert ("titanstore[top]" in done.stderr) == (status == 2)


def test_importing_the_library_loads_nothing_of_it() -> None:
    code = (
        "import sys, titanstore; "
        "print(sorted(n for n in sys.modules if n.startswith(('rich', 'titanstore.monitor'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
