"""Planes beside segments: rows given once, and taken back when not acknowledged."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fixtures.segments import STORE_ID, open_planes, open_writer
from suites.tests.unit.titanstore.segments.plane_rows import START, marks_of, record, row_of, values
from titanstore.codec.choose import decode_frame, encode_frame
from titanstore.errors import CorruptionError, ErrorKind, StorageError
from titanstore.keys import StoredKey
from titanstore.segments import planes as planes_module
from titanstore.segments.disk import sync_folder
from titanstore.segments.layout import NO_ROW, Address
from titanstore.segments.marks import CURRENT, GONE, UNSEARCHABLE
from titanstore.segments.plane import (
    PLANE_HEADER_BYTES,
    Plane,
    plane_header,
    plane_path,
    plane_row,
    row_bytes,
    row_type,
)
from titanstore.segments.planes import RowAddress, plane_ids
from titanstore.segments.planes import marks_of as made_marks
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import NewRecord, SegmentWriter

# -- together with the segment ---------------------------------------------------------------------


def test_sliced_frames_are_whole_again_and_each_dimension_has_its_plane(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, durable=True, bytes_max=1_500)
    records = [record(seed, 64 + seed % 2, row=seed % 5 > 0) for seed in range(30)]
    placed, ends = writer.append(records, START)
    writer.close()
    assert len(ends) > 2
    assert plane_ids(tmp_path) == [(segment, width) for segment in ends for width in (64, 65)]
    reader = SegmentReader(tmp_path, STORE_ID)
    for seed, place in enumerate(placed):
        found = reader.record(place.address)
        assert found.frame == records[seed].frame
        assert found.end == place.end
        assert (found.row == NO_ROW) is (seed % 5 == 0)
        assert np.array_equal(decode_frame(found.frame), values(seed, 64 + seed % 2))
        if found.row != NO_ROW:
            plane = reader.planes.plane(place.address.segment, 64 + seed % 2)
            assert plane.rows["offset"][found.row] == place.address.offset
            assert plane.rows["document"][found.row] == seed
            assert plane.row(found.row) == records[seed].plane_row
    for segment, end in ends.items():
        assert (tmp_path / f"{segment:05d}.seg").stat().st_size == end <= 2_000
        offsets = np.array(
            [place.address.offset for place in placed if place.address.segment == segment], "<u4"
        )
        without = reader.without_rows(segment, offsets)
        assert without.tolist() == [
            place.address.offset
            for seed, place in enumerate(placed)
            if place.address.segment == segment and seed % 5 == 0
        ]
    assert reader.without_rows(1, offsets[:0]).tolist() == []


def test_marks_say_what_is_current(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    not_finite = values(9)
    not_finite[3] = np.nan
    frame = encode_frame(not_finite, with_codes=True)
    nan = NewRecord(StoredKey(False, b"nan"), 0, frame, False, plane_row(not_finite, frame))
    writer.append([record(1), record(2, current=False), nan], START)
    assert marks_of(tmp_path, 1, 64) == [CURRENT, GONE, UNSEARCHABLE]
    planes = writer.planes
    planes.retire([RowAddress(1, 64, 0), RowAddress(1, 64, 2)])
    assert marks_of(tmp_path, 1, 64) == [GONE] * 3
    planes.revive([RowAddress(1, 64, row) for row in range(3)])
    assert marks_of(tmp_path, 1, 64) == [CURRENT, CURRENT, UNSEARCHABLE]
    with pytest.raises(CorruptionError) as caught:
        planes.revive([RowAddress(1, 64, 3)])
    assert caught.value.kind is ErrorKind.SHORT_SEGMENT
    writer.close()


def test_unmarking_that_fails_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    writer.append([record(1)], START)

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        writer.planes.retire([RowAddress(1, 64, 0), RowAddress(3, 64, 0)])
    assert marks_of(tmp_path, 1, 64) == [CURRENT]
    writer.close()


# -- what was not acknowledged ---------------------------------------------------------------------


def test_rows_of_a_write_that_was_not_committed_lead_nowhere(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    placed, ends = writer.append([record(1)], START)
    writer.append([record(2), record(3, 65)], Address(1, ends[1]))  # and nobody commits it
    again, _ = writer.append([record(4, row=False), record(5)], Address(1, ends[1]))
    writer.close()
    reader = SegmentReader(tmp_path, STORE_ID)
    assert reader.planes.plane(1, 64).rows["offset"].tolist() == [
        placed[0].address.offset,
        0,
        again[1].address.offset,
    ]
    assert reader.planes.plane(1, 65).rows["offset"].tolist() == [0]
    assert marks_of(tmp_path, 1, 64) == [CURRENT, GONE, CURRENT]
    assert marks_of(tmp_path, 1, 65) == [GONE]
    assert reader.record(again[1].address).row == 2
    assert np.array_equal(decode_frame(reader.record(again[1].address).frame), values(5))


def test_what_a_killed_writer_left_leads_nowhere(tmp_path: Path) -> None:
    """Also in a segment that was never born, and a row that is torn at any byte."""
    writer = open_writer(tmp_path, bytes_max=900)
    placed, ends = writer.append([record(1)], START)
    last = Address(1, ends[1])
    lost, all_ends = writer.append([record(seed) for seed in range(2, 12)], last)
    writer.close()
    assert len(all_ends) > 1
    path = plane_path(tmp_path, 1, 64)
    whole = path.read_bytes()
    size = row_bytes(64)
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for torn in range(PLANE_HEADER_BYTES + size, len(whole)):
        path.write_bytes(whole[:torn])
        planes = open_planes(tmp_path, current=[placed[0].address.offset])
        planes.take_back_all(last)
        planes.make_sure_of_marks()
        count = (torn - PLANE_HEADER_BYTES) // size
        offsets = Plane(tmp_path, 1, 64, STORE_ID).rows["offset"].tolist()
        assert offsets == [placed[0].address.offset] + [0] * (count - 1)
        assert path.stat().st_size == PLANE_HEADER_BYTES + count * size
        assert planes.next_row(1, 64) == count
        planes.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # noqa: PTH208
    for segment in range(2, len(all_ends) + 1):
        assert not Plane(tmp_path, segment, 64, STORE_ID).rows["offset"].any()
    assert max(place.address.segment for place in lost) == len(all_ends)


@pytest.mark.parametrize("step", range(8))
def test_a_full_disk_at_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Header, rows and marks of a plane, the segment itself."""
    writer = open_writer(tmp_path, durable=True)
    _, ends = writer.append([record(1)], START)
    last = Address(1, ends[1])
    pwrite, left = os.pwrite, iter(range(step))

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if next(left, None) is None:
            pwrite(descriptor, bytes(data)[: len(data) // 2], offset)
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        kinds = []
        try:
            writer.append([record(2), record(3, 66)], last)
        except StorageError as error:
            kinds.append(error.kind)
    assert kinds == ([ErrorKind.DISK_FULL] if step < 7 else [])
    placed, _ = writer.append([record(4), record(5, 66)], last)
    writer.close()
    reader = SegmentReader(tmp_path, STORE_ID)
    for seed, width, place in ((4, 64, placed[0]), (5, 66, placed[1])):
        found = reader.record(place.address)
        assert np.array_equal(decode_frame(found.frame), values(seed, width))
        plane, marks = reader.planes.current(width)[0]
        assert marks is not None
        assert marks[found.row] == CURRENT
        assert plane.rows["offset"].tolist().count(place.address.offset) == 1


def test_a_header_that_a_power_cut_left_empty_is_written_again(tmp_path: Path) -> None:
    for content in (b"", b"TPLN", bytes(PLANE_HEADER_BYTES)):
        plane_path(tmp_path, 1, 5).write_bytes(content)
        planes = open_planes(tmp_path)
        planes.append(1, 5, [row_of(1, 40)])
        planes.close()
        assert bytes(Plane(tmp_path, 1, 5, STORE_ID).codes_of(0)) == b"\1" * 5
        for path in tmp_path.iterdir():
            path.unlink()


def test_nothing_is_appended_to_a_damaged_plane(tmp_path: Path) -> None:
    planes = open_planes(tmp_path)
    planes.append(1, 5, [row_of(1, 40)])
    planes.close()
    path = plane_path(tmp_path, 1, 5)
    whole = path.read_bytes()
    path.write_bytes(b"X" + whole[1:])
    planes = open_planes(tmp_path)
    planes.make_sure_of_marks()
    planes.take_back_all(Address(1, 100))
    with pytest.raises(CorruptionError, match=r"00001-5\.plane") as caught:
        planes.append(1, 5, [row_of(2, 60)])
    assert caught.value.kind is ErrorKind.BAD_SEGMENT
    planes.close()
    assert path.read_bytes() == b"X" + whole[1:]


def test_rows_of_a_lost_plane_are_not_given_again(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    placed, ends = writer.append([record(1)], START)
    writer.close()
    plane_path(tmp_path, 1, 64).unlink()
    writer = open_writer(tmp_path)
    writer.planes.make_sure_of_marks()
    with pytest.raises(CorruptionError, match=r"00001-64\.plane is missing") as caught:
        writer.append([record(2)], Address(1, ends[1]))
    assert caught.value.kind is ErrorKind.MISSING_SEGMENT
    with pytest.raises(CorruptionError, match=r"00001-64\.plane is missing"):
        SegmentReader(tmp_path, STORE_ID).record(placed[0].address)
    writer.close()


def test_a_segment_writer_of_an_older_segment_begins_another(tmp_path: Path) -> None:
    writer: SegmentWriter = open_writer(tmp_path)
    _, ends = writer.append([record(1)], START)
    writer.full.add(1)
    placed, _ = writer.append([record(2)], Address(1, ends[1]))
    assert placed[0].address.segment == 2
    assert plane_ids(tmp_path) == [(1, 64), (2, 64)]
    writer.close()


def test_names_are_durable_before_rows_though_another_writer_was_stopped_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that was there said that its name was on the disk: a power cut could take both."""
    planes = open_planes(tmp_path, durable=True)
    synced: list[bytes] = []

    def sync(folder: Path) -> None:
        synced.append(plane_path(folder, 1, 5).read_bytes())
        if len(synced) == 1:
            raise KeyboardInterrupt
        real(folder)

    real = sync_folder
    monkeypatch.setattr(planes_module, "sync_folder", sync)
    with pytest.raises(KeyboardInterrupt):
        planes.append(1, 5, [row_of(1, 40)])
    planes.close()
    assert plane_path(tmp_path, 1, 5).stat().st_size == PLANE_HEADER_BYTES
    planes = open_planes(tmp_path, durable=True)
    planes.take_back_all(Address(1, 40))
    planes.append(1, 5, [row_of(2, 40)])
    planes.append(1, 5, [row_of(3, 50)])
    planes.close()
    assert [len(each) for each in synced] == [PLANE_HEADER_BYTES] * 2, "once, before the first row"


def test_marks_made_anew_are_those_of_current_offsets_in_little_memory(tmp_path: Path) -> None:
    count, rng = 200_000, np.random.default_rng(5)
    rows = np.zeros(count, row_type(8))
    rows["offset"] = np.cumsum(rng.integers(1, 9, count))
    rows["scale"] = np.where(rng.random(count) < 0.01, np.nan, 1.0)
    path = plane_path(tmp_path, 1, 8)
    path.write_bytes(plane_header(1, 8, STORE_ID) + rows.tobytes())
    plane = Plane(tmp_path, 1, 8, STORE_ID)
    is_current = rng.random(count) < 0.5
    offsets = rng.permutation(rows["offset"][is_current])
    tracemalloc.start()
    marks = made_marks(plane, offsets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(
        marks, np.where(is_current, np.where(np.isnan(rows["scale"]), UNSEARCHABLE, CURRENT), GONE)
    )
    assert peak < 1_500_000  # 4.7 MB by np.isin
    assert made_marks(plane, offsets[:0]).tolist() == [GONE] * count
    assert np.array_equal(made_marks(plane, offsets[:1]) != GONE, rows["offset"] == offsets[0])
