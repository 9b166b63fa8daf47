"""Frames and segments that any release has written must read back bit for bit."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import titanstore
from fixtures.formats import write_v1, write_v2, write_v3
from titanstore.codec.choose import CODECS, decode_frame, decode_frames
from titanstore.codec.frame import parse_header
from titanstore.segments.layout import (
    NO_ROW,
    SEGMENT_HEADER_BYTES,
    Address,
    check_segment_header,
    parse_record,
    records,
    skip_padding,
)
from titanstore.segments.plane import is_row_of
from titanstore.segments.planes import plane_ids
from titanstore.segments.reader import SegmentReader

FRAMES_V1 = sorted(write_v1.FOLDER.glob("*.frame"))
FRAMES = [
    *FRAMES_V1,
    *sorted(write_v2.FOLDER.glob("*.frame")),
    *sorted(write_v3.FOLDER.glob("*.frame")),
]
WRITERS = pytest.mark.parametrize("writer", [write_v1, write_v2, write_v3], ids=["v1", "v2", "v3"])


def expected_words(frame_path: Path) -> NDArray[np.uint32]:
    digits = frame_path.with_suffix(".hex").read_text().split()
    return np.array([int(word, 16) for word in digits], dtype=np.uint32)


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_golden_frame_decodes_to_its_words(path: Path) -> None:
    frame = path.read_bytes()
    words = expected_words(path)
    header = parse_header(frame)
    assert header.dimension == words.size
    assert header.frame_bytes == len(frame)
    assert path.stem.startswith(CODECS[header.codec_id].name)
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)
    many = np.empty((3, words.size), dtype=np.float32)
    decode_frames([frame] * 3, many)
    assert (many.view(np.uint32) == words).all()


def test_every_codec_has_a_golden_frame() -> None:
    seen = {parse_header(path.read_bytes()).codec_id for path in FRAMES}
    assert seen == set(CODECS)


def test_expected_words_are_the_documented_inputs() -> None:
    """The .hex files were not made from what the decoder says."""
    for folder, (codec_id, case, vector) in [
        *((write_v1.FOLDER, case) for case in write_v1.cases()),
        *((write_v2.FOLDER, case) for case in write_v2.cases()),
        *((write_v3.FOLDER, case) for case in write_v3.cases()),
    ]:
        path = folder / f"{CODECS[codec_id].name}-{case}.frame"
        assert np.array_equal(expected_words(path), vector.view(np.uint32)), path.name


def test_golden_frames_of_version_2_have_every_form() -> None:
    forms = set()
    for path in sorted(write_v2.FOLDER.glob("*.frame")):
        frame = path.read_bytes()
        forms.add(frame[9 + parse_header(frame).dimension])
    assert forms == {width | recipe << 2 for width in (0, 1) for recipe in (0, 1, 2)} | {2}


def test_golden_frames_of_version_3_have_every_form() -> None:
    forms: dict[int, set[int]] = {16: set(), 17: set()}
    for path in sorted(write_v3.FOLDER.glob("*.frame")):
        frame = path.read_bytes()
        header = parse_header(frame)
        forms[header.codec_id].add(frame[9 + header.dimension * header.has_codes])
    all_forms = {width | recipe << 2 for width in (0, 1) for recipe in (0, 1, 2)} | {2}
    assert forms == {16: all_forms, 17: all_forms}


@pytest.mark.parametrize("writer", [write_v2, write_v3], ids=["v2", "v3"])
def test_golden_segment_of_version_2_and_its_planes(writer: Any) -> None:
    """Frames are whole again with the codes of their planes, and rows say the truth."""
    reader = SegmentReader(writer.FOLDER, write_v1.STORE_ID)
    assert reader.version(write_v2.SEGMENT_NUMBER) == 2
    listed = json.loads((writer.FOLDER / "00001.json").read_text())
    frames = writer.all_frames()
    view = reader.view(write_v2.SEGMENT_NUMBER, 1)
    walked = list(records(view, SEGMENT_HEADER_BYTES, len(view)))
    assert len(walked) == len(listed) > len(frames)
    assert walked[-1].end == len(view)
    kinds = {view[record.offset] for record in walked}
    assert kinds == {1, 2, 3, 4}
    seen: dict[int, list[int]] = {}
    for parsed, wanted in zip(walked, listed, strict=True):
        record = reader.record(Address(1, wanted["offset"]))
        assert (parsed.offset, parsed.row) == (wanted["offset"], wanted["row"])
        assert (record.key.text, record.document) == (wanted["key"], wanted["document"])
        assert record.frame == frames[wanted["frame"]]
        if record.row == NO_ROW:
            continue
        dimension = record.header.dimension
        seen.setdefault(dimension, []).append(record.row)
        plane = reader.planes.plane(1, dimension)
        row = plane.row(record.row)
        assert row is not None
        assert is_row_of(row, decode_frame(record.frame))
        assert plane.rows["offset"][record.row] == record.offset
        assert plane.rows["document"][record.row] == record.document
    assert {key[1] for key in plane_ids(writer.FOLDER)} == set(seen)
    dimension, rows = max(seen.items(), key=lambda item: len(item[1]))
    void = [row for row in range(max(rows)) if row not in rows]
    assert void
    assert reader.planes.plane(1, dimension).rows["offset"][void].tolist() == [0] * len(void)


def test_golden_segment_reads_record_by_record() -> None:
    view = memoryview((write_v1.FOLDER / "00001.seg").read_bytes())
    listed = json.loads((write_v1.FOLDER / "00001.json").read_text())
    assert check_segment_header(view, write_v1.SEGMENT_NUMBER, write_v1.STORE_ID) == 1
    walked = list(records(view, SEGMENT_HEADER_BYTES, len(view)))
    assert len(walked) == len(listed) == len(FRAMES_V1)
    for record, wanted in zip(walked, listed, strict=True):
        path = write_v1.FOLDER / f"{wanted['frame']}.frame"
        assert record.offset == wanted["offset"]
        assert record.key.text == wanted["key"]
        assert record.document == wanted["document"]
        assert record.frame == path.read_bytes()
        assert parse_record(view, wanted["offset"], len(view)) == record
    assert walked[-1].end == len(view)
    padding = [after.offset - before.end for before, after in pairwise(walked)]
    assert max(padding) > 0, "the golden segment should hold padding"
    assert [skip_padding(view, record.end, len(view)) for record in walked[:-1]] == [
        record.offset for record in walked[1:]
    ]


@WRITERS
def test_writer_of_golden_files_never_overwrites(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    writer: ModuleType,
) -> None:
    names = {path.name for path in writer.FOLDER.iterdir()}
    monkeypatch.setattr(writer, "FOLDER", tmp_path)
    kept = next(path for path in FRAMES if path.name in names)
    (tmp_path / kept.name).write_bytes(kept.read_bytes() + b"as an earlier release wrote it")
    writer.main()
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first[kept.name] == kept.read_bytes() + b"as an earlier release wrote it"
    assert set(first) == names
    capsys.readouterr()
    writer.main()
    assert "wrote" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_format_page_lists_the_codecs_that_exist() -> None:
    page = (Path(titanstore.__path__[0]) / "FORMAT.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([a-z][a-z0-9-]{2,}) \|", page, flags=re.MULTILINE)
    assert {int(number): name for number, name in rows} == {
        number: codec.name for number, codec in CODECS.items()
    }
