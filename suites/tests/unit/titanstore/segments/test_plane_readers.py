"""A reader follows planes and marks as they grow, go and are made anew."""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.segments import STORE_ID, open_planes, open_writer
from suites.tests.unit.titanstore.segments.plane_rows import (
    START,
    marks_of,
    open_files,
    record,
    row_of,
)
from titanstore.errors import StorageError
from titanstore.segments import marks as marks_module
from titanstore.segments import planes as planes_module
from titanstore.segments.marks import CURRENT, GONE, map_marks, marks_path
from titanstore.segments.plane import Plane, PlaneRow, plane_path
from titanstore.segments.plane_reader import PlaneReader
from titanstore.segments.planes import NewRow, PlaneWriter, RowAddress, plane_ids

# -- marks anew ------------------------------------------------------------------------------------

UNBELIEVABLE = ["gone", "damaged", "of another boot", "cut"]


@pytest.mark.parametrize("how", UNBELIEVABLE)
def test_marks_that_are_not_believed_are_made_from_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    planes = open_planes(tmp_path)
    planes.append(1, 5, [row_of(n, 40 + n) for n in range(4)])
    planes.close()
    path = marks_path(tmp_path, 1, 5)
    match how:
        case "gone":
            path.unlink()
        case "damaged":
            path.write_bytes(b"X" + path.read_bytes()[1:])
        case "cut":
            path.write_bytes(path.read_bytes()[:50])
        case _:
            monkeypatch.setattr(marks_module, "boot_id", lambda: bytes(16))
    reader = PlaneReader(tmp_path, STORE_ID)
    assert [marks for _, marks in reader.current()] == [None]
    assert reader.marks(1, 5, 4) is None
    planes = open_planes(tmp_path, current=[41, 43])
    planes.make_sure_of_marks()
    found = reader.marks(1, 5, 4)
    assert found is not None
    assert found.tolist() == [GONE, CURRENT, GONE, CURRENT]
    planes.close()


def test_a_reader_follows_marks_that_were_made_anew(tmp_path: Path) -> None:
    planes = open_planes(tmp_path)
    planes.append(1, 5, [row_of(n, 40 + n) for n in range(2)])
    planes.retire([RowAddress(1, 5, 0)])
    planes.close()
    reader = PlaneReader(tmp_path, STORE_ID)
    ((_, old),) = reader.current()
    assert old is not None
    marks_path(tmp_path, 1, 5).unlink()
    planes = open_planes(tmp_path, current=[41])
    planes.make_sure_of_marks()
    planes.revive([RowAddress(1, 5, 0)])
    ((_, new),) = reader.current()
    assert new is not None
    assert (old.tolist(), new.tolist()) == ([GONE, CURRENT], [CURRENT, CURRENT])
    planes.close()


def test_many_planes_hold_few_files_open(tmp_path: Path) -> None:
    planes = open_planes(tmp_path)
    gc.collect()  # other tests' leftovers hold files too
    before = open_files()
    for segment in range(1, 200):
        planes.append(segment, 5, [row_of(1, 40)])
    assert open_files() - before < 70
    planes.retire([RowAddress(segment, 5, 0) for segment in range(1, 200)])
    assert all(marks_of(tmp_path, segment, 5) == [GONE] for segment in range(1, 200))
    planes.close()
    assert open_files() <= before


# -- reading ---------------------------------------------------------------------------------------


def test_a_reader_sees_planes_grow_come_and_go(tmp_path: Path) -> None:
    planes = open_planes(tmp_path)
    reader = PlaneReader(tmp_path, STORE_ID)
    assert reader.current() == []
    planes.append(1, 5, [row_of(1, 40)])
    ((first, marks),) = reader.current(5)
    assert (len(first.rows), None if marks is None else marks.tolist()) == (1, [CURRENT])
    planes.append(1, 5, [row_of(2, 50)])
    planes.append(1, 6, [NewRow(PlaneRow(bytes(6), 1.0, 0.0, 0.0), 60, 0, is_current=True)])
    assert [(plane.dimension, len(plane.rows)) for plane, _ in reader.current()] == [(5, 2), (6, 1)]
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert reader.file_bytes() == size
    planes.remove(1)
    assert list(tmp_path.iterdir()) == []
    assert reader.current() == []
    assert len(first.rows) == 1, "a mapping outlives its file"
    assert reader.segments() == {1}
    reader.forget(1)
    assert reader.segments() == set()
    planes.close()
    planes.close()


