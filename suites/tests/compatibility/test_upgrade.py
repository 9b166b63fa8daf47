"""Risk: an upgrade that loses something, happens unasked, or is only half done after a kill.

Of the formats so far (FORMAT.md, "Versions") every later one reads the earlier: nothing has to be
moved. A store's format rises by one small file, when something is written that an older release
would not understand. These tests hold that for a store of the first format, and of the second; a
format to come is a new fixture here.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from suites.tests.compatibility import test_versions
from titanstore import EmbeddingStore, NewerFormatError, StoreConfig
from titanstore.folder import FORMAT_VERSION
from titanstore.migration import migrate, undo_migration

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
OLDER = 1  # of a store without versions; 2 is that of one whose versions have no sums
folder, wanted = test_versions.folder, test_versions.wanted  # fixtures


@pytest.fixture
def older(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A store of the first format, as today's code leaves it before it is raised."""
    path = tmp_path / "store"
    rows = np.random.default_rng(3).standard_normal((40, 32)).astype(np.float32)
    with EmbeddingStore.open(path, FAST) as store:
        store.put_many([f"old {row}" for row in range(40)], rows, "document")
    assert format_of(path) == OLDER
    return path, {f"old {row}": rows[row].tobytes() for row in range(40)}


def format_of(path: Path) -> int:
    return int(json.loads((path / "STORE").read_text())["format"])


def assert_holds(store: EmbeddingStore, bits: dict[str, bytes]) -> None:
    assert {key: store.get(key).tobytes() for key in bits} == bits
    assert store.check().problems == ()


def test_an_older_store_is_read_and_written_without_being_raised(
    older: tuple[Path, dict[str, bytes]],
) -> None:
    path, rows = older
    with EmbeddingStore.open(path, FAST, read_only=True) as store:
        assert_holds(store, rows)
    row = np.arange(32, dtype=np.float32)
    with EmbeddingStore.open(path, FAST) as store:
        store.put("new", row)
        store.maintain()
    assert format_of(path) == OLDER
    with EmbeddingStore.open(path, FAST) as store:
        assert_holds(store, rows | {"new": row.tobytes()})


def test_a_migration_raises_it_and_its_undo_gives_every_bit_back(
    older: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    path, rows = older
    np.save(tmp_path / "m.npy", np.ones((3, 8), np.float32))
    migrate(tmp_path / "m.npy", path, config=FAST)
    assert format_of(path) == FORMAT_VERSION
    with EmbeddingStore.open(path, FAST) as store:
        assert_holds(store, rows)
        assert len(store) == 43
    undo_migration(path, config=FAST)
    with EmbeddingStore.open(path, FAST) as store:
        assert_holds(store, rows)
        assert (len(store), store.document_keys("document")) == (40, list(rows))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_the_raise_it_is_of_one_format_or_the_other(
    moment: str, older: tuple[Path, dict[str, bytes]]
) -> None:
    """kill -9 just before and just after the header's replacement."""
    path, rows = older
    code = f"""
import os, signal, sys
from titanstore import EmbeddingStore
from titanstore.folder import StoreFolder
raise_format = StoreFolder.raise_format
def killed(self):
    {"raise_format(self)" if moment == "after" else "pass"}
    os.kill(os.getpid(), signal.SIGKILL)
StoreFolder.raise_format = killed
with EmbeddingStore.open(sys.argv[1]) as store:
    store.snapshot("first")
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert format_of(path) == (FORMAT_VERSION if moment == "after" else OLDER)
    with EmbeddingStore.open(path, FAST) as store:
        assert_holds(store, rows)
        assert store.versions() == []
        store.snapshot("again")
        assert_holds(store, rows)
    assert format_of(path) == FORMAT_VERSION


def test_a_newer_store_is_refused_and_left_alone(older: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = older
    header = json.loads((path / "STORE").read_text())
    (path / "STORE").write_text(json.dumps({**header, "format": FORMAT_VERSION + 1}))
    before = {one: one.read_bytes() for one in path.rglob("*") if one.is_file()}
    for read_only in (True, False):
        with pytest.raises(NewerFormatError):
            EmbeddingStore.open(path, FAST, read_only=read_only)
    assert {one: one.read_bytes() for one in before} == before


def test_maintenance_upgrades_segments_of_version_1(
    folder: Path,  # the golden segment of version 1 in a store of its release
    wanted: dict[str, bytes],
) -> None:
    """Search needs rows that version 1 has not: `maintain` writes such vectors once more."""

    def segment_versions() -> set[int]:
        with EmbeddingStore.open(folder, FAST, read_only=True) as store:
            reader = store._reader
            return {reader.version(int(path.stem)) for path in (folder / "segments").glob("*.seg")}

    assert segment_versions() == {1}
    with EmbeddingStore.open(folder, FAST) as store:
        documents = {name: store.document_keys(name) for name in store.documents()}
        store.maintain()
        assert_holds(store, wanted)
        assert {name: store.document_keys(name) for name in store.documents()} == documents
    assert segment_versions() == {2}
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        assert_holds(store, wanted)
