"""A Lance table whose writer is killed at any moment is one of its own states, and syncs on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from titanstore.search.lance import LanceRow, LanceSettings, LanceTable

SECONDS_MAX = 4.0
ROUNDS = 6
SETTINGS = LanceSettings(vectors_min=256, history_s=0)

# What sync n does is a function of n, so that this process knows it too
_OPERATIONS = """
import numpy as np
from titanstore.search.lance import LanceRow

def operation(number):
    rng = np.random.default_rng(number)
    keys = rng.permutation(400)
    rows = [
        LanceRow(f"key {key}", rng.standard_normal(16).astype(np.float32), number)
        for key in keys[: 300 if number == 0 else int(rng.integers(0, 60))]
    ]
    return rows, [f"key {key}" for key in keys[380:]]
"""
_WRITER = (
    _OPERATIONS
    + """
import sys
from pathlib import Path
from titanstore.search import lance_sync
from titanstore.search.lance import LanceSettings, LanceTable

lance_sync._BATCH_ROWS = 25
folder, number = Path(sys.argv[1]), int(sys.argv[2])
settings = LanceSettings(vectors_min=256, history_s=0)
make = LanceTable.create if number == 0 else LanceTable.open
table = make(folder, 16, settings)
print("open", flush=True)
while True:
    table.sync(*operation(number), number + 1)
    print("end", number, flush=True)
    number += 1
"""
)
_namespace: dict[str, object] = {}
exec(_OPERATIONS, _namespace)  # noqa: S102 - the one text that both processes run


def operation(number: int) -> tuple[list[LanceRow], list[str]]:
    made = _namespace["operation"]
    assert callable(made)
    rows, deletes = made(number)
    return rows, deletes


def after(content: dict[str, bytes], number: int) -> dict[str, bytes]:
    rows, deletes = operation(number)
    left = {key: value for key, value in content.items() if key not in deletes}
    return left | {row.key: row.vector.tobytes() for row in rows}


def content_of(table: LanceTable) -> dict[str, bytes]:
    return {row.key: row.vector().tobytes() for row in table.rows()}


def test_killed_writers_lose_no_finished_sync(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    content: dict[str, bytes] = {}
    number = 0
    started = time.monotonic()
    for _ in range(ROUNDS):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        time.sleep(choose.uniform(0, 0.5))
        writer.kill()
        said = writer.stdout.read().splitlines()
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        for line in said:
            if line == f"end {number}":
                content, number = after(content, number), number + 1
        with LanceTable.open(tmp_path, 16, SETTINGS) as table:
            if table.watermark == number + 1:  # finished, not acknowledged
                content, number = after(content, number), number + 1
            assert table.watermark == number
            assert content_of(table) == content
            rows, deletes = operation(number)
            table.sync(rows, deletes, number + 1)
            content, number = after(content, number), number + 1
            assert content_of(table) == content
            if table.content.index:
                found = dict(table.candidates(operation(0)[0][0].vector, 400))
                assert found.keys() == content.keys()
        if time.monotonic() - started > SECONDS_MAX:
            break


def test_a_sync_killed_between_commits_is_taken_back_and_repeated(tmp_path: Path) -> None:
    """Killed by itself after the third commit of one sync, with deletes and rows half in."""
    with LanceTable.create(tmp_path, 16, SETTINGS) as table:
        table.sync(*operation(0), 1)
        before = content_of(table)
    code = _WRITER.replace(
        'print("open", flush=True)',
        """
import os, signal
def die(count, at=iter((0, 0, 1))):
    if next(at):
        os.kill(os.getpid(), signal.SIGKILL)
rows, deletes = operation(99)
rows = [row._replace(key=f"torn {n}") for n, row in enumerate(operation(0)[0])]
table.sync(rows, deletes, 2, progress=die)
""",
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), "1"], check=False)
    assert done.returncode == -signal.SIGKILL
    with LanceTable.open(tmp_path, 16, SETTINGS, read_only=True) as reader:
        assert content_of(reader) == before
    with LanceTable.open(tmp_path, 16, SETTINGS) as table:
        assert content_of(table) == before
        assert table.watermark == 1
        assert not [
            key for key, _ in table.candidates(operation(0)[0][0].vector, 900) if "torn" in key
        ]
        table.sync(*operation(1), 2)
        assert content_of(table) == after(before, 1)
