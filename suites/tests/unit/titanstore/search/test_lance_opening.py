"""The Lance table as others find it: reopened, read meanwhile, forked, closed, or not installed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.vectors import gaussians
from suites.tests.unit.titanstore.search.lance_rows import (
    COUNT,
    DIMENSION,
    SETTINGS,
    Vectors,
    content_of,
    latest_version,
    nearest,
    rows_of,
)
from titanstore.errors import InvalidInputError
from titanstore.search import lance_commits as commits
from titanstore.search.lance import LanceRow, LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.lance_loop import LanceLoop


def test_reopening_finds_all_and_takes_an_unfinished_sync_back(
    table: LanceTable, tmp_path: Path, vectors: Vectors
) -> None:
    wanted = content_of(table)
    table._loop.run(lambda: commits.delete(table._writer, ["key 1", "key 2"]))
    assert content_of(table) == wanted
    table.close()
    with LanceTable.open(tmp_path, DIMENSION, SETTINGS, read_only=True) as reader:
        assert content_of(reader) == wanted
    with LanceTable.open(tmp_path, DIMENSION, SETTINGS) as again:
        assert content_of(again) == wanted
        assert latest_version(again) == again.content.version
        assert nearest(again, vectors[1]) == "key 1"


def test_readers_follow_the_writer(table: LanceTable, tmp_path: Path, vectors: Vectors) -> None:
    with LanceTable.open(tmp_path, DIMENSION, SETTINGS, read_only=True) as reader:
        assert nearest(reader, vectors[4]) == "key 4"
        table.sync([LanceRow("moved", vectors[4], 400)], ["key 4"], 400)
        assert nearest(reader, vectors[4]) == "moved"
        assert reader.watermark == 400
        with pytest.raises(LanceUnavailableError, match="reading only"):
            reader.sync([], [], 1)
        table.drop()
        with pytest.raises(LanceUnavailableError, match="no table"):
            reader.candidates(vectors[4], 5)


def test_a_table_made_anew_is_not_mistaken_for_the_old_one(
    table: LanceTable, tmp_path: Path, vectors: Vectors
) -> None:
    with LanceTable.open(tmp_path, DIMENSION, SETTINGS, read_only=True) as reader:
        table.close()
        with LanceTable.create(tmp_path, DIMENSION, SETTINGS) as anew:
            anew.sync(rows_of(vectors, "anew"), [], 5)
            assert nearest(reader, vectors[4]) == "anew 4"
            assert content_of(reader) == content_of(anew)
            folders = [path for path in tmp_path.iterdir() if path.is_dir()]
            assert len(folders) == 1


def test_queries_go_on_during_a_sync(
    tmp_path: Path, vectors: Vectors, rng: np.random.Generator
) -> None:
    """For as long as `history_s`, a state that was overtaken stays under those who ask it."""
    answers: list[str] = []
    done = threading.Event()
    table = LanceTable.create(tmp_path, DIMENSION, replace(SETTINGS, history_s=60))
    table.sync(rows_of(vectors), [], COUNT)

    def ask() -> None:
        while not done.is_set():
            answers.append(nearest(table, vectors[250]))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for turn in range(3):
            rows = rows_of(gaussians(rng, 200, DIMENSION), "key", 1_000 * turn)
            table.sync(rows, [], 5_000 + turn)
    finally:
        done.set()
        asking.join()
        table.close()
    assert set(answers) == {"key 250"}


def test_another_dimension_or_value_type_is_not_opened(table: LanceTable, tmp_path: Path) -> None:
    table.close()
    with pytest.raises(LanceUnavailableError, match="the table is for"):
        LanceTable.open(tmp_path, DIMENSION + 1, SETTINGS)
    other = LanceSettings(values="float16" if SETTINGS.values == "float32" else "float32")
    with pytest.raises(LanceUnavailableError, match="the table is for"):
        LanceTable.open(tmp_path, DIMENSION, other)


def test_what_is_closed_says_so(table: LanceTable, vectors: Vectors) -> None:
    table.close()
    table.close()
    with pytest.raises(LanceUnavailableError, match="closed"):
        table.candidates(vectors[0], 1)
    with pytest.raises(LanceUnavailableError, match="closed"):
        table.sync([], [], 1)


def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['lancedb'] = None\n"
        "from pathlib import Path\n"
        "from titanstore.search.lance import LanceSettings, LanceTable\n"
        "LanceTable.create(Path(sys.argv[1]), 8, LanceSettings())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "table")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert InvalidInputError.__name__ in done.stderr
    assert "pip install titanstore[lance]" in done.stderr
    assert not (tmp_path / "table").exists()


def test_importing_does_not_import_lancedb() -> None:
    code = (
        "import sys, titanstore, titanstore.search.lance, titanstore.search.lance_rebuild\n"
        "print([name for name in ('lancedb', 'pyarrow', 'asyncio.base_events') "
        "if name in sys.modules and not name.startswith('asyncio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    code = """
import os, sys
import numpy as np
from pathlib import Path
from titanstore.search.lance import LanceSettings, LanceTable, LanceUnavailableError
table = LanceTable.create(Path(sys.argv[1]), 8, LanceSettings())
child = os.fork()
if child == 0:
    try:
        table.sync([], [], 1)
    except LanceUnavailableError as error:
        table.close()
        os._exit(7 if "fork" in error.reason else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
table.sync([], [], 2)
print(table.watermark)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["7", "2"]


def test_whoever_waits_while_the_table_is_closed_is_told_at_once(tmp_path: Path) -> None:
    """A call that met the closing waited for its time limit, or for ever where it had none."""
    seen: list[str] = []

    async def nothing() -> None:
        await asyncio.sleep(0)

    def ask(loop: LanceLoop) -> None:
        while True:
            try:
                loop.run(nothing, 50)
            except LanceUnavailableError as error:
                seen.append(error.reason)
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            loop = LanceLoop(tmp_path, SETTINGS)
            asking = [threading.Thread(target=ask, args=(loop,)) for _ in range(4)]
            for thread in asking:
                thread.start()
            time.sleep(0.003)
            loop.close()
            for thread in asking:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert set(seen) <= {"the table is closed", "the table was closed meanwhile"}
    assert len(seen) == 240