def test_a_plane_that_is_being_begun_has_no_rows(tmp_path: Path) -> None:
    plane_path(tmp_path, 1, 5).write_bytes(b"TPLN")
    assert PlaneReader(tmp_path, STORE_ID).current() == []


def test_a_full_disk_keeps_nobody_from_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = open_planes(tmp_path)
    planes.append(1, 5, [row_of(1, 40)])
    planes.close()
    marks_path(tmp_path, 1, 5).unlink()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(marks_module, "write_at", refuse)
        planes = open_planes(tmp_path, current=[40])
        planes.make_sure_of_marks()
        planes.retire([RowAddress(1, 5, 0)])
        with pytest.raises(StorageError):
            planes.append(1, 5, [row_of(2, 60)])
    assert map_marks(marks_path(tmp_path, 1, 5), STORE_ID) is None
    planes.append(1, 5, [row_of(2, 60)])
    planes.close()
    assert marks_of(tmp_path, 1, 5) == [CURRENT, CURRENT]


def test_marks_by_the_catalog_are_worked_out_once_a_change(tmp_path: Path) -> None:
    """A reader on a medium that no writer of this boot has opened paid 0.2 us a row a search."""
    planes = open_planes(tmp_path)
    planes.append(1, 5, [row_of(1, 40), row_of(2, 50)])
    reader = PlaneReader(tmp_path, STORE_ID)
    plane = reader.plane(1, 5)
    asked: list[int] = []

    def offsets(segment: int) -> NDArray[np.uint32]:
        asked.append(segment)
        return np.array([50] if len(asked) == 1 else [40, 50], np.uint32)

    for change, wanted, times in ((7, [0, 1], 1), (7, [0, 1], 1), (8, [1, 1], 2), (7, [1, 1], 3)):
        assert reader.marks_by_catalog(plane, change, offsets).tolist() == wanted
        assert len(asked) == times
    reader.forget(1)
    reader.marks_by_catalog(plane, 7, offsets)
    assert len(asked) == 4
    planes.close()


def test_the_catalog_is_gone_through_for_many_planes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each took a store of 119 segments and 30 000 vectors two seconds to open."""
    writer = open_writer(tmp_path, bytes_max=900)
    placed, _ = writer.append([record(seed) for seed in range(40)], START)
    writer.close()
    planes = [key[0] for key in plane_ids(tmp_path)]
    assert len(planes) > 8
    for path in tmp_path.glob("*.marks"):
        path.unlink()
    current: dict[int, list[int]] = {number: [] for number in planes}
    for place in placed[::2]:
        current[place.address.segment].append(place.address.offset)
    asked: list[set[int]] = []

    def ask(segments: Iterable[int]) -> dict[int, NDArray[np.uint32]]:
        asked.append(set(segments))
        return {number: np.array(current[number], np.uint32) for number in asked[-1]}

    rows = Plane(tmp_path, planes[0], 64, STORE_ID).count
    monkeypatch.setattr(planes_module, "_ROWS_AT_ONCE", 4 * rows)
    opened = PlaneWriter(tmp_path, STORE_ID, durable=False, current_offsets=ask)
    opened.make_sure_of_marks()
    assert set().union(*asked) == set(planes)
    assert sum(map(len, asked)) == len(planes)
    assert max(map(len, asked)) in (4, 5)
    for number, (plane, marks) in enumerate(PlaneReader(tmp_path, STORE_ID).current()):
        assert plane.number == planes[number]
        assert marks is not None
        is_current = np.isin(plane.rows["offset"], current[plane.number])
        assert (marks == CURRENT).tolist() == is_current.tolist()
    opened.close()
    again = PlaneWriter(tmp_path, STORE_ID, durable=False, current_offsets=ask)
    asked.clear()
    again.make_sure_of_marks()  # they are believed now
    assert asked == []
    again.close()
