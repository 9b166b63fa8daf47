"""Writer and reader against real files: places, growth, lost and foreign segments."""

from __future__ import annotations

import errno
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from fixtures.segments import STORE_ID, open_writer
from titanstore.codec.frame import build_frame
from titanstore.errors import CorruptionError, ErrorKind, ReadOnlyError, StorageError, StoreError
from titanstore.keys import StoredKey
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, SEGMENT_NUMBER_MAX, Address
from titanstore.segments.reader import SegmentReader, segment_path
from titanstore.segments.writer import NewRecord, Placed


def new_record(number: int, size: int = 40) -> NewRecord:
    body = bytes([number % 256]) * (size // 4 * 4)
    is_raw = number % 3 == 0
    frame = build_frame(0 if is_raw else 2, size // 4 if is_raw else size, body)
    return NewRecord(StoredKey(False, f"key-{number}".encode()), number, frame, is_raw)


def append(
    folder: Path, numbers: range, last: Address, *, bytes_max: int = 10_000
) -> tuple[list[Placed], dict[int, int]]:
    writer = open_writer(folder, durable=True, bytes_max=bytes_max)
    try:
        return writer.append([new_record(number) for number in numbers], last)
    finally:
        writer.close()


def test_what_was_appended_is_read_at_its_address(tmp_path: Path) -> None:
    placed, ends = append(tmp_path, range(50), Address(0, 0), bytes_max=900)
    assert len(ends) > 1, "the records should fill several segments"
    reader = SegmentReader(tmp_path, STORE_ID)
    for number, place in enumerate(placed):
        record = reader.record(place.address)
        wanted = new_record(number)
        assert (record.key, record.document) == (wanted.key, wanted.document)
        assert record.frame == wanted.frame
        assert record.end == place.end
    for segment, end in ends.items():
        size = segment_path(tmp_path, segment).stat().st_size
        assert size == end <= 900
    for before, after in pairwise(placed):
        if before.address.segment == after.address.segment:
            assert reader.following(before.address.segment, before.end) == after.address


def test_raw_values_of_a_file_are_aligned(tmp_path: Path) -> None:
    placed, _ = append(tmp_path, range(12), Address(0, 0))
    for number, place in enumerate(placed):
        if number % 3 == 0:
            record = new_record(number)
            assert (place.end - len(record.frame) + 9) % 4 == 0


def test_mapping_follows_a_file_that_grows(tmp_path: Path) -> None:
    placed, ends = append(tmp_path, range(3), Address(0, 0))
    reader = SegmentReader(tmp_path, STORE_ID)
    held = reader.record(placed[0].address).frame
    more, _ = append(tmp_path, range(3, 6), Address(1, ends[1]))
    assert reader.record(more[2].address).frame == new_record(5).frame
    reader.close()
    assert held == new_record(0).frame, "a view must outlive its reader"


def test_mapping_that_ends_inside_a_record_is_made_again(tmp_path: Path) -> None:
    placed, _ = append(tmp_path, range(2), Address(0, 0))
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: placed[1].address.offset + 12])
    reader = SegmentReader(tmp_path, STORE_ID)
    reader.record(placed[0].address)
    with path.open("r+b") as file:
        file.write(whole)
    assert reader.record(placed[1].address).frame == new_record(1).frame


def test_failed_write_is_written_over(tmp_path: Path) -> None:
    _, ends = append(tmp_path, range(2), Address(0, 0))
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(b"left behind by a write that failed" * 10)
    placed, _ = append(tmp_path, range(2, 4), Address(1, ends[1]))
    reader = SegmentReader(tmp_path, STORE_ID)
    assert [reader.record(place.address).document for place in placed] == [2, 3]


def test_missing_empty_short_and_foreign_segments(tmp_path: Path) -> None:
    placed, ends = append(tmp_path, range(3), Address(0, 0))
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()

    def kind_of(address: Address, store_id: bytes = STORE_ID) -> ErrorKind:
        with pytest.raises(CorruptionError) as caught:
            SegmentReader(tmp_path, store_id).record(address)
        return caught.value.kind

    assert kind_of(Address(2, SEGMENT_HEADER_BYTES)) is ErrorKind.MISSING_SEGMENT
    assert kind_of(placed[0].address, bytes(16)) is ErrorKind.BAD_SEGMENT
    assert kind_of(Address(1, ends[1])) is ErrorKind.SHORT_SEGMENT
    assert kind_of(Address(1, placed[1].address.offset + 1)) is ErrorKind.BAD_RECORD
    segment_path(tmp_path, 2).write_bytes(whole)
    assert kind_of(Address(2, placed[0].address.offset)) is ErrorKind.BAD_SEGMENT
    path.write_bytes(whole[: SEGMENT_HEADER_BYTES - 1])
    assert kind_of(placed[0].address) is ErrorKind.SHORT_SEGMENT
    path.write_bytes(b"")
    assert kind_of(placed[0].address) is ErrorKind.SHORT_SEGMENT


def test_forgotten_segment_is_mapped_anew(tmp_path: Path) -> None:
    placed, _ = append(tmp_path, range(1), Address(0, 0))
    reader = SegmentReader(tmp_path, STORE_ID)
    reader.record(placed[0].address)
    segment_path(tmp_path, 1).unlink()
    assert reader.record(placed[0].address).document == 0, "the mapping should still serve"
    reader.forget(1)
    with pytest.raises(CorruptionError) as caught:
        reader.record(placed[0].address)
    assert caught.value.kind is ErrorKind.MISSING_SEGMENT


def test_segment_numbers_run_out(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        append(tmp_path, range(1), Address(SEGMENT_NUMBER_MAX, 9_990))
    assert caught.value.kind is ErrorKind.DISK_FULL


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        append(tmp_path, range(1), Address(1, SEGMENT_HEADER_BYTES))
    assert caught.value.kind is ErrorKind.DISK_FULL


@pytest.mark.parametrize(
    ("number", "error_type", "kind"),
    [
        (errno.ENOSPC, StorageError, ErrorKind.DISK_FULL),
        (errno.EDQUOT, StorageError, ErrorKind.DISK_FULL),
        (errno.EFBIG, StorageError, ErrorKind.DISK_FULL),
        (errno.EROFS, ReadOnlyError, ErrorKind.READ_ONLY_DISK),
        (errno.EACCES, ReadOnlyError, ErrorKind.READ_ONLY_DISK),
        (errno.EIO, StorageError, ErrorKind.IO_FAILED),
    ],
)
def test_errors_of_the_system_become_ours(
    number: int, error_type: type[StoreError], kind: ErrorKind
) -> None:
    error = storage_error(OSError(number, os.strerror(number)), "segment 1")
    assert type(error) is error_type
    assert error.kind is kind
    assert "segment 1" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where nobody may")
def test_read_only_folder_is_a_read_only_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ReadOnlyError) as caught:
            append(tmp_path, range(1), Address(0, 0))
        assert caught.value.kind is ErrorKind.READ_ONLY_DISK
    finally:
        tmp_path.chmod(0o700)


def test_close_is_idempotent(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.append([new_record(1)], Address(0, 0))
    writer.close()
    writer.close()
    reader = SegmentReader(tmp_path, STORE_ID)
    reader.close()
    reader.close()
