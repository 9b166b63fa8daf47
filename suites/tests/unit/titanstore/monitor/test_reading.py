"""Risk: a look at a store counts wrong, or ends with the store's own trouble."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from suites.tests.concurrency.test_processes import exit_of, fork
from titanstore import EmbeddingStore, StoreConfig
from titanstore.folder import StoreFolder, open_folder
from titanstore.monitor.reading import _rows_behind, _rows_from
from titanstore.segments.plane import PLANE_HEADER_BYTES, Plane, plane_path
from titanstore.segments.reader import SegmentReader

COUNT, LATER, DIMENSION = 300, 3, 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a table of LanceDB that lacks the last rows."""
    rows = np.random.default_rng(1).standard_normal((COUNT + LATER, DIMENSION), dtype=np.float32)
    config = StoreConfig(durability="power_cut_may_lose_store", search_index="lance")
    path = tmp_path_factory.mktemp("whole")
    with EmbeddingStore.open(path, config) as store:
        store.put_many([f"k{number}" for number in range(COUNT)], rows[:COUNT])
        assert store.maintain().lance_rows == COUNT
        store.put_many([f"later{number}" for number in range(LATER)], rows[COUNT:])
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> StoreFolder:
    """A copy of it that a test may damage."""
    copy = shutil.copytree(whole, tmp_path / "copy")
    found, _ = open_folder(copy, read_only=True, create=False)
    return found


def test_rows_behind_a_table_are_counted(folder: StoreFolder) -> None:
    assert _rows_behind(folder) == LATER
    reader = SegmentReader(folder.segments, folder.store_id, by_pread=True)
    offsets = reader.planes.plane(1, DIMENSION).rows["offset"].tolist()
    assert offsets == sorted(offsets)
    segment, count = 1 << 32, COUNT + LATER
    for row in (0, 1, 7, count - 1):
        assert _rows_from(reader, 1, DIMENSION, segment + offsets[row]) == count - row
        assert _rows_from(reader, 1, DIMENSION, segment + offsets[row] + 1) == count - row - 1
    assert _rows_from(reader, 1, DIMENSION, 0) == count
    assert _rows_from(reader, 1, DIMENSION, 2 << 32) == 0
    reader.close()


def test_a_plane_that_is_cut_short_under_a_look_ends_nobody(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter mapped planes: SIGBUS, in a process that only looks."""
    opened = Plane.__init__

    def then_cut(self: Plane, *given: object, **named: object) -> None:
        opened(self, *given, **named)  # type: ignore[arg-type]
        os.truncate(plane_path(folder.segments, 1, DIMENSION), PLANE_HEADER_BYTES)

    def child() -> None:
        monkeypatch.setattr(Plane, "__init__", then_cut)
        assert _rows_behind(folder) is None  # nothing is known of it

    assert exit_of(fork(child)) == 0
