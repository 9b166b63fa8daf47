"""What was never acknowledged is cut; what was is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.segments import open_writer
from titanstore.codec.frame import build_frame
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.keys import StoredKey
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, Address
from titanstore.segments.reader import segment_path
from titanstore.segments.recovery import cut_tail
from titanstore.segments.writer import NewRecord

RECORD = NewRecord(StoredKey(False, b"key"), 0, build_frame(2, 16, b"body"), False)


def written(folder: Path, count: int) -> Address:
    writer = open_writer(folder)
    placed, ends = writer.append([RECORD] * count, Address(0, 0))
    writer.close()
    assert ends == {1: placed[-1].end}
    return Address(1, placed[-1].end)


def test_every_torn_tail_is_cut_to_the_committed_end(tmp_path: Path) -> None:
    last = written(tmp_path, 3)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    assert len(whole) == last.offset
    size = (len(whole) - SEGMENT_HEADER_BYTES) // 3
    committed = Address(1, len(whole) - size)
    for torn in range(size + 1):
        path.write_bytes(whole[: committed.offset + torn])
        assert cut_tail(tmp_path, committed) == torn
        assert path.read_bytes() == whole[: committed.offset]


def test_nothing_is_cut_where_all_was_acknowledged(tmp_path: Path) -> None:
    last = written(tmp_path, 2)
    before = segment_path(tmp_path, 1).read_bytes()
    assert cut_tail(tmp_path, last) == 0
    assert segment_path(tmp_path, 1).read_bytes() == before


def test_a_begun_segment_without_a_committed_record_goes(tmp_path: Path) -> None:
    last = written(tmp_path, 1)
    segment_path(tmp_path, 2).write_bytes(b"begun")
    assert cut_tail(tmp_path, last) == 5
    assert not segment_path(tmp_path, 2).exists()
    assert segment_path(tmp_path, 1).stat().st_size == last.offset


def test_first_segment_of_an_empty_store_goes(tmp_path: Path) -> None:
    written(tmp_path, 1)
    assert cut_tail(tmp_path, Address(0, 0)) > 0
    assert list(tmp_path.iterdir()) == []


def test_lost_acknowledged_bytes_are_an_error_and_nothing_is_cut(tmp_path: Path) -> None:
    last = written(tmp_path, 2)
    path = segment_path(tmp_path, 1)
    short = path.read_bytes()[:-1]
    path.write_bytes(short)
    with pytest.raises(CorruptionError) as caught:
        cut_tail(tmp_path, last)
    assert caught.value.kind is ErrorKind.SHORT_SEGMENT
    assert path.read_bytes() == short
    path.unlink()
    with pytest.raises(CorruptionError) as caught:
        cut_tail(tmp_path, last)
    assert caught.value.kind is ErrorKind.MISSING_SEGMENT


def test_append_after_a_cut_continues_where_the_end_was(tmp_path: Path) -> None:
    last = written(tmp_path, 2)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"\x01torn")
    cut_tail(tmp_path, last)
    writer = open_writer(tmp_path, durable=True)
    placed, _ = writer.append([RECORD], last)
    writer.close()
    assert placed[0].address == last
    assert path.read_bytes() == whole + whole[SEGMENT_HEADER_BYTES:][: placed[0].end - last.offset]
