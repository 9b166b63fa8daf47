"""Damage in a Lance table: one kind of error, or the right rows; never a wrong one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.vectors import bfloat16
from titanstore.search.lance import LanceRow, LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.lance_state import STATE_FILE

DIMENSION = 24
COUNT = 300
SETTINGS = LanceSettings(vectors_min=256, durable=False, history_s=0)
Whole = tuple[Path, NDArray[np.float32]]


def rows_of(vectors: NDArray[np.float32]) -> list[LanceRow]:
    return [LanceRow(f"key {n}", vector, n, f"doc {n // 22}") for n, vector in enumerate(vectors)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A table with an index, deletions, and an earlier version beside the present one."""
    folder = tmp_path_factory.mktemp("whole") / "table"
    vectors = bfloat16(np.random.default_rng(8), COUNT, DIMENSION)
    with LanceTable.create(folder, DIMENSION, SETTINGS) as table:
        table.sync(rows_of(-vectors), [], 1)
    with LanceTable.open(folder, DIMENSION, replace(SETTINGS, history_s=3_600)) as table:
        table.sync([row for row in rows_of(vectors) if row.key != "key 7"], ["key 7"], 2)
        table.sync([], ["key 8"], 3)
    return folder, vectors


@pytest.fixture
def copy(tmp_path: Path, whole: Whole) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "table"))


def remove(path: Path, _: random.Random) -> None:
    path.unlink()


def empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def truncate(path: Path, choose: random.Random) -> None:
    body = path.read_bytes()
    path.write_bytes(body[: choose.randrange(len(body))])


def garble(path: Path, choose: random.Random) -> None:
    body = bytearray(path.read_bytes())
    start = choose.randrange(len(body))
    end = min(len(body), start + 64)
    body[start:end] = choose.randbytes(end - start)
    path.write_bytes(body)


def zero(path: Path, _: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def used(folder: Path, vectors: NDArray[np.float32], *, read_only: bool) -> int:
    """How many of three uses raised what they may; a wrong row fails."""
    wanted = {row.key: row for row in rows_of(vectors)}
    del wanted["key 7"], wanted["key 8"]
    failed = 0
    try:
        table = LanceTable.open(folder, DIMENSION, SETTINGS, read_only=read_only)
    except LanceUnavailableError:
        return 3
    with table:
        try:
            keys = set()
            for row in table.rows():
                assert row.vector().tobytes() == wanted[row.key].vector.tobytes()
                assert (row.document, row.version) == (
                    wanted[row.key].document,
                    wanted[row.key].version,
                )
                keys.add(row.key)
            assert keys == wanted.keys()
        except LanceUnavailableError:
            failed += 1
        try:
            table.candidates(vectors[0], 10)  # what it names is rescored by whoever asked
        except LanceUnavailableError:
            failed += 1
        if not read_only:
            try:
                table.sync([LanceRow("new", vectors[0], 9)], ["new"], 9)
            except LanceUnavailableError:
                failed += 1
    return failed


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("damage", [remove, empty, truncate, garble, zero])
def test_damage_to_any_file(
    whole: Whole,
    tmp_path: Path,
    damage: Callable[[Path, random.Random], None],
    seed: int,
    *,
    read_only: bool,
) -> None:
    choose = random.Random(seed)
    folder, vectors = whole
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) > 5
    failures = 0
    for number, name in enumerate(files):
        copy = Path(shutil.copytree(folder, tmp_path / str(number)))
        damage(copy / name, choose)
        failures += bool(used(copy, vectors, read_only=read_only))
    assert failures


def test_an_undamaged_copy_is_used_as_it_is(copy: Path, whole: Whole) -> None:
    assert used(copy, whole[1], read_only=True) == 0
    assert used(copy, whole[1], read_only=False) == 0


def test_a_missing_table_or_state_is_unavailable(copy: Path) -> None:
    (copy / STATE_FILE).unlink()
    for folder in (copy, copy / "absent"):
        for read_only in (True, False):
            with pytest.raises(LanceUnavailableError, match="no table yet"):
                LanceTable.open(folder, DIMENSION, SETTINGS, read_only=read_only)


def test_an_older_version_in_place_of_the_newest_is_noticed(copy: Path) -> None:
    """LanceDB opens what is there: without its newest manifests that is an earlier table."""
    manifests = sorted(next(copy.glob("vectors-*/_versions")).glob("*.manifest"))
    assert len(manifests) > 1
    for path in manifests[:-1]:  # names count down: the last is the oldest
        path.unlink()
    for read_only in (True, False):
        with pytest.raises(LanceUnavailableError):
            LanceTable.open(copy, DIMENSION, SETTINGS, read_only=read_only)


def test_damage_under_an_open_table_is_unavailable(copy: Path, whole: Whole) -> None:
    with LanceTable.open(copy, DIMENSION, SETTINGS, read_only=True) as table:
        assert table.candidates(whole[1][0], 5)
        shutil.rmtree(copy)
        with pytest.raises(LanceUnavailableError):
            table.candidates(whole[1][1], 5)
        with pytest.raises(LanceUnavailableError):
            list(table.rows())


def test_a_damaged_table_is_made_anew(copy: Path, whole: Whole) -> None:
    for path in copy.rglob("*.lance"):
        if path.is_file():
            path.write_bytes(b"")
    with LanceTable.create(copy, DIMENSION, SETTINGS) as table:
        assert table.watermark == 0
        table.sync(rows_of(whole[1]), ["key 7", "key 8"], 5)
        table.sync([], ["key 7", "key 8"], 6)
        assert used(copy, whole[1], read_only=True) == 0
        assert table.candidates(whole[1][9], 1)[0][0] == "key 9"
