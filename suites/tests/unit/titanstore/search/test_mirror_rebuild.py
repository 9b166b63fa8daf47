"""A store made anew out of its Lance table has every bit, or is refused."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from suites.tests.unit.titanstore.search.mirrored import (
    COUNT,
    DIMENSION,
    KEYS,
    VECTORS,
    config,
    filled,
)
from titanstore import (
    CorruptionError,
    EmbeddingStore,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    rebuild_from_lance,
)
from titanstore.search.lance import LanceSettings, LanceTable


def test_rebuilt_store_has_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "s"
    odd = np.array([np.nan, -0.0, np.inf, *[0.5] * (DIMENSION - 3)], np.float32)
    with filled(path) as store:
        store.put("odd", odd)
        store.maintain()
    seen: list[int] = []
    assert rebuild_from_lance(tmp_path / "t", path / "lance", progress=seen.append) == COUNT + 1
    assert seen[-1] == COUNT + 1
    with EmbeddingStore.open(tmp_path / "t", config("flat")) as store:
        found = store.get_many([*KEYS, "odd"])
        wanted = np.concatenate((VECTORS, odd[None]))
        assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))
        assert set(store.document_keys("doc100")) == set(KEYS[100:200])
        assert store.search(VECTORS[2])[0].key == KEYS[2]
        assert store.check().is_clean


def test_rebuild_refuses_what_was_before_a_rollback(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        before = store.snapshot()
        store.put(KEYS[0], VECTORS[1])
        store.maintain()
        store.rollback(before.number)
    with pytest.raises(InvalidInputError, match="before the last rollback") as refused:
        rebuild_from_lance(tmp_path / "t", path / "lance")
    assert refused.value.kind is ErrorKind.NOT_A_STORE
    (path / "lance" / "ROLLED-BACK").unlink()  # as the message says
    assert rebuild_from_lance(tmp_path / "t", path / "lance") == COUNT


def test_rebuild_refuses(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        store.maintain()
    with pytest.raises(InvalidInputError) as refused:
        rebuild_from_lance(path, path / "lance")
    assert refused.value.kind is ErrorKind.NOT_A_STORE
    with pytest.raises(NotFoundError) as absent:
        rebuild_from_lance(tmp_path / "t", tmp_path)
    assert absent.value.kind is ErrorKind.NO_STORE
    for data in (path / "lance" / str(DIMENSION)).glob("*.lance/data/*"):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    with pytest.raises(CorruptionError) as damaged:
        rebuild_from_lance(tmp_path / "t", path / "lance")
    assert damaged.value.kind is ErrorKind.BAD_INDEX
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "t.unfinished").exists()


def test_a_rebuild_that_is_killed_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with filled(path) as store:
        store.maintain()
    code = (
        "import os, sys, titanstore as t\n"
        "t.rebuild_from_lance(*sys.argv[1:], progress=lambda _: os.kill(os.getpid(), 9))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "t"), str(path / "lance")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "t").exists()
    with pytest.raises(InvalidInputError, match=r"t\.unfinished exists: remove it"):
        rebuild_from_lance(tmp_path / "t", path / "lance")
    shutil.rmtree(tmp_path / "t.unfinished")
    assert rebuild_from_lance(tmp_path / "t", path / "lance") == COUNT


def test_of_a_key_in_two_tables_a_rebuild_has_the_last_vector(tmp_path: Path) -> None:
    """The table of its old dimension, here read last, keeps up to 2 % of rows that are gone."""
    path, other = tmp_path / "s", DIMENSION // 2
    fresh = np.random.default_rng(5).standard_normal((300, other)).astype(np.float32)
    with filled(path) as store:
        store.put_many([f"n{number}" for number in range(290)], fresh[:290])
        store.maintain()
        store.put_many(KEYS[:10], fresh[290:], "moved")
        store.maintain()
        wanted = {key: store.get(key).tobytes() for key in KEYS}
    in_tables = 0
    for name in (DIMENSION, other):
        folder, settings = path / "lance" / str(name), LanceSettings()
        with LanceTable.open(folder, name, settings, read_only=True) as table:
            in_tables += table.content.rows
    assert in_tables == COUNT + 300
    assert rebuild_from_lance(tmp_path / "t", path / "lance", config("flat")) == COUNT + 290
    with EmbeddingStore.open(tmp_path / "t", config("flat")) as store:
        assert len(store) == COUNT + 290
        assert [key for key in KEYS if store.get(key).tobytes() != wanted[key]] == []
        assert set(store.document_keys("doc0")) == set(KEYS[10:100])
        assert set(store.document_keys("moved")) == set(KEYS[:10])
        assert store.check().is_clean
